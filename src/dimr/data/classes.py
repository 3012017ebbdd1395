"""Names of classes, and the class that a person means: by name, number or WordNet id.

A dataset's names travel with what is made of it: images, latents, the model folder, samples. One
name is one class, commas included; only ImageNet's names list synonyms.
"""

import difflib
import functools
import re
import unicodedata
from collections.abc import Iterable, Sequence

from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

LISTED = 10
"""How many classes a message names at most."""
LETTERS = 60
"""Most letters of a name in a message."""


def class_names(classes: int) -> list[str]:
    """Names for ``classes`` classes whose names nobody knows.

    1,000 are ImageNet's, in the order of their WordNet ids (that of ILSVRC2012's training folders),
    each with its synonyms after commas: ``goldfish, Carassius auratus``. Any other number is
    counted: ``0``, ``1``, ...
    """
    return list(_imagenet().values()) if classes == 1000 else [str(n) for n in range(classes)]


def wordnet_ids(classes: int) -> list[str]:
    """The classes' WordNet ids (``n01443537``), sorted; empty for classes other than ImageNet's."""
    return list(_imagenet()) if classes == 1000 else []


def short_name(name: str) -> str:
    """A name for a heading: for ImageNet's the first synonym, ``goldfish``; others are whole."""
    return unicodedata.normalize("NFC", single_line(_synonyms(name)[0]))


def evenly_spaced(classes: int, wanted: int | None) -> list[int]:
    """Labels 0..classes-1, or ``wanted`` of them, evenly spaced from 0."""
    count = classes if wanted is None else min(wanted, classes)
    return [number * classes // count for number in range(count)]


def class_index(text: str, names: Sequence[str]) -> int:
    """The class that ``text`` means.

    Args:
        text: a name; else, for ImageNet's names, a synonym or a WordNet id; else a number from 0,
            the label. So ``7`` is the class named 7 if there is one, whatever its label. Case,
            repeated blanks, and how letters are composed with accents (NFC or NFD) do not matter,
            unless only the case tells two names apart.
        names: of all classes, by label.

    Raises:
        DimrError: no such class, with the nearest ones; or several, with all of them.
    """
    wanted = _plain(text)
    for found in _named(text, names):
        if len(found) == 1:
            return found[0]
        if found:
            several = f"class {_shown(text)!r} means several: {_list(found, names)}"
            raise DimrError(f"{several}; give the number")
    if re.fullmatch(r"[+-]?[0-9]{1,18}", wanted):
        if 0 <= int(wanted) < len(names):
            return int(wanted)
        raise DimrError(f"no class {int(wanted)} ({_allowed(names)})")
    raise DimrError(f"no class {_shown(text)!r} {_nearest(wanted, names)}")


def _named(text: str, names: Sequence[str]) -> list[list[int]]:
    """The classes that a text names: exactly, ignoring case, by a synonym, by a WordNet id."""
    exact, wanted = _composed(text), _plain(text)
    of_id = _imagenet().get(wanted) if re.fullmatch(r"n[0-9]{8}", wanted) else None
    return [
        [label for label, name in enumerate(names) if _composed(name) == exact],
        [label for label, name in enumerate(names) if _plain(name) == wanted],
        [label for label, name in enumerate(names) if wanted in map(_plain, _synonyms(name))],
        [label for label, name in enumerate(names) if name == of_id],
    ]


def same_classes(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """For each class, the label of the same class in another set; None: none, or more than one.

    Equal names first; a name that both sets have equally often is matched in order. Then names that
    differ only in case and blanks, or list only some of the synonyms; a WordNet id names ImageNet's
    class.
    """
    found: list[int | None] = [None] * len(names)
    ours, theirs = _places(enumerate(names)), _places(enumerate(others))
    for name, places in ours.items():
        if len(same := theirs.get(name, [])) == len(places):
            for place, label in zip(places, same, strict=True):
                found[place] = label
    rest = [place for place, label in enumerate(found) if label is None]
    if not rest:
        return found
    whole = _places((label, _plain(name)) for label, name in enumerate(others))
    synonyms = [
        (label, one) for label, name in enumerate(others) for one in map(_plain, _synonyms(name))
    ]
    ids = wordnet_ids(len(others)) if list(others) == class_names(len(others)) else []
    parts = _places([*synonyms, *enumerate(ids)])
    for place in rest:
        own = [_plain(names[place]), *map(_plain, _synonyms(names[place]))]
        labels = whole.get(own[0]) or [label for one in own for label in parts.get(one, [])]
        if len(set(labels)) == 1:
            found[place] = labels[0]
    return found


def _places(named: Iterable[tuple[int, str]]) -> dict[str, list[int]]:
    """The numbers of each name."""
    found: dict[str, list[int]] = {}
    for number, name in named:
        found.setdefault(name, []).append(number)
    return found


def _nearest(wanted: str, names: Sequence[str]) -> str:
    """What could have been meant: names that contain the text, else names that look like it."""
    containing = [label for label, name in enumerate(names) if wanted and wanted in _plain(name)]
    if containing:
        return f"(names with it: {_list(containing, names)}; {_allowed(names)})"
    by_synonym = {
        _plain(synonym): label
        for label, name in enumerate(names)
        for synonym in _synonyms(name)
    }  # fmt: skip
    if close := difflib.get_close_matches(wanted, by_synonym, 3):
        labels = list(dict.fromkeys(by_synonym[synonym] for synonym in close))
        return f"(did you mean {_list(labels, names)}? {_allowed(names)})"
    return f"({_allowed(names)})"


def _allowed(names: Sequence[str]) -> str:
    """What may be given: the classes, if they are few and have names."""
    if all(name == str(label) for label, name in enumerate(names)):
        return f"allowed: 0 to {len(names) - 1}"
    if len(names) <= LISTED:
        return f"allowed: {_list(range(len(names)), names)}"
    return f"allowed: 0 to {len(names) - 1} or a name"


def _list(labels: Sequence[int], names: Sequence[str]) -> str:
    """``2 great white shark, 3 tiger shark and 1 more``; quoted where a name has a comma."""
    shown = [(label, _shown(short_name(names[label]))) for label in labels[:LISTED]]
    listed = ", ".join(f"{label} {name!r}" if "," in name else f"{label} {name}"
                       for label, name in shown)  # fmt: skip
    more = len(labels) - LISTED
    return listed + (f" and {more} more" if more > 0 else "")


def _shown(text: str) -> str:
    text = _composed(text)
    return text if len(text) <= LETTERS else f"{text[: LETTERS - 3]}..."


def _composed(text: str) -> str:
    """Each letter with its accents in one form, and single blanks."""
    return unicodedata.normalize("NFC", " ".join(text.split()))


def _plain(text: str) -> str:
    """The same without case."""
    return _composed(unicodedata.normalize("NFD", text).casefold())


def _synonyms(name: str) -> list[str]:
    """The parts of ImageNet's names between commas; other names are one part."""
    parts = [part.strip() for part in name.split(",")]
    is_imagenets = len(parts) > 1 and name in _imagenet().values()
    return parts if is_imagenets else [name]


@functools.cache
def _imagenet() -> dict[str, str]:
    """Names of ILSVRC2012's classes by sorted WordNet id, from timm (nothing is fetched)."""
    from timm.data import ImageNetInfo  # slow to import

    info = ImageNetInfo("imagenet-1k")
    return dict(zip(info.label_names(), info.label_descriptions(), strict=True))
