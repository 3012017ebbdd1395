"""Samples as most samplers leave them: a folder of PNG or JPEG files, one an image."""

import hashlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from dimr.data.pictures import as_rgb
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar

EXPECTED = (
    "expected an .npz (arr_0: uint8 (N, H, W, 3); arr_1: their labels, if known), an .npy of such "
    "images, a folder of samples or of a reference batch, or a folder of PNG or JPEG images of one "
    "size"
)
"""What images may be given as."""
SUFFIXES = (".png", ".jpg", ".jpeg")
LABELS = "labels.npy"
"""The one other file that may lie among the images."""


class PictureFiles:
    """The images of a folder, sorted by name as people count (``2.png`` before ``10.png``).

    They are read as ``dimr.data.pictures.as_rgb`` does, at each pass. Opening the folder reads all
    files once: ``key`` is a SHA-256 of their names and bytes.

    Args:
        folder: holds images of one size, perhaps ``labels.npy``, and nothing else but hidden files.

    Raises:
        DimrError: names what has no place there, the first image of another size, or that cannot
            be read.
    """

    def __init__(self, folder: Path) -> None:
        self.name, self.paths = str(folder), _image_files(folder)
        first = _decoded(self.paths[0])
        self.shape = (len(self.paths), *first.shape)
        digest = hashlib.sha256()
        for path in progress_bar(
            self.paths, description=f"look through {folder.name}", unit="file"
        ):
            data = _bytes(path)
            digest.update(os.fsencode(path.name) + b"\0" + hashlib.sha256(data).digest())
            with _opened(path, data) as image:
                if sorted(image.size) != sorted(first.shape[:2]):  # one may be turned by its EXIF
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
    entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    found = [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        raise DimrError(f"{folder}: no images here; {EXPECTED}")
    if others := {path.name for path in entries} - {path.name for path in found} - {LABELS}:
        raise DimrError(f"{folder / min(others)}: no PNG or JPEG file; {EXPECTED}")
    return sorted(found, key=lambda path: (_counted(path.stem), path.name))


def _counted(stem: str) -> list[tuple[int, str]]:
    """A name as it is sorted: its whole numbers by their value."""
    parts = re.findall(r"[0-9]+|[^0-9]+", stem)
    return [(int(part), "") if part[0] in "0123456789" else (-1, part) for part in parts]


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
