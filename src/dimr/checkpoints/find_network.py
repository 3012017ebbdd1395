"""Which of a checkpoint's tensors are the network to sample: the averaged ones, without wrappers.

Trainers save more than a network, and wrappers put prefixes before its names. So the file is
searched for the signs of the known formats; what precedes a sign is the prefix.
"""

import re
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from dimr.checkpoints.formats import FORMATS
from dimr.runtime.errors import DimrError

_SIGNS = "|".join(re.escape(sign) for form in FORMATS.values() for sign in form.signs)
SIGN = re.compile(rf"(?<![^.])(?:{_SIGNS})")
"""Where the names of a known network begin."""
NESTED = ("ema", "model_ema", "state_dict_ema", "ema_state_dict", "model", "state_dict")
WRAPPERS = ("module.", "_orig_mod.")
"""Where networks of other kinds (a classifier) lie, and prefixes that all their names may have."""
DEPTH = 4
"""How deep nested mappings are looked into."""
AVERAGED = {"ema", "swa", "avg", "average", "averaged", "shadow"}
TRAINED = {"online", "raw", "current"}
"""Words for the network as the last step left it, where its average is beside it."""
OPTIMIZER = {"optim", "optimizer", "optimizers", "opt", "momentum"}
"""Words for what has the parameters' names and is not a network."""
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
INNER = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch puts into names where it compiles, shards or recomputes a part of a network."""
FIXED = {"pos_embed"}
"""Tensors that are not learned, which latent diffusion's average leaves out."""
NAMED = 8
"""How many things are listed in a message."""


class Found(NamedTuple):
    """A network's tensors by name, without prefix; the others as in ``CheckpointInfo``."""

    tensors: dict[str, Tensor]
    taken: str | None
    prefix: str
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class _Place:
    """A mapping of a checkpoint, and a prefix after which a known network's names stand."""

    path: tuple[str, ...]
    content: Mapping[Any, Any]
    prefix: str

    @property
    def name(self) -> str:
        parts = (*self.path, self.prefix.rstrip("."))
        return ".".join(filter(None, parts)) or "names without a prefix"

    @property
    def rank(self) -> int:
        """2 for an average, 0 for what lies beside one, 1 if no name says either.

        Decided by the innermost name that says it, or by the counter of torch's ``AveragedModel``.
        """
        for part in reversed((*self.path, *self.prefix.split("."))):
            if words := _words(part) & (TRAINED | AVERAGED):
                return 0 if words & TRAINED else 2
        return 2 if f"{self.prefix.removesuffix('module.')}n_averaged" in self.content else 1


