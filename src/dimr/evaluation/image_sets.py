"""The images that metrics take, as arrays or as sets that are read piece by piece.

A set holds its name, its shape (N, H, W, 3) and a way to go through its images in order; at full
size (50,000 images of 256 px are 9.8 GB) no step has more of them in memory than a few batches.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.data.npz import array_header, array_pieces, file_header, load_arrays
from dimr.data.reader import unmap
from dimr.evaluation.picture_files import EXPECTED, PictureFiles
from dimr.runtime.errors import DimrError

REFERENCE = "reference.npz"
"""The file in a folder that ``dimr data reference`` wrote."""


class ImageSet(Protocol):
    """uint8 images in a fixed order. ``name`` is what messages call them."""

    name: str
    shape: tuple[int, ...]  # (N, H, W, 3)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All images from the first on, (n, H, W, 3) with n of at most ``size``."""


class ArrayImages:
    """Arrays (n, H, W, 3) one after the other, possibly memory maps."""

    def __init__(self, name: str, arrays: Sequence[NDArray[np.uint8]]) -> None:
        for array in arrays:
            check_images(array, name)
        self.name, self.arrays = name, arrays
        self.shape = (sum(map(len, arrays)), *arrays[0].shape[1:])

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``; the last of each array may be shorter."""
        for array in self.arrays:
            for start in range(0, len(array), size):
                yield array[start : start + size]
                unmap(array)  # or all that was read would count to the process


class NpzImages:
    """``arr_0`` of an ADM-style ``.npz``, streamed at each pass."""

    def __init__(self, path: str | Path) -> None:
        shape, dtype = array_header(path, "arr_0")
        check_kind(str(path), dtype, shape)
        self.name, self.path, self.shape = str(path), path, shape

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``."""
        yield from array_pieces(self.path, "arr_0", size)


def npy_images(path: Path) -> ArrayImages:
    """The images of an ``.npy`` file, a memory map; ``DimrError`` if they are none, or damaged."""
    from dimr.data.shards import map_array

    shape, dtype = file_header(path)
    check_kind(str(path), dtype, shape)
    return ArrayImages(str(path), [map_array(path, shape, dtype)])


def shard_images(folder: Path) -> ArrayImages:
    """The images of a folder of pixel shards; ``DimrError`` if it holds others, or damage."""
    from dimr.data.shards import open_shards

    shards = open_shards(folder)
    if shards.manifest["kind"] != "pixels":
        raise DimrError(f"{folder}: shards of kind {shards.manifest['kind']}; expected pixels")
    return ArrayImages(str(folder), shards.arrays)


def open_images(path: str | Path) -> ImageSet:
    """The images of whatever ``EXPECTED`` names, by what is there.

    Raises:
        DimrError: nothing there, something else, damage, or no uint8 images (N, H, W, 3).
    """
    from dimr.data.shards import MANIFEST

    path = Path(path)
    if path.is_dir():
        if (path / REFERENCE).is_file():
            return NpzImages(path / REFERENCE)
        return shard_images(path) if (path / MANIFEST).is_file() else PictureFiles(path)
    if path.is_file() and path.suffix.lower() == ".npy":
        return npy_images(path)
    if path.is_file() and path.suffix.lower() == ".npz":
        return NpzImages(path)
    state = "no images here" if os.path.lexists(path) else "no such file or folder"
    raise DimrError(f"{path}: {state}; {EXPECTED}")


def as_image_set(images: ImageSet | NDArray[Any], name: str) -> ImageSet:
    """An array as a set of that name; a set as it is."""
    return ArrayImages(name, [images]) if isinstance(images, np.ndarray) else images


def check_kind(
    name: str, dtype: np.dtype[Any], shape: tuple[int, ...], size: int | None = None
) -> None:
    """Raise ``DimrError`` unless dtype and shape are uint8 (N, H, W, 3), N > 0, H = W = size."""
    if dtype != np.uint8:
        raise DimrError(f"{name}: images are {dtype}; expected a uint8 array")
    if len(shape) != 4 or shape[3] != 3 or 0 in shape:
        raise DimrError(f"{name}: images have shape {shape}; expected (N, H, W, 3)")
    if size is not None and shape[1:3] != (size, size):
        raise DimrError(f"{name}: images are {shape[1]}x{shape[2]}; expected {size}x{size}")


def check_images(
    images: np.ndarray, name: str, count: int | None = None, size: int | None = None
) -> np.ndarray:
    """Return ``images`` if they are uint8 (N, H, W, 3) with N > 0, else raise ``DimrError``.

    Args:
        images: what to check.
        name: a file or a set, as the message calls it.
        count: the N to insist on.
        size: the height and width to insist on.
    """
    if not isinstance(images, np.ndarray):
        raise DimrError(f"{name}: images are {type(images).__name__}; expected a uint8 array")
    check_kind(name, images.dtype, images.shape)
    if count is not None and len(images) != count:
        raise DimrError(f"{name}: {len(images)} images; expected {count}")
    check_kind(name, images.dtype, images.shape, size)
    return images


def load_npz_images(path: str | Path) -> np.ndarray:
    """The images of an ADM-style ``.npz``: its ``arr_0``, uint8 (N, H, W, 3), read whole."""
    return check_images(load_arrays(path, ["arr_0"])[0], str(path))


def image_tensor(images: np.ndarray) -> torch.Tensor:
    """A copy of uint8 images (..., H, W, 3) as a contiguous uint8 tensor (..., 3, H, W)."""
    # torch turns three times as fast as numpy; the copy is for arrays that are read-only.
    return torch.from_numpy(np.array(images)).movedim(-1, -3).contiguous()
