"""Shard folders: latents or images as ``.npy`` files with labels and a manifest of checksums.

A folder holds ``00000.npy``, ``00001.npy``, ... (n, *shape), ``labels.npy`` (count,) int64 and
``manifest.json``. Two kinds:

- ``posterior``: (2C, h, w) float16, the mean (C channels), then the standard deviation (C channels)
  of an autoencoder's posterior, unscaled; ``scaling_factor`` is in the manifest;
- ``pixels``: (H, W, 3) uint8, or (H, W, 1) for grey.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.runtime.errors import DimrError
from dimr.runtime.files import (
    atomic_directory,
    read_json,
    require_file,
    save_array,
    sha256,
    single_line,
    write_json,
)
from dimr.runtime.record import compare_files
from dimr.runtime.record import verify as verify_files

FORMAT = "dimr-shards-1"
DTYPES = {"posterior": "float16", "pixels": "uint8"}
MANIFEST = "manifest.json"
LABELS = "labels.npy"


@dataclass(frozen=True)
class OpenShards:
    """A folder opened for reading: memory maps ``arrays`` of (n_k, *shape), ``labels`` (count,)."""

    folder: Path
    manifest: dict[str, Any]
    arrays: list[NDArray[Any]]
    labels: NDArray[np.int64]

    def take(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[Any]:
        """Samples (n, *shape) by their numbers, from shards whose checksums are compared first."""
        ends = np.cumsum([len(array) for array in self.arrays])
        places = np.searchsorted(ends, indices, side="right")
        used = [self.manifest["shards"][k] for k in sorted(set(places.tolist()))]
        compare_files(self.folder, {entry["file"]: entry["sha256"] for entry in used})
        found = zip(places, indices, strict=True)
        return np.stack([self.arrays[k][i - ends[k]] for k, i in found])


def write_shards(
    out: Path,
    batches: Iterable[NDArray[Any]],
    labels: Sequence[int] | NDArray[np.integer[Any]],
    *,
    kind: str,
    classes: int,
    class_names: Sequence[str],
    scaling_factor: float | None,
    key: str,
    shard_size: int,
) -> dict[str, Any]:
    """Write ``batches`` (n, *shape) of any n as a shard folder ``out``; return its manifest.

    Sample i of the stream has label ``labels[i]``, 0 <= label < ``classes``. At most one shard of
    ``shard_size`` samples is held in memory. Posterior moments are stored as float16; pixels must
    be uint8. ``scaling_factor`` belongs to kind "posterior" alone. ``DimrError`` if the samples
    are not as many as the labels, differ in shape, or are not finite in float16; ``out`` is then
    as it was before.
    """
    out = Path(out)
    labels = _checked_labels(out, labels, classes)
    _check_arguments(out, kind, classes, class_names, scaling_factor, shard_size)
    with atomic_directory(out) as folder:
        shards: list[dict[str, Any]] = []
        shape: tuple[int, ...] = ()
        for array in _shards(out, batches, kind, len(labels), shard_size):
            name, shape = f"{len(shards):05d}.npy", array.shape[1:]
            save_array(array, folder / name)
            shards.append({"file": name, "count": len(array), "sha256": sha256(folder / name)})
        return complete(
            folder, shards, labels, kind=kind, shape=shape, classes=classes,
            class_names=class_names, scaling_factor=scaling_factor, key=key,
        )  # fmt: skip


def complete(
    folder: Path,
    shards: Sequence[dict[str, Any]],
    labels: NDArray[np.int64],
    *,
    kind: str,
    shape: Sequence[int],
    classes: int,
    class_names: Sequence[str],
    scaling_factor: float | None,
    key: str,
) -> dict[str, Any]:
    """Write labels and manifest beside the shards of ``folder``; return the manifest.

    ``shards``: file, count and sha256 of each. ``DimrError`` for what no folder may hold.
    """
    labels = _checked_labels(folder, labels, classes)
    save_array(labels, folder / LABELS)
    manifest = {
        "format": FORMAT,
        "kind": kind,
        "count": len(labels),
        "shape": list(shape),
        "dtype": DTYPES[kind],
        "classes": classes,
        "class_names": list(class_names),
        "key": key,
        "shards": list(shards),
        "labels": {"file": LABELS, "sha256": sha256(folder / LABELS)},
    }
    if kind == "posterior":
        manifest["scaling_factor"] = scaling_factor
    if problem := _manifest_problem(manifest):
        raise DimrError(f"{folder}: {problem}")
    write_json(folder / MANIFEST, manifest)
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The checked manifest of a shard folder; ``DimrError`` names the file and what is wrong."""
    return checked_manifest(Path(folder) / MANIFEST, _manifest_problem, "a manifest of shards")


