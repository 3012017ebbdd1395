"""Samples, or an ADM reference batch, opened for measuring: images, labels, statistics, record.

ADM's batches hold 10,000 images (``arr_0``) for precision and recall, and, from the features of
many more, ``mu`` and ``sigma`` for FID, ``mu_s`` and ``sigma_s`` for sFID.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.npz import array_header, array_names, check_whole, load_arrays
from dimr.data.shards import open_shards
from dimr.data.shards import verify as verify_shards
from dimr.evaluation.extraction import SPATIAL_CHANNELS
from dimr.evaluation.fidelity import Statistics
from dimr.evaluation.image_sets import (
    LABELS,
    REFERENCE,
    ImageSet,
    NpzImages,
    PictureFiles,
    open_images,
)
from dimr.evaluation.labels import Labels, file_labels, npz_labels
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, sha256
from dimr.runtime.record import DIGEST, FILES, RECORD, read_record, verify

WIDTH = 2048
"""Features of Inception's pool3."""
SPATIAL_WIDTH = 17 * 17 * SPATIAL_CHANNELS
"""Features of its layer for sFID."""
NOTE = "reference.json"
"""Beside a reference batch: its file, SHA-256, number of images."""


@dataclass(frozen=True)
class Opened:
    """Images, their labels, the statistics that came with them, and where they are from."""

    images: ImageSet
    labels: Labels
    statistics: Statistics | None
    record: dict[str, Any]
    spatial_statistics: Statistics | None = None


def open_set(path: str | Path, width: int = WIDTH, labelled: bool = True) -> Opened:
    """Open samples or a reference, in any form that ``open_images`` takes.

    Args:
        path: of a file or a folder.
        width: of the features that an ``.npz``'s ``mu`` and ``sigma`` must have.
        labelled: whether labels are read where they exist; a reference needs none.

    The record holds ``key`` (what the step that made it wrote, else the manifest's, else a SHA-256
    of the content), ``file``, ``images``, ``size``, the ``labels``' origin and order, and for files
    their ``sha256``.

    Every checksum is compared first: damage shows before hours of work, not after.

    Raises:
        DimrError: damage, no images, labels that do not fit them, statistics that are incomplete or
            of another width.
    """
    path, images, statistics, spatial = Path(path), open_images(path), None, None
    count, labels = images.shape[0], Labels(None, "not asked for")
    record = {"file": str(path), "images": count, "size": list(images.shape[1:3])}
    if isinstance(images, NpzImages):
        record["sha256"] = record["key"] = _checked_npz(path, Path(images.path))
        statistics = read_statistics(images.path, width)
        spatial = read_spatial_statistics(images.path)
        if labelled:
            labels = npz_labels(images.path, count)
    elif isinstance(images, PictureFiles):
        record["key"] = images.key
        if labelled:
            labels = file_labels(path / LABELS, count)
    elif path.is_dir():
        verify_shards(path)
        shards = open_shards(path)
        manifest = shards.manifest
        record["key"] = manifest.key
        labels = Labels(shards.labels, manifest.labels.file, manifest.classes)
    else:
        record["sha256"] = record["key"] = sha256(path)
        labels = Labels(None, f"{path.suffix} has none")
    record["labels"] = labels.note
    noted = read_record(path) if (path / RECORD).is_file() else {}
    facts = {key: value for key, value in noted.items() if key not in (FILES, DIGEST)}
    return Opened(images, labels, statistics, record | facts, spatial)


def _checked_npz(path: Path, file: Path) -> str:
    """SHA-256 of an ``.npz``, after checking its members and its folder's note."""
    check_whole(file)
    digest = sha256(file)
    if path != file:
        verify(path, REFERENCE, NOTE)
        note = read_json(path / NOTE) if (path / NOTE).is_file() else {}
        if not isinstance(note, dict) or note.get("sha256", digest) != digest:
            raise DimrError(f"{file}: damaged: its SHA-256 is not the one in {NOTE}")
    return digest


def read_spatial_statistics(path: str | Path) -> Statistics | None:
    """``mu_s`` and ``sigma_s`` of an ``.npz``, as ``read_statistics``."""
    return read_statistics(path, SPATIAL_WIDTH, ("mu_s", "sigma_s"))


def read_statistics(
    path: str | Path, width: int = WIDTH, names: tuple[str, str] = ("mu", "sigma")
) -> Statistics | None:
    """``mu`` (width,) and ``sigma`` (width, width) of an ``.npz`` as float64; None without both.

    Raises:
        DimrError: one without the other, another shape, not real, not finite, or a sigma that is
            not a covariance.
    """
    held = [name for name in names if name in array_names(path)]
    if not held:
        return None
    if len(held) == 1:
        raise DimrError(f"{path}: holds only {held[0]}; expected {' and '.join(names)}, or neither")
    for name, wanted in zip(names, ((width,), (width, width)), strict=True):
        shape, dtype = array_header(path, name)
        if shape != wanted or dtype.kind != "f":
            raise DimrError(f"{path}: {name} is {dtype} {shape}; expected floats {wanted}")
    mu, sigma = (array.astype(np.float64) for array in load_arrays(path, held))
    for name, array in zip(names, (mu, sigma), strict=True):
        if not np.isfinite(array).all():
            raise DimrError(f"{path}: {name} holds values that are not finite")
    if not _is_covariance(sigma):
        raise DimrError(f"{path}: {names[1]} is not a covariance (symmetric, no variance below 0)")
    return {"mu": mu, "sigma": sigma}


def _is_covariance(sigma: NDArray[np.float64]) -> bool:
    """Whether a matrix is symmetric, with no covariance larger than its variances allow.

    Up to rounding, to half precision at worst. With any other, FID could be any number, or 0.
    """
    variances = np.diagonal(sigma)
    if variances.min() < 0:
        return False
    deviations, least = np.sqrt(variances), 1e-6 * variances.max()
    for i, row in enumerate(sigma):  # row by row: in little memory
        allowed = deviations[i] * deviations
        slack = 1e-2 * allowed + least
        if (abs(row) > allowed + slack).any() or (abs(row - sigma[:, i]) > slack).any():
            return False
    return True
