"""What images a place holds, by class, before any of them is opened."""

import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dimr.runtime.errors import DimrError
from dimr.runtime.text import tidy

NAMED = 3
"""Names that a message lists at most."""
LONGEST = 200
"""Characters of a class's name (``ClassName`` of the schema)."""


@dataclass(frozen=True)
class Item:
    """An image: its ``label``, its ``number`` in its class, ``where`` for messages; ``read``."""

    label: int
    number: int
    where: str
    read: Callable[[], bytes]


class Listing(ABC):
    """The images of a place.

    Attributes:
        where: the place, absolute.
        form: what it is, in words.
        kind: the same in one word.
        classes: names of the images by the class's name, in the order of the labels; within a class
            in the order of the store. The names, relative to the place, are part of the content.
        captions: of each image, in the same order; None: they have none. Images with captions have
            no classes: ``classes`` are then parts of the set, one of which may be held out.
        is_unlabelled: whether nothing in it tells classes: its one class has the place's name.
        notes: what a person should know about it.
    """

    form: str
    kind: str
    classes: Mapping[str, list[str]]
    captions: Mapping[str, list[list[str]]] | None = None
    is_unlabelled: bool = False

    def __init__(self, where: str) -> None:
        self.where = where
        self.notes: list[str] = []

    @property
    def images(self) -> int:
        """How many there are."""
        return sum(map(len, self.classes.values()))

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """Every image once, in whatever order is fastest."""


def natural(name: str) -> tuple[object, ...]:
    """A key that sorts names as people do: ``a2`` before ``a10``, case ignored at first."""
    plain = composed(name)
    parts = re.split(r"([0-9]+)", plain.casefold())
    return (*(int(part) if n % 2 else part for n, part in enumerate(parts)), plain)


def composed(text: str) -> str:
    """A name with its accents composed: systems differ in how they store them."""
    return unicodedata.normalize("NFC", text)


def class_name(text: str, where: str) -> str:
    """The name of a class as it is written everywhere: composed accents, single blanks.

    ``DimrError`` if it is empty, too long, not Unicode, or not printable.
    """
    if (name := tidy(text, LONGEST)) is None:
        raise DimrError(
            f"{where}: {text[:60]!r} cannot name a class (1 to {LONGEST} characters, none of them "
            "control characters or outside Unicode)"
        )
    return name


def check_apart(names: Iterable[str], where: str, what: str) -> None:
    """Refuse names that differ in case only (or in how accents are composed)."""
    seen: dict[str, str] = {}
    for name in names:
        before = seen.setdefault(composed(name).casefold(), name)
        if before != name:
            raise DimrError(
                f"{where}: {what} {before!r} and {name!r} differ only in case, which many disks "
                "cannot tell apart: rename or join them"
            )


def listed(names: Iterable[str]) -> str:
    """``a, b, c, ...``."""
    found = sorted(names, key=natural)
    return ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "")


def counted(number: int, what: str) -> str:
    """``1 class``, ``2 classes``."""
    plural = "es" if what.endswith(("s", "h")) else "s"
    return f"{number:,} {what}{plural if number != 1 else ''}"
