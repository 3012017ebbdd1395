"""The images as they were published, in one tar per class: a thousand files, not a million.

A folder holds ``n01440764.tar``, ... (uncompressed, members sorted by name, the original bytes),
``index.npy`` (one ``ENTRY`` per image, sorted by label and name), ``manifest.json``, and, for
images with captions, ``captions.jsonl`` (a line for each, in the order of the index). The tars are
ordinary ones; reading uses the index.
"""

import io
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from pydantic import ConfigDict, Field, model_validator

from dimr.data.imagenet.crop import center_crop
from dimr.data.imagenet.source import FORMATS, FORMATS_TEXT, NAME_BYTES
from dimr.data.pictures import as_rgb
from dimr.data.shards import MANIFEST, Checksum, FileName, Filled, Manifest, map_array
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text, require_file, single_line
from dimr.runtime.record import compare_files
from dimr.runtime.record import verify as verify_files

INDEX = "index.npy"
CAPTIONS = "captions.jsonl"
ENTRY = np.dtype([("name", f"S{NAME_BYTES}"), ("label", "<i4"), ("offset", "<i8"), ("size", "<i4")])
"""An image: its file's name, its class, where its bytes begin in the class's tar, how many."""
OPEN_TARS = 32
"""Tars that are held open at once: fewer than the 1,024 files that a process may commonly have."""


class Origin(Manifest):
    """What the images came from: facts of the source (``ImageSource.facts``)."""

    model_config = ConfigDict(extra="allow")

    exif_orientation: Literal["apply", "ignore"] = "apply"
    """``ignore`` where images are used as they are stored; others are turned upright."""


class TarEntry(Checksum):
    """The tar of a class."""

    size: int


class StoreManifest(Manifest):
    """``manifest.json`` of a store; lists by class are in the order of the sorted ``wnids``."""

    format: Literal["dimr-source-1"]
    key: str
    source: Origin = Origin()
    images: Filled
    known_bad: tuple[str, ...] = ()
    wnids: Annotated[list[FileName], Field(min_length=1)]
    class_names: list[str]
    counts: list[Filled]
    index: Checksum
    captions: Checksum | None = None
    tars: list[TarEntry]

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if any(after <= before for before, after in pairwise(self.wnids)):
            raise ValueError("wnids are not sorted")
        for key in ("class_names", "counts", "tars"):
            if (found := len(getattr(self, key))) != len(self.wnids):
                raise ValueError(f"{key}: {found} for {len(self.wnids)} classes")
        if sum(self.counts) != self.images:
            raise ValueError(f"counts are of {sum(self.counts)} images, images is {self.images}")
        return self


