"""Names of classes, and the class that a person means: by number, name or WordNet id."""

import difflib
import functools
import re
from collections.abc import Iterable, Sequence

from dimr.runtime.errors import DimrError

LISTED = 10
"""How many classes a message names at most."""


def class_names(classes: int) -> list[str]:
    """A name for each of so many classes.

    1,000 are ImageNet's, in the order of their WordNet ids (that of ILSVRC2012's training folders),
    each with its synonyms after commas: ``goldfish, Carassius auratus``. Any other number is
    counted: ``0``, ``1``, ... (for 10, the digits).
    """
    return list(_imagenet()[0]) if classes == 1000 else [str(label) for label in range(classes)]


def wordnet_ids(classes: int) -> list[str]:
    """The classes' WordNet ids (``n01443537``), sorted; empty for other classes than ImageNet's."""
    return list(_imagenet()[1]) if classes == 1000 else []


def short_name(name: str) -> str:
    """The first synonym: ``goldfish`` of ``goldfish, Carassius auratus``."""
    return name.split(",")[0].strip()


def class_index(text: str, names: Sequence[str]) -> int:
    """The class that ``text`` means.

    Args:
        text: a number from 0, a whole name, one of its synonyms, or a WordNet id. Case and
            repeated blanks do not matter.
        names: as ``class_names`` gives them.

    Raises:
        DimrError: no such class, with the nearest ones; or a synonym of several, with all of them.
    """
    wanted, shown = _plain(text), repr(text[:60])
    if re.fullmatch(r"[+-]?[0-9]{1,18}", wanted):
        return _in_range(int(wanted), len(names))
    if re.fullmatch(r"n[0-9]{8}", wanted) and wanted in (ids := wordnet_ids(len(names))):
        return ids.index(wanted)
    whole = [label for label, name in enumerate(names) if _plain(name) == wanted]
    found = whole or [label for label, name in enumerate(names) if wanted in _synonyms(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DimrError(f"class {shown} means several: {_list(found, names)}; give the number")
    raise DimrError(f"no class {shown} {_nearest(wanted, names)}")


def same_classes(names: Sequence[str], others: Sequence[str]) -> list[int | None]:
    """For each class the label of the same class in another set; None: no one, or no single one.

    Equal names first: of a name that each set has several times, the first is the first. Of the
    rest, those that differ in case and blanks, or that name only some of the synonyms; a WordNet id
    is the name of ImageNet's class.
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
    synonyms = [(label, one) for label, name in enumerate(others) for one in _synonyms(name)]
    parts = _places([*synonyms, *enumerate(wordnet_ids(len(others)))])
    for place in rest:
        own = [_plain(names[place]), *_synonyms(names[place])]
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


def _in_range(label: int, classes: int) -> int:
    if not 0 <= label < classes:
        raise DimrError(f"no class {label} (allowed: 0 to {classes - 1})")
    return label


def _nearest(wanted: str, names: Sequence[str]) -> str:
    """What could have been meant: names that contain the text, else names that look like it."""
    containing = [label for label, name in enumerate(names) if wanted and wanted in _plain(name)]
    by_name = "" if all(name.isdecimal() for name in names) else " or a name"
    allowed = f"allowed: 0 to {len(names) - 1}{by_name}"
    if containing:
        return f"(names with it: {_list(containing, names)}; {allowed})"
    by_synonym = {synonym: label for label, name in enumerate(names) for synonym in _synonyms(name)}
    if close := difflib.get_close_matches(wanted, by_synonym, 3):
        labels = list(dict.fromkeys(by_synonym[synonym] for synonym in close))
        return f"(did you mean {_list(labels, names)}? {allowed})"
    return f"({allowed})"


def _list(labels: Sequence[int], names: Sequence[str]) -> str:
    """``2 great white shark, 3 tiger shark and 1 more``."""
    listed = ", ".join(f"{label} {short_name(names[label])}" for label in labels[:LISTED])
    more = len(labels) - LISTED
    return listed + (f" and {more} more" if more > 0 else "")


def short_class_names(classes: int) -> list[str]:
    """What grids call the classes: one short name for each."""
    return [short_name(name) for name in class_names(classes)]


def _synonyms(name: str) -> list[str]:
    return [_plain(synonym) for synonym in name.split(",")]


def _plain(text: str) -> str:
    return " ".join(text.split()).casefold()


@functools.cache
def _imagenet() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names and WordNet ids of ILSVRC2012's classes, from timm's tables (nothing is fetched)."""
    from timm.data import ImageNetInfo  # slow to import

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.label_descriptions()), tuple(info.label_names())
