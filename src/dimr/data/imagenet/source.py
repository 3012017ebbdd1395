"""What a published form of the images must offer to be taken in, and which files it may hold."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dimr.config.schema import Source
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    from dimr.data.imagenet.resumable_store import StoreWork

WNID = re.compile(r"n\d{8}")
"""A WordNet id, the name of a class folder of ImageNet's."""
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
"""Of image files, in any case; the content may be any format (ILSVRC2012 has such a file)."""
FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow's names of the formats that image files may hold."""
FORMATS_TEXT = "JPEG, PNG or WebP"
NAME_BYTES = 40
"""Most bytes of a file's or a class's name, in UTF-8."""
MAX_BYTES = 2**28
"""Most bytes of one image file; ILSVRC2012's largest has 15 MB."""
TAR_OVERHEAD = 1024
"""Most bytes that a tar adds to an image: its header, and padding to whole blocks."""
_SIGNATURES = {
    b"\xff\xd8\xff": ".jpg",
    b"\x89PNG\r\n\x1a\n": ".png",
    b"RIFF": ".webp",  # the size follows, then what the container holds
}


@dataclass(frozen=True)
class ClassFiles:
    """Images of a class that will be stored, known-bad ones not counted, and about their bytes."""

    count: int
    nbytes: int


class ImageSource(ABC):
    """Images by class. Opening a source reads little; a place that is none is refused in one line.

    Attributes:
        kind: ``folder``, ``archive``, ``parquet`` or ``hub``.
        where: the path or the name, for messages.
        words: what the source calls its classes, by WordNet id.
        captions: of every image in the order of the store; None: there are none.
        config: what must be in it.
    """

    kind: str
    words: Mapping[str, str] = {}
    captions: Sequence[Sequence[str]] | None = None

    def __init__(self, where: str, config: Source) -> None:
        self.where, self.config, self.known_bad = where, config, set(config.known_bad)

    def facts(self) -> dict[str, Any]:
        """What the manifest says about it, and about how its images are to be read.

        The latter is what ``Source`` says where that is not the default: ``exif_orientation``.
        """
        reading = self.config.model_dump(include={"exif_orientation"})  # empty for the default
        return {"kind": self.kind, **reading}

    def space(self, work: "StoreWork") -> int:
        """Bytes that remain to be written, at most: the tars of classes that are missing."""
        return sum(
            files.nbytes + files.count * TAR_OVERHEAD
            for wnid, files in self.classes().items()
            if not work.has(wnid, files.count)
        )

    def prepare(self, work: "StoreWork") -> None:  # noqa: B027 most need nothing
        """What must be done before classes can be read, unless ``work`` has it already."""

    @abstractmethod
    def classes(self) -> dict[str, ClassFiles]:
        """Every class by its WordNet id, sorted; after ``prepare``."""

    @abstractmethod
    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The (name, bytes) of a class, sorted by name, known-bad ones left out."""


def check_plain(name: str, where: str, what: str = "file") -> str:
    """``name`` if a file or folder may have it; ``where`` begins the error's line."""
    shown = name.isprintable() and name == name.strip() and name[:1] not in ("", ".", "-")
    if not shown or set(name) & set("/\\") or len(name.encode()) > NAME_BYTES:
        raise DimrError(
            f"{where}: {name[:200]!r} is not a plain {what} name (at most {NAME_BYTES} bytes, all "
            "printable, without folders; it does not begin with '.' or '-')"
        )
    return name


def check_name(name: str, where: str) -> str:
    """``name`` if it is a plain file name of an image; ``where`` begins the error's line."""
    check_plain(name, where)
    if not name.lower().endswith(SUFFIXES):
        raise DimrError(f"{where}: {name!r} is not an image file (allowed: {', '.join(SUFFIXES)})")
    return name


def check_size(name: str, size: int, where: str) -> None:
    """Refuse empty files and sizes that no image has."""
    if not 0 < size <= MAX_BYTES:
        raise DimrError(f"{where}: {name}: {size} bytes (allowed: 1 to {MAX_BYTES})")


def suffix_of(data: bytes) -> str | None:
    """The suffix for a file that begins with ``data``; None: not an image of an accepted format."""
    for signature, suffix in _SIGNATURES.items():
        if data.startswith(signature) and (signature != b"RIFF" or data[8:12] == b"WEBP"):
            return suffix
    return None


def check_content(name: str, data: bytes, where: str) -> None:
    """Refuse what does not begin like an image file; nothing is decoded."""
    check_size(name, len(data), where)
    if suffix_of(data) is None:
        raise DimrError(f"{where}: {name}: not {FORMATS_TEXT} (begins with {data[:4].hex()})")