class ImageStore:
    """The stored images, numbered by class and name: ``len(store)``, ``store.image(i)``.

    Little memory is used whatever the number of images: the index is a memory map, tars are opened
    when they are read. A store can be pickled, and used in forked workers and threads.

    Args:
        folder: as ``dimr data`` makes it. File sizes are compared with the manifest, but not
            checksums (see ``verify``).

    Raises:
        DimrError: naming the file that is missing, truncated or foreign.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = StoreManifest.read(self.folder)
        path = self.folder / INDEX
        self.index = map_array(path, (self.manifest.images,), ENTRY)
        self._check_index(path)
        self.wnids, self.class_names = self.manifest.wnids, self.manifest.class_names
        self._tars = [self.folder / f"{wnid}.tar" for wnid in self.wnids]
        for tar, entry in zip(self._tars, self.manifest.tars, strict=True):
            require_file(tar)
            if (size := tar.stat().st_size) != entry.size:
                raise DimrError(f"{tar}: has {size} bytes, {MANIFEST} says {entry.size}")
        self._orient = self.manifest.source.exif_orientation == "apply"
        self._open: OrderedDict[int, BinaryIO] = OrderedDict()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder,)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Classes of all images, (count,), ascending."""
        return self.index["label"].astype(np.int64)

    def captions(self) -> list[list[str]]:
        """One or more for every image; ``DimrError`` if there are none, or the file is damaged."""
        path = self.folder / CAPTIONS
        if self.manifest.captions is None:
            raise DimrError(f"{self.folder}: its images have no captions")
        compare_files(self.folder, {CAPTIONS: self.manifest.captions.sha256})
        found = [
            json.loads(line)["captions"] for line in read_text(path, "JSON lines").splitlines()
        ]
        if len(found) != len(self):
            raise DimrError(f"{path}: captions of {len(found)} images, should be of {len(self)}")
        return found

    def name(self, number: int) -> str:
        """An image's file name."""
        return self.index["name"][number].decode()

    def read(self, number: int) -> bytes:
        """An image's file; ``DimrError`` names the tar and the image that are damaged."""
        entry = self.index[number]
        label, size = int(entry["label"]), int(entry["size"])
        try:
            with self._lock:
                data = os.pread(self._tar(label).fileno(), size, int(entry["offset"]))
        except OSError as error:
            raise self._bad(number, f"not readable ({single_line(error)})") from None
        if len(data) != size:
            raise self._bad(number, "the tar is truncated")
        return data

    def image(self, number: int) -> Image.Image:
        """An image, decoded, in RGB (``dimr.data.pictures.as_rgb``), upright or as it is stored.

        ``DimrError`` names the tar and the image that is damaged, or that RGB cannot hold.
        """
        data = self.read(number)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
                return as_rgb(opened, orient=self._orient)
        except DimrError as error:
            raise self._bad(number, str(error)) from None
        except UnidentifiedImageError:
            reason = f"not {FORMATS_TEXT}"
        except Exception as error:  # decoders raise nearly anything on damaged files
            reason = single_line(error)
        raise self._bad(
            number, f"does not decode ({reason}); if it was published so, list it in known_bad"
        )

    def crop(self, number: int, size: int, mirror: bool = False) -> NDArray[np.uint8]:
        """The centre crop of an image, (size, size, 3) uint8; ``mirror`` swaps left and right.

        ``DimrError`` names the tar and the image that does not decode, or cannot be cropped.
        """
        image = self.image(number)
        try:
            pixels = center_crop(image, size)
        except DimrError as error:
            raise self._bad(number, str(error)) from None
        return np.ascontiguousarray(pixels[:, ::-1]) if mirror else pixels

    def _tar(self, label: int) -> BinaryIO:
        """A class's tar, opened; the least recently read one is closed to make room."""
        if label not in self._open:
            if len(self._open) >= OPEN_TARS:
                self._open.popitem(last=False)[1].close()
            self._open[label] = open(self._tars[label], "rb", buffering=0)  # noqa: SIM115
        self._open.move_to_end(label)
        return self._open[label]

    def _bad(self, number: int, reason: str) -> DimrError:
        tar = self._tars[int(self.index["label"][number])]
        return DimrError(f"{tar}: {self.name(number)}: {reason}")

    def _check_index(self, path: Path) -> None:
        labels, counts = self.index["label"], self.manifest.counts
        if (np.diff(labels) < 0).any() or labels[0] < 0 or labels[-1] >= len(counts):
            raise DimrError(f"{path}: labels are not 0 to {len(counts) - 1} in order")
        if np.bincount(labels, minlength=len(counts)).tolist() != counts:
            raise DimrError(f"{path}: its images per class are not those of {MANIFEST}")


def verify(folder: str | Path, labels: Iterable[int] | None = None) -> StoreManifest:
    """Check all that ``ImageStore`` does, and the checksums of manifest, index and tars.

    Args:
        folder: of the store.
        labels: classes whose tars are read; None: all (of ImageNet 138 GB).

    Returns:
        The manifest.

    Raises:
        DimrError: names the file that differs.
    """
    store = ImageStore(folder)
    verify_files(store.folder, MANIFEST)
    wanted = checksums(folder)
    chosen = range(len(store.wnids)) if labels is None else sorted(set(labels))
    tars = [f"{store.wnids[label]}.tar" for label in chosen]
    names = [*(name for name in wanted if not name.endswith(".tar")), *tars]
    compare_files(store.folder, {name: wanted[name] for name in names})
    return store.manifest


def checksums(folder: str | Path) -> dict[str, str]:
    """SHA-256 by file name, as the manifest has them."""
    manifest = StoreManifest.read(folder)
    tars = zip(manifest.wnids, manifest.tars, strict=True)
    found = {f"{wnid}.tar": tar.sha256 for wnid, tar in tars}
    captions = {CAPTIONS: manifest.captions.sha256} if manifest.captions else {}
    return {**found, INDEX: manifest.index.sha256, **captions}