def find_network(content: Any, file: Path) -> Found:
    """The network in what a file holds: its average if there is one.

    For networks of unknown formats the file must hold little else (``NESTED``).

    Raises:
        DimrError: there is no network, or there are several and nothing says which.
    """
    if not isinstance(content, Mapping):
        raise DimrError(f"{file}: holds a {type(content).__name__}, not tensors by name")
    places = _places(content)
    if not places:
        return _other_network(content, file)
    best = max(place.rank for place in places)
    chosen = [place for place in places if place.rank == best]
    if len({(id(place.content), place.prefix) for place in chosen}) > 1:
        raise DimrError(
            f"{file}: holds several networks: {listing([place.name for place in chosen])}: which? "
            "Save the wanted one in a file of its own"
        )
    place = chosen[0]
    same = (p.prefix for p in places if p.content is place.content and p.prefix != place.prefix)
    inner = tuple(prefix for prefix in same if prefix.startswith(place.prefix))
    group = {
        name: tensor
        for name, tensor in _tensors(place.content).items()
        if name.startswith(place.prefix) and not name.startswith(inner)
    }
    squashed, taken = "", group
    if best < 2:
        squashed, taken = _squashed_average(group, place, file)
        if not squashed and (found := _nameless_average(content, len(group) // 2)):
            raise DimrError(
                f"{file}: {shown(found)}, an average, is a list of tensors without names, which "
                "cannot be told apart; save the wanted network in a file of its own"
            )
    tensors = {INNER.sub("", name.removeprefix(place.prefix)): t for name, t in taken.items()}
    if len(tensors) < len(taken):
        raise DimrError(
            f"{file}: {shown(place.name)}: two tensors have the same name without wrappers"
        )
    passed_over = tuple(_passed_over(content, place, group, squashed))
    return Found(tensors, ".".join(place.path) or None, squashed or place.prefix, passed_over)


def _places(content: Mapping[Any, Any]) -> list[_Place]:
    """Where networks are: in the mapping, and in those nested in it, breadth first.

    No mapping is searched twice: a hostile file could make the search endless.
    """
    found: list[_Place] = []
    prefixes: dict[int, list[str]] = {}
    waiting: list[tuple[tuple[str, ...], Mapping[Any, Any]]] = [((), content)]
    for path, mapping in waiting:  # grows during the loop
        if id(mapping) not in prefixes:
            signs = filter(None, map(SIGN.search, _tensors(mapping)))
            prefixes[id(mapping)] = list(dict.fromkeys(m.string[: m.start()] for m in signs))
            nested = mapping.items() if len(path) < DEPTH else ()
            mappings = ((n, v) for n, v in nested if isinstance(v, Mapping) and isinstance(n, str))
            waiting += (((*path, name), value) for name, value in mappings)
        for prefix in prefixes[id(mapping)]:
            if not any(map(_is_optimizer, (*path, *prefix.split(".")))):
                found.append(_Place(path, mapping, prefix))
    return found


def _words(name: str) -> set[str]:
    """The words of ``ema_model``, ``modelEMA``, ``EMACallback``."""
    return {word.lower() for word in WORD.findall(name)}


def _is_optimizer(name: str) -> bool:
    words = _words(name)
    return bool(words & OPTIMIZER) or {"exp", "avg"} <= words  # Adam's moments


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {n: t for n, t in content.items() if isinstance(n, str) and isinstance(t, Tensor)}


def _other_network(content: Mapping[Any, Any], file: Path) -> Found:
    """A network of an unknown format: a mapping of tensors and nothing else."""
    mappings = {name: content[name] for name in NESTED if isinstance(content.get(name), Mapping)}
    nested = {name: value for name, value in mappings.items() if len(_tensors(value)) == len(value)}
    if len(_tensors(content)) < len(content) and not nested:
        raise DimrError(
            f"{file}: no tensors by name of a known network, nor under {', '.join(NESTED)} "
            f"(it holds: {listing(list(content))})"
        )
    taken = next(iter(nested), None)
    tensors = _tensors(nested[taken] if taken else content)
    prefix = ""
    while tensors and (
        wrapper := next((w for w in WRAPPERS if all(n.startswith(prefix + w) for n in tensors)), "")
    ):
        prefix += wrapper
    bare = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return Found(bare, taken, prefix, tuple(nested)[1:])


# --- averages in other forms ----------------------------------------------------------------------


def _squashed_average(
    group: dict[str, Tensor], place: _Place, file: Path
) -> tuple[str, dict[str, Tensor]]:
    """The average of a group, under the group's names, and its prefix in the file.

    Latent diffusion names it ``model_ema.blocks0attnqkvweight``. Without one: an empty prefix and
    the group itself.

    Raises:
        DimrError: an average that lacks a tensor.
    """
    there = _tensors(place.content)
    prefixes = Counter(name.rpartition(".")[0] + "." for name in there)
    starts = [0, *(i + 1 for i, letter in enumerate(place.prefix) if letter == ".")]
    for prefix, count in prefixes.items():
        if 2 * count < len(group) or not _words(prefix) & AVERAGED:
            continue
        for start in starts:
            keys = {name: prefix + name[start:].replace(".", "") for name in group}
            average = {name: there[key] for name, key in keys.items() if key in there}
            if 2 * len(average) < len(group):
                continue
            lacks = [n for n in group if n not in average and n[len(place.prefix) :] not in FIXED]
            if lacks:
                raise DimrError(f"{file}: the average under {prefix!r} lacks {lacks[0]!r}")
            return prefix, {**group, **average}
    return "", group


def _nameless_average(content: Mapping[Any, Any], least: int) -> str | None:
    """Where ``least`` tensors or more are in a list that is called an average; None: nowhere."""
    seen: set[int] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    for path, value in waiting:  # grows during the loop
        if id(value) in seen or len(path) > DEPTH or any(map(_is_optimizer, path)):
            continue
        seen.add(id(value))
        if isinstance(value, Mapping):
            waiting += (((*path, str(name)), inner) for name, inner in value.items())
        elif isinstance(value, list | tuple) and any(_words(name) & AVERAGED for name in path):
            inner = [one if isinstance(one, list | tuple) else [one] for one in value]
            if sum(isinstance(one, Tensor) for each in inner for one in each) >= least:
                return ".".join(path)
    return None


# --- messages -------------------------------------------------------------------------------------


def _passed_over(
    content: Mapping[Any, Any], place: _Place, group: Mapping[str, Tensor], squashed: str
) -> Iterator[str]:
    """What else there is, except plain numbers and texts; names by what they begin with."""
    level = content
    for name in place.path:
        yield from (str(other) for other, v in level.items() if other != name and _is_more(v))
        level = level[name]
    rest = [str(name) for name, v in level.items() if name not in group and _is_more(v)]
    short = [f"{name.split('.')[0]}.*" if "." in name else name for name in rest]
    if squashed:
        short = [name for name in short if name != f"{squashed.split('.')[0]}.*"]
        short.append(f"{place.prefix}*")
    yield from dict.fromkeys(short)


def _is_more(value: Any) -> bool:
    return isinstance(value, Tensor | Mapping | list | tuple | Namespace)


def listing(names: Sequence[object]) -> str:
    """Names for a message, the first few."""
    more = len(names) - NAMED
    return ", ".join(map(shown, names[:NAMED])) + (f" and {more} more" if more > 0 else "")


def shown(text: object, most: int = 80) -> str:
    """A name from a file, for a message: short, and on one line whatever is in it."""
    name = str(text)
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= most else f"{name[:most]}..."