def checked_manifest(
    path: Path, problem_of: Callable[[dict[str, Any]], str | None], what: str
) -> dict[str, Any]:
    """A manifest that ``problem_of`` finds nothing wrong with; it may raise on what is missing."""
    manifest = read_json(path)
    try:
        problem = problem_of(manifest)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"not {what} ({error!r})"
    if problem:
        raise DimrError(f"{path}: {problem}")
    return manifest


def open_shards(folder: Path) -> OpenShards:
    """Memory-map every shard and the labels, comparing headers and file sizes with the manifest.

    Nothing is hashed: this costs a few file headers. ``DimrError`` names the file that is missing,
    truncated, or of another shape or dtype.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    shape, dtype = tuple(manifest["shape"]), manifest["dtype"]
    arrays = [
        map_array(folder / shard["file"], (shard["count"], *shape), dtype)
        for shard in manifest["shards"]
    ]
    path = folder / manifest["labels"]["file"]
    labels = map_array(path, (manifest["count"],), "int64")
    if labels.min() < 0 or labels.max() >= manifest["classes"]:
        raise DimrError(f"{path}: labels must lie in 0..{manifest['classes'] - 1}")
    return OpenShards(folder, manifest, arrays, labels)


def checksums(folder: Path) -> dict[str, str]:
    """SHA-256 by file name, as the manifest has them."""
    manifest = read_manifest(folder)
    return {entry["file"]: entry["sha256"] for entry in [*manifest["shards"], manifest["labels"]]}


def verify(folder: Path, share: slice = slice(None)) -> dict[str, Any]:
    """Check all that ``open_shards`` does, and the checksums of manifest, labels and shards.

    Args:
        folder: as for ``open_shards``.
        share: of the shards: processes that work together compare a part each.

    Returns:
        The manifest.

    Raises:
        DimrError: names the file that differs, is missing, or has no place there.
    """
    folder = Path(folder)
    manifest = open_shards(folder).manifest
    wanted = checksums(folder)
    extra = {path.name for path in folder.glob("*.npy")} - wanted.keys()
    if extra:
        raise DimrError(f"{folder / min(extra)}: not listed in {MANIFEST}")
    verify_files(folder, MANIFEST)
    names = [entry["file"] for entry in [manifest["labels"], *manifest["shards"][share]]]
    compare_files(folder, {name: wanted[name] for name in names})
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


def _shards(
    out: Path, batches: Iterable[NDArray[Any]], kind: str, count: int, shard_size: int
) -> Iterator[NDArray[Any]]:
    """Cut the stream of batches into arrays of ``shard_size`` samples (the last may be shorter).

    A yielded array is valid until the next one is asked for: its memory is used again.
    """
    buffer, filled, done = None, 0, 0
    for batch in batches:
        if buffer is None:
            _check_shape(out, kind, batch.shape[1:])
            buffer = np.empty((min(shard_size, count), *batch.shape[1:]), DTYPES[kind])
        data = checked_samples(out, batch, kind, buffer.shape[1:], done)
        done += len(data)
        if done > count:
            raise DimrError(f"{out}: {done} samples or more for {count} labels")
        while len(data):
            taken = min(len(data), len(buffer) - filled)
            buffer[filled : filled + taken] = data[:taken]
            data, filled = data[taken:], filled + taken
            if filled == len(buffer):
                yield buffer
                filled = 0
    if done < count:
        raise DimrError(f"{out}: {done} samples for {count} labels")
    if buffer is not None and filled:
        yield buffer[:filled]


def checked_samples(
    out: Path, batch: NDArray[Any], kind: str, shape: tuple[int, ...], first: int
) -> NDArray[Any]:
    """The batch (n, *shape) in its kind's dtype; ``first`` is the number of its first sample.

    ``DimrError`` names ``out`` and the sample that has another shape or dtype or is not finite.
    """
    if batch.shape[1:] != shape:
        raise DimrError(f"{out}: sample {first} has shape {batch.shape[1:]}, others have {shape}")
    if kind == "pixels":
        if batch.dtype != np.uint8:
            raise DimrError(f"{out}: sample {first} is {batch.dtype}; pixels must be uint8")
        return batch
    with np.errstate(over="ignore"):
        data = batch.astype(np.float16)
    if (data[:, shape[0] // 2 :] < 0).any():
        raise DimrError(f"{out}: a standard deviation after sample {first} is below 0")
    finite = np.isfinite(data).reshape(len(data), -1).all(axis=1)
    if not finite.all():
        raise DimrError(f"{out}: sample {first + int(finite.argmin())} is not finite in float16")
    return data


def _shape_problem(kind: str, shape: tuple[int, ...]) -> str | None:
    """What is wrong with a sample's shape, or None."""
    good = len(shape) == 3 and min(shape) >= 1
    if kind == "posterior" and not (good and shape[0] % 2 == 0):
        return f"shape is {shape}, must be (2C, h, w) for kind posterior"
    if kind == "pixels" and not (good and shape[2] in (1, 3)):
        return f"shape is {shape}, must be (H, W, 3) or (H, W, 1) for kind pixels"
    return None


