"""What metrics compare with: an ADM reference batch, or images of which statistics are taken.

ADM's batches hold 10,000 images (``arr_0``) for precision and recall, and ``mu`` and ``sigma`` of
the features of many more for FID (``mu_s`` and ``sigma_s``, of the spatial features of sFID, are
not used).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dimr.errors import DimrError
from dimr.evaluation.fidelity import Statistics
from dimr.evaluation.images import ImageSet, NpzImages, open_images
from dimr.evaluation.npz import array_header, array_names, check_whole, load_arrays
from dimr.files import read_json, sha256

WIDTH = 2048
"""Features of Inception's pool3."""
NOT_INTERLEAVED = "not interleaved"


@dataclass(frozen=True)
class Opened:
    """Images, the statistics that came with them, and the record of where they are from."""

    images: ImageSet
    statistics: Statistics | None
    record: dict[str, Any]


def open_set(path: str | Path, width: int = WIDTH) -> Opened:
    """Open samples or a reference: an ``.npz``, a folder of pixel shards, or a reference folder.

    Args:
        path: of any of the three.
        width: of the features that an ``.npz``'s ``mu`` and ``sigma`` must have.

    The record holds ``key`` (what the step that made it wrote, else the manifest's, else the file's
    SHA-256), ``file``, ``images``, ``size``, the order of the ``labels`` (all that the Inception
    Score asks of them), and for an ``.npz`` its ``sha256``.

    Every checksum is compared first: damage shows before hours of work, not after.

    Raises:
        DimrError: damage, no images, statistics that are incomplete or of another width.
    """
    path, images = Path(path), open_images(path)
    record = {"file": str(path), "images": images.shape[0], "size": list(images.shape[1:3])}
    noted = read_json(path / "record.json") if (path / "record.json").is_file() else {}
    statistics = None
    if isinstance(images, NpzImages):
        check_whole(images.path)
        statistics = read_statistics(images.path, width)
        digest = sha256(images.path)
        record |= {"sha256": digest, "key": digest, "labels": "assumed interleaved, i mod classes"}
    else:
        record |= _of_shards(path)
    if not isinstance(noted, dict) or not isinstance(noted.get("key", ""), str):
        raise DimrError(f"{path / 'record.json'}: not the record of a step (no key)")
    return Opened(images, statistics, record | noted)


def _of_shards(path: Path) -> dict[str, Any]:
    """Key and order of a shard folder."""
    from dimr.data.shards import open_shards, verify

    verify(path)
    shards = open_shards(path)
    classes, labels = shards.manifest["classes"], shards.labels
    interleaved = bool((labels == np.arange(len(labels)) % classes).all())
    order = f"interleaved, i mod {classes}" if interleaved else NOT_INTERLEAVED
    return {"key": shards.manifest["key"], "labels": order}


def read_statistics(path: str | Path, width: int = WIDTH) -> Statistics | None:
    """``mu`` (width,) and ``sigma`` (width, width) of an ``.npz`` as float64; None without both.

    Raises:
        DimrError: one without the other, another shape, no real numbers, or not finite.
    """
    there = set(array_names(path))
    held = [name for name in ("mu", "sigma") if name in there]
    if not held:
        return None
    if len(held) == 1:
        raise DimrError(f"{path}: holds {held[0]} alone; expected mu and sigma, or neither")
    for name, wanted in (("mu", (width,)), ("sigma", (width, width))):
        shape, dtype = array_header(path, name)
        if shape != wanted or dtype.kind != "f":
            raise DimrError(f"{path}: {name} is {dtype} {shape}; expected floats {wanted}")
    mu, sigma = (array.astype(np.float64) for array in load_arrays(path, held))
    for name, array in (("mu", mu), ("sigma", sigma)):
        if not np.isfinite(array).all():
            raise DimrError(f"{path}: {name} holds values that are not finite")
    return {"mu": mu, "sigma": sigma}
