"""The images that metrics take, as arrays or as sets that are read piece by piece.

A set has a name, a shape (N, H, W, 3) and a way to iterate over its images in order; at full size
(50,000 images of 256 px are 9.8 GB) no step has more than a few batches of them in memory.
"""

import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dimr.data.npz import array_header, array_pieces, file_header
from dimr.data.pictures import as_rgb
from dimr.data.shards import unmap
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar

REFERENCE = "reference.npz"
"""The file in a folder that ``dimr data reference`` wrote."""
LABELS = "labels.npy"
"""The only other file that may lie among PNG and JPEG images."""
SUFFIXES = (".png", ".jpg", ".jpeg")
EXPECTED = (
    "expected an .npz (arr_0: uint8 (N, H, W, 3); arr_1: their labels, if known), an .npy of such "
    "images, a folder of samples or of a reference batch, or a folder of PNG or JPEG images of one "
    "size"
)
"""The forms in which images may be given."""


class ImageSet(Protocol):
    """uint8 images in a fixed order. ``name`` is what messages call them."""

    name: str
    shape: tuple[int, ...]  # (N, H, W, 3)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """All images from the first on, (n, H, W, 3) with n of at most ``size``."""


class ArrayImages:
    """Arrays (n, H, W, 3), possibly memory maps, one after the other."""

    def __init__(self, name: str, arrays: Sequence[NDArray[np.uint8]]) -> None:
        for array in arrays:
            check_images(array, name)
        self.name, self.arrays = name, arrays
        self.shape = (sum(map(len, arrays)), *arrays[0].shape[1:])

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``; all but the last have ``size``, wherever arrays end."""
        parts: list[NDArray[np.uint8]] = []  # of a batch that spans arrays
        for array in self.arrays:
            start = 0
            while start < len(array):
                end = start + size - sum(map(len, parts))
                parts.append(array[start:end])
                start = end
                if sum(map(len, parts)) == size:
                    yield parts[0] if len(parts) == 1 else np.concatenate(parts)
                    parts = []
                    unmap(array)  # otherwise all that was read would count as the process's memory
        if parts:
            yield np.concatenate(parts)


class NpzImages:
    """``arr_0`` of an ADM-style ``.npz``, streamed at each pass."""

    def __init__(self, path: str | Path) -> None:
        shape, dtype = array_header(path, "arr_0")
        check_kind(str(path), dtype, shape)
        self.name, self.path, self.shape = str(path), path, shape

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``."""
        yield from array_pieces(self.path, "arr_0", size)


class PictureFiles:
    """PNG or JPEG images of a folder, in natural order of names (``2.png`` before ``10.png``).

    They are read as ``dimr.data.pictures.as_rgb`` does, at each pass. Opening the folder reads all
    files once: ``key`` is a SHA-256 of their names and bytes.

    Args:
        folder: holds images of one size, perhaps ``labels.npy`` and hidden files, but nothing else.

    Raises:
        DimrError: names a file that does not belong there, the first image of another size, or one
            that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.name, self.paths = str(folder), _image_files(folder)
        first = _decoded(self.paths[0])
        self.shape = (len(self.paths), *first.shape)
        digest = hashlib.sha256()
        for path in progress_bar(self.paths, description=f"read {folder.name}", unit="file"):
            data = _bytes(path)
            digest.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(data).digest())
            with _opened(path, data) as image:
                if sorted(image.size) != sorted(first.shape[:2]):  # EXIF may swap the sides
                    raise self._differs(path, image.height, image.width)
        self.key = digest.hexdigest()

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``."""
        for start in range(0, len(self.paths), size):
            yield np.stack([self._read(path) for path in self.paths[start : start + size]])

    def _read(self, path: Path) -> NDArray[np.uint8]:
        pixels = _decoded(path)
        if pixels.shape != self.shape[1:]:
            raise self._differs(path, *pixels.shape[:2])
        return pixels

    def _differs(self, path: Path, height: int, width: int) -> DimrError:
        first, wanted = self.paths[0].name, f"{self.shape[1]}x{self.shape[2]}"
        return DimrError(f"{path}: is {height}x{width}; {first} is {wanted}, and all must be")


