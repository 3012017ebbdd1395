"""Shard folders: latents or images as ``.npy`` files with labels and a manifest of checksums.

A folder holds ``00000.npy``, ``00001.npy``, ... (n, *shape), ``labels.npy`` (count,) int64 and
``manifest.json``. Two kinds:

- ``posterior``: (2C, h, w) float16, the mean (C channels), then the standard deviation (C channels)
  of an autoencoder's posterior, unscaled; ``scaling_factor`` is in the manifest;
- ``pixels``: (H, W, 3) uint8, or (H, W, 1) for grey.
"""

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Field, model_validator

from dimr.config.schema import ConfigModel
from dimr.config.validation import validate
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, require_file, save_array, sha256, single_line, write_json
from dimr.runtime.record import compare_files
from dimr.runtime.record import verify as verify_files

DTYPES = {"posterior": "float16", "pixels": "uint8"}
MANIFEST = "manifest.json"
LABELS = "labels.npy"
SAMPLES = {"posterior": "(2C, h, w)", "pixels": "(H, W, 3) or (H, W, 1)"}
"""The shape of a sample by kind."""
MAPPED_BYTES = 16 * 1024**2
"""Bytes that are read before their pages are unmapped; the system maps up to 8 times as many."""

# --- manifests ------------------------------------------------------------------------------------


class Manifest(ConfigModel):
    """``manifest.json`` of a result; unknown keys are ignored."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """The manifest of a folder; ``DimrError`` names the file and the key that is wrong."""
        path = Path(folder) / MANIFEST
        return validate(cls, read_json(path), str(path))

    @classmethod
    def write(cls, folder: Path, **content: Any) -> Self:
        """Check plain JSON and write it; ``DimrError`` names the folder and what is wrong."""
        manifest = validate(cls, content, str(folder))
        write_json(folder / MANIFEST, content)
        return manifest


def _plain_name(name: str) -> str:
    if name != Path(name).name:
        raise ValueError(f"{name!r} is not the name of a file in this folder")
    return name


FileName = Annotated[str, AfterValidator(_plain_name)]
Filled = Annotated[int, Field(ge=1)]


class Checksum(Manifest):
    """Of a file."""

    sha256: str


class FileEntry(Checksum):
    """A file of the folder."""

    file: FileName


class ShardEntry(FileEntry):
    """A shard, of ``count`` samples."""

    count: Filled


class ShardManifest(Manifest):
    """``manifest.json`` of a shard folder; ``shape`` is that of a stored sample."""

    format: Literal["dimr-shards-1"]
    kind: Literal["posterior", "pixels"]
    count: Filled
    shape: tuple[Filled, Filled, Filled]
    dtype: Literal["float16", "uint8"]
    classes: Filled
    class_names: list[str]
    key: str
    shards: list[ShardEntry]
    labels: FileEntry
    scaling_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        held, pixels = sum(shard.count for shard in self.shards), self.kind == "pixels"
        if self.dtype != DTYPES[self.kind]:
            raise ValueError(f"dtype is {self.dtype}, must be {DTYPES[self.kind]} for {self.kind}")
        if self.shape[2] not in (1, 3) if pixels else self.shape[0] % 2:
            raise ValueError(f"shape is {self.shape}, must be {SAMPLES[self.kind]} for {self.kind}")
        if held != self.count:
            raise ValueError(f"shards hold {held} samples, count is {self.count}")
        if len(self.class_names) != self.classes:
            raise ValueError(f"{len(self.class_names)} class_names for {self.classes} classes")
        if (self.scaling_factor is None) != pixels:
            raise ValueError(f"scaling_factor is {self.scaling_factor} for {self.kind}")
        return self


# --- reading --------------------------------------------------------------------------------------


class MappedRows:
    """Memory maps of (n_k, *shape), read as one array.

    What was read is unmapped from time to time: the system would reclaim it when memory is short,
    but it and job schedulers count it as the process's.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self.arrays = arrays
        self._ends = np.cumsum([len(array) for array in arrays])  # the first row after each
        self._mapped = 0

    def parts(
        self, numbers: Sequence[int] | NDArray[np.int64]
    ) -> list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Which array holds which of the rows ``numbers`` (n,), in any order.

        Returns:
            For each array that holds some: its number, places in ``numbers``, and rows in it.
        """
        order = np.argsort(numbers)
        ordered = np.asarray(numbers, np.int64)[order]
        if len(ordered) and not 0 <= ordered[0] <= ordered[-1] < self._ends[-1]:
            raise IndexError(f"holds {self._ends[-1]} samples")
        stops = np.searchsorted(ordered, self._ends)  # how many lie before each array's end
        starts = np.concatenate([[0], stops[:-1]])
        first = self._ends - [len(array) for array in self.arrays]
        return [
            (int(k), order[starts[k] : stops[k]], ordered[starts[k] : stops[k]] - first[k])
            for k in np.flatnonzero(stops > starts)
        ]

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Rows (n, *shape) by their numbers, with one read for each array."""
        like = self.arrays[0]
        found = np.empty((len(numbers), *like.shape[1:]), like.dtype)
        for k, places, rows in self.parts(numbers):
            found[places] = self.arrays[k][rows]
        self._mapped += found.nbytes
        if self._mapped > MAPPED_BYTES:
            for array in self.arrays:
                unmap(array)
            self._mapped = 0
        return found