def _check_shape(out: Path, kind: str, shape: tuple[int, ...]) -> None:
    if problem := _shape_problem(kind, shape):
        raise DimrError(f"{out}: {problem}")


def _checked_labels(
    out: Path, labels: Sequence[int] | NDArray[np.integer[Any]], classes: int
) -> NDArray[np.int64]:
    array = np.asarray(labels)
    if array.ndim != 1 or array.size == 0 or not np.issubdtype(array.dtype, np.integer):
        raise DimrError(f"{out}: labels must be a non-empty list of integers")
    if array.min() < 0 or array.max() >= classes:
        raise DimrError(f"{out}: labels must lie in 0..{classes - 1}")
    return array.astype(np.int64)


def _check_arguments(
    out: Path,
    kind: str,
    classes: int,
    class_names: Sequence[str],
    scaling_factor: float | None,
    shard_size: int,
) -> None:
    if kind not in DTYPES:
        raise DimrError(f"{out}: kind is {kind!r}; use one of {', '.join(DTYPES)}")
    if len(class_names) != classes:
        raise DimrError(f"{out}: {len(class_names)} class names for {classes} classes")
    if shard_size < 1:
        raise DimrError(f"{out}: shard_size is {shard_size}, must be 1 or more")
    if problem := _scale_problem(kind, scaling_factor):
        raise DimrError(f"{out}: {problem}")


def _scale_problem(kind: str, scaling_factor: float | None) -> str | None:
    if kind == "pixels":
        return None if scaling_factor is None else "scaling_factor is for kind posterior alone"
    number = isinstance(scaling_factor, int | float) and math.isfinite(scaling_factor)
    if scaling_factor is None or not number or scaling_factor <= 0:
        return f"scaling_factor is {scaling_factor!r}, must be a positive number"
    return None


def _manifest_problem(manifest: dict[str, Any]) -> str | None:
    """The first thing that is wrong with a manifest, or None; a missing key raises KeyError."""
    if manifest["format"] != FORMAT:
        return f"format is {manifest['format']!r}, must be {FORMAT!r}"
    kind, shards = manifest["kind"], manifest["shards"]
    if kind not in DTYPES:
        return f"kind is {kind!r}, must be one of {', '.join(DTYPES)}"
    if manifest["dtype"] != DTYPES[kind]:
        return f"dtype is {manifest['dtype']!r}, must be {DTYPES[kind]!r} for kind {kind}"
    counts = [shard["count"] for shard in shards]
    if not counts or min(counts) < 1 or sum(counts) != manifest["count"]:
        return f"shards hold {sum(counts)} samples, count is {manifest['count']}"
    for entry in [*shards, manifest["labels"]]:
        if entry["file"] != Path(entry["file"]).name or not isinstance(entry["sha256"], str):
            return f"{entry!r} is not a file of this folder with a checksum"
    if manifest["classes"] < 1 or len(manifest["class_names"]) != manifest["classes"]:
        return f"{len(manifest['class_names'])} class names for {manifest['classes']} classes"
    return _scale_problem(kind, manifest.get("scaling_factor")) or _shape_problem(
        kind, tuple(manifest["shape"])
    )