def _image_files(folder: Path) -> list[Path]:
    """The images, sorted; ``DimrError`` if there are none, or something else is among them."""

    def natural(path: Path) -> tuple[list[tuple[int, str]], str]:
        parts = re.findall(r"[0-9]+|[^0-9]+", path.stem)
        return [(int(p), "") if p[0] in "0123456789" else (-1, p) for p in parts], path.name

    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise DimrError(f"{folder}: no images here; {EXPECTED}")
    if others := {path.name for path in entries} - {path.name for path in found} - {LABELS}:
        raise DimrError(f"{folder / min(others)}: not a PNG or JPEG file; {EXPECTED}")
    return sorted(found, key=natural)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DimrError(f"{path}: not readable ({single_line(error)})") from None


def _opened(path: Path, data: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    except UnidentifiedImageError:
        raise DimrError(f"{path}: neither PNG nor JPEG") from None
    except Exception as error:  # decoders raise nearly anything on damaged files
        raise DimrError(f"{path}: not readable ({single_line(error)})") from None


def _decoded(path: Path) -> NDArray[np.uint8]:
    """The pixels (H, W, 3) of a file; ``DimrError`` names the one that does not decode."""
    with _opened(path, _bytes(path)) as image:
        try:
            return np.asarray(as_rgb(image))
        except Exception as error:  # as above; also a mode that RGB cannot hold
            raise DimrError(f"{path}: not readable ({single_line(error)})") from None


def open_images(path: str | Path) -> ImageSet:
    """The images at a path, in any of the forms that ``EXPECTED`` lists.

    Raises:
        DimrError: nothing there, something else, damage, or no uint8 images (N, H, W, 3).
    """
    from dimr.data.shards import MANIFEST, map_array, open_shards

    path = Path(path)
    if path.is_dir():
        if (path / REFERENCE).is_file():
            return NpzImages(path / REFERENCE)
        if not (path / MANIFEST).is_file():
            return PictureFiles(path)
        shards = open_shards(path)
        if shards.manifest.kind != "pixels":
            raise DimrError(f"{path}: shards of kind {shards.manifest.kind}; expected pixels")
        return ArrayImages(str(path), shards.arrays)
    if path.is_file() and path.suffix.lower() == ".npy":
        shape, dtype = file_header(path)
        check_kind(str(path), dtype, shape)
        return ArrayImages(str(path), [map_array(path, shape, dtype)])
    if path.is_file() and path.suffix.lower() == ".npz":
        return NpzImages(path)
    state = "no images here" if os.path.lexists(path) else "no such file or folder"
    raise DimrError(f"{path}: {state}; {EXPECTED}")


def as_image_set(images: ImageSet | NDArray[Any], name: str) -> ImageSet:
    """An array as a set with this name; a set unchanged."""
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
) -> None:
    """Raise ``DimrError`` unless ``images`` is a uint8 array (N, H, W, 3) with N > 0.

    Args:
        images: what to check.
        name: of the file or set, for messages.
        count: the required N.
        size: the required height and width.
    """
    if not isinstance(images, np.ndarray):
        raise DimrError(f"{name}: images are {type(images).__name__}; expected a uint8 array")
    check_kind(name, images.dtype, images.shape, size)
    if count is not None and len(images) != count:
        raise DimrError(f"{name}: {len(images)} images; expected {count}")


def image_tensor(images: np.ndarray) -> torch.Tensor:
    """A copy of uint8 images (..., H, W, 3) as a contiguous uint8 tensor (..., 3, H, W)."""
    # torch permutes three times as fast as numpy; the copy is for arrays that are read-only.
    return torch.from_numpy(np.array(images)).movedim(-1, -3).contiguous()