@dataclass(frozen=True)
class OpenShards:
    """A folder opened for reading: memory maps ``arrays`` of (n_k, *shape), ``labels`` (count,)."""

    folder: Path
    manifest: ShardManifest
    arrays: list[NDArray[Any]]
    labels: NDArray[np.int64]

    @cached_property
    def _rows(self) -> MappedRows:
        return MappedRows(self.arrays)

    def take(
        self, indices: Sequence[int] | NDArray[np.int64], compare: bool = True
    ) -> NDArray[Any]:
        """Samples (n, *shape) by their numbers, with one read for each shard.

        Args:
            indices: 0 to count - 1, in any order.
            compare: first read the shards concerned as a whole, to compare their checksums.

        Raises:
            DimrError: names the shard that is damaged.
        """
        if compare:
            entries = [self.manifest.shards[k] for k, _, _ in self._rows.parts(indices)]
            compare_files(self.folder, {entry.file: entry.sha256 for entry in entries})
        return self._rows.take(indices)


def open_shards(folder: Path) -> OpenShards:
    """Memory-map every shard and the labels, comparing headers and file sizes with the manifest.

    Nothing is hashed: this costs a few file headers. ``DimrError`` names the file that is missing,
    truncated, or of another shape or dtype.
    """
    folder = Path(folder)
    manifest = ShardManifest.read(folder)
    arrays = [
        map_array(folder / shard.file, (shard.count, *manifest.shape), manifest.dtype)
        for shard in manifest.shards
    ]
    path = folder / manifest.labels.file
    labels = map_array(path, (manifest.count,), "int64")
    _check_labels(path, labels, manifest.classes)
    return OpenShards(folder, manifest, arrays, labels)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as the manifest has them."""
    manifest = ShardManifest.read(folder)
    return {entry.file: entry.sha256 for entry in (*manifest.shards, manifest.labels)}


def verify(folder: Path, share: slice = slice(None)) -> ShardManifest:
    """Check all that ``open_shards`` does, and the checksums of manifest, labels and shards.

    Args:
        folder: as for ``open_shards``.
        share: of the shards: processes that work together each check a part.

    Returns:
        The manifest.

    Raises:
        DimrError: names the file that differs, is missing, or does not belong there.
    """
    folder = Path(folder)
    manifest = open_shards(folder).manifest
    wanted = checksums(folder)
    extra = {path.name for path in folder.glob("*.npy")} - wanted.keys()
    if extra:
        raise DimrError(f"{folder / min(extra)}: not listed in {MANIFEST}")
    verify_files(folder, MANIFEST)
    entries = (manifest.labels, *manifest.shards[share])
    compare_files(folder, {entry.file: entry.sha256 for entry in entries})
    return manifest


def map_array(path: Path, shape: tuple[int, ...], dtype: str | np.dtype[Any]) -> NDArray[Any]:
    """A read-only memory map of a ``.npy`` file that must be whole and of this shape and dtype."""
    require_file(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes numpy's parser raise nearly anything
        raise DimrError(f"{path}: truncated or not a .npy file ({single_line(error)})") from None
    if not isinstance(array, np.memmap):
        raise DimrError(f"{path}: not a .npy file")
    if array.shape != shape or array.dtype != np.dtype(dtype) or not array.flags.c_contiguous:
        found = f"{array.dtype} {array.shape}"
        raise DimrError(f"{path}: holds {found}, should hold {dtype} {shape} in C order")
    size, wanted = path.stat().st_size, array.offset + array.nbytes
    if size != wanted:
        raise DimrError(f"{path}: has {size} bytes, its header says {wanted}")
    return np.asarray(array)


def unmap(array: NDArray[Any]) -> None:
    """Release the pages of a memory map; they stay in the system's file cache."""
    if isinstance(array.base, np.memmap) and isinstance(array.base.base, mmap.mmap):
        array.base.base.madvise(mmap.MADV_DONTNEED)


