"""What every published form of the images must offer to be taken in."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dimr.config.schema import Source
from dimr.data.imagenet.resumable_store import TAR_OVERHEAD, Work


@dataclass(frozen=True)
class ClassFiles:
    """Images of a class that will be stored, known-bad ones not counted, and about their bytes."""

    count: int
    nbytes: int


class ImageSource(ABC):
    """Images by class. Opening one reads little; it refuses what it is not in one line.

    Attributes:
        kind: ``folder``, ``archive``, ``parquet`` or ``hub``.
        where: the path or the name, for messages.
        words: what the source says that its classes are called, by WordNet id.
        config: what must be in it.
    """

    kind: str
    where: str
    words: Mapping[str, str]
    config: Source

    def facts(self) -> dict[str, Any]:
        """What the manifest says about it, and about how its images are to be read.

        The latter is what ``Source`` says where that is not the default: ``exif_orientation``.
        """
        reading = self.config.model_dump(include={"exif_orientation"})  # empty for the default
        return {"kind": self.kind, **reading}

    @abstractmethod
    def space(self, work: Work) -> int:
        """Bytes that will be written yet, at the most."""

    @abstractmethod
    def prepare(self, work: Work) -> None:
        """What must be done before classes can be read, as far as ``work`` does not have it."""

    @abstractmethod
    def classes(self) -> dict[str, ClassFiles]:
        """Every class by its WordNet id, sorted; after ``prepare``."""

    @abstractmethod
    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The (name, bytes) of a class, sorted by name, known-bad ones left out."""


def missing_bytes(classes: Mapping[str, ClassFiles], work: Work) -> int:
    """What the tars of the classes that are not there yet take."""
    return sum(
        files.nbytes + files.count * TAR_OVERHEAD
        for wnid, files in classes.items()
        if not work.has(wnid, files.count)
    )