# --- writing --------------------------------------------------------------------------------------


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"{number:05d}.npy"


def write_shard(
    path: Path, samples: NDArray[Any], kind: str, shape: Sequence[int], first: int, where: Path
) -> dict[str, Any]:
    """Check samples (n, *shape), store them atomically, and return the shard's entry.

    Posterior moments may have any floating-point dtype, and become float16; pixels must be uint8.
    ``DimrError`` begins with ``where`` and gives the number, counted from ``first``, of the sample
    that does not fit or is not finite.
    """
    if samples.shape[1:] != tuple(shape):
        raise DimrError(f"{where}: sample {first} has shape {samples.shape[1:]}, not {shape}")
    if kind == "pixels" and samples.dtype != np.uint8:
        raise DimrError(f"{where}: sample {first} is {samples.dtype}; pixels must be uint8")
    if kind == "posterior":
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float16)
        if (samples[:, shape[0] // 2 :] < 0).any():
            raise DimrError(f"{where}: a standard deviation after sample {first} is below 0")
        finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
        if not finite.all():
            number = first + int(finite.argmin())
            raise DimrError(f"{where}: sample {number} is not finite in float16")
    with atomic_file(path) as temporary:
        save_array(samples, temporary)
        digest = sha256(temporary)
    return {"file": path.name, "count": len(samples), "sha256": digest}


def complete(
    folder: Path,
    shards: Sequence[dict[str, Any]],
    labels: NDArray[np.integer[Any]],
    *,
    kind: str,
    shape: Sequence[int],
    class_names: Sequence[str],
    key: str,
    scaling_factor: float | None = None,
) -> ShardManifest:
    """Write labels (count,) and manifest beside the shards of ``folder``; return the manifest.

    ``shards`` are their entries, ``shape`` that of a stored sample; ``key`` identifies what the
    folder holds. ``DimrError`` if that does not fit together.
    """
    labels = np.asarray(labels)
    _check_labels(folder, labels, len(class_names))
    save_array(labels.astype(np.int64), folder / LABELS)
    content = {
        "format": "dimr-shards-1",
        "kind": kind,
        "count": len(labels),
        "shape": list(shape),
        "dtype": DTYPES[kind],
        "classes": len(class_names),
        "class_names": list(class_names),
        "key": key,
        "shards": list(shards),
        "labels": {"file": LABELS, "sha256": sha256(folder / LABELS)},
    }
    scale = {} if scaling_factor is None else {"scaling_factor": scaling_factor}
    return ShardManifest.write(folder, **content, **scale)


def _check_labels(where: Path, labels: NDArray[Any], classes: int) -> None:
    if labels.ndim != 1 or labels.size == 0 or not np.issubdtype(labels.dtype, np.integer):
        raise DimrError(f"{where}: labels must be a non-empty list of integers")
    if labels.min() < 0 or labels.max() >= classes:
        raise DimrError(f"{where}: labels must lie in 0..{classes - 1}")
