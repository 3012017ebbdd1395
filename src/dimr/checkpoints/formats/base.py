"""What a format is, and how a network's sizes are read from the shapes of its tensors."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dimr.models.sizes import Sizes
from dimr.runtime.tensors import MAX_VALUES, most_similar

MAX_INPUT = 1024
"""Largest H = W of an input. Files can claim any, and position embeddings grow with its square."""
MAX_WIDTH = 1 << 16
"""Largest D of a network, for the same reason."""

Tensors = dict[str, Tensor]


class ConversionError(ValueError):
    """Weights that are not those of a network here; the message is one line and names a tensor."""


@dataclass(frozen=True)
class Format:
    """Names and shapes under which a network is published. Each family's are in one file here.

    Attributes:
        name: of the format; that of the family for the one that is also written.
        sizes: what its network is built from.
        signs: beginnings of names that other networks do not have.
        heads: attention heads by width as published, which no tensor tells; None: unknown width.
        published_name: the authors' name of one of our tensors in a network of some sizes.
        read_sizes: fields of the sizes, heads aside, from ``Shapes``.
        publish_position: our position embedding, (N, D) or (h, w, D), in the authors' shape.
        decode: renames a file's tensors to the authors' names.
        name_in_file: what the file calls a tensor, given the authors' name.
        computed: authors' names of tensors that files omit because the network computes them.
    """

    name: str
    sizes: type[Sizes]
    signs: tuple[str, ...]
    heads: Callable[[int], int | None]
    published_name: Callable[[str, Any], str]
    read_sizes: Callable[["Shapes"], dict[str, Any]]
    publish_position: Callable[[Tensor], Tensor] = lambda position: position[None]
    decode: Callable[[Tensors], Tensors] = lambda tensors: tensors
    name_in_file: Callable[[str], str] = str
    computed: tuple[str, ...] = ()

    def sizes_of(
        self, tensors: Tensors, heads: int | None, time_map: str | None, input_size: int | None
    ) -> Sizes:
        """Sizes of the network that decoded tensors belong to; arguments as for ``from_published``.

        Raises:
            ConversionError: a missing or misshapen tensor, or sizes that no network here has.
        """
        fields = self.read_sizes(Shapes(tensors, self.name_in_file, time_map, input_size))
        width, side = width_of(fields), fields["input_size"]
        if width > MAX_WIDTH:
            raise ConversionError(f"width {width} (at most {MAX_WIDTH})")
        if side > MAX_INPUT or (side // fields.get("patch", 1)) ** 2 * width > MAX_VALUES:
            raise ConversionError(f"input size {side} (at most {MAX_INPUT})")
        if heads is None:
            heads = self.heads(width)
        if heads is None or heads < 1 or width % heads:
            problem = "is not published" if heads is None else f"cannot be split into {heads} heads"
            raise ConversionError(
                f"width {width} {problem}: give num_heads (no tensor tells the number of heads)"
            )
        try:
            return self.sizes(**{**fields, "heads": heads})
        except ValueError as error:
            raise ConversionError(f"the shapes make no network ({error})") from None

    def add_computed(self, tensors: Tensors, expected: Mapping[str, Tensor]) -> None:
        """Add to decoded tensors those that the network computes, in the others' precision."""
        for name in self.computed:
            if name not in tensors and tensors:
                value = expected[name]
                tensors[name] = value if value.is_meta else value.to(next(iter(tensors.values())))


def width_of(sizes: Mapping[str, Any]) -> int:
    """D of the Transformer blocks."""
    return sizes["dims"][0] if "dims" in sizes else sizes["dim"]


@dataclass(frozen=True)
class Shapes:
    """Shapes of tensors by the authors' names, and what else the caller states.

    Attributes:
        tensors: by the authors' names.
        name_in_file: what messages call a tensor.
        told_time_map: ``latent`` or ``pixel``; None: not stated.
        told_input_size: H = W of the input; None: not stated.
    """

    tensors: Mapping[str, Tensor]
    name_in_file: Callable[[str], str]
    told_time_map: str | None
    told_input_size: int | None

    def of(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor that must have ``rank`` dimensions, none of them empty.

        Raises:
            ConversionError: there is no such tensor, or it has another shape.
        """
        shown = self.name_in_file(name)
        if name not in self.tensors:
            similar = most_similar(shown, map(self.name_in_file, self.tensors))
            raise ConversionError(f"tensor {shown!r} is missing{similar}")
        shape = tuple(self.tensors[name].shape)
        if len(shape) != rank or not all(shape):
            raise ConversionError(f"tensor {shown!r} has shape {shape}, not {rank} dimensions")
        return shape

    def count(self, prefix: str) -> int:
        """How many different numbers follow ``prefix`` in the names."""
        return count_numbered(self.tensors, prefix)

    def side(self, name: str, tokens: int, patch: int) -> int:
        """H = W of an input whose ``tokens`` patches have the embedding ``name``."""
        root = math.isqrt(max(tokens, 0))
        if root**2 != tokens or tokens < 1:
            raise ConversionError(f"tensor {name!r}: {tokens} patches make no square")
        return root * patch

    def time_map(self, channels: int) -> str:
        """As stated, else ``pixel`` for images of 1 or 3 channels and ``latent`` for others."""
        return self.told_time_map or ("pixel" if channels in (1, 3) else "latent")


def count_numbered(names: Mapping[str, object], prefix: str) -> int:
    """How many different numbers follow ``prefix`` in names."""
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})


def renamed(name: str, table: Mapping[str, str]) -> str:
    """A name whose longest prefix in ``table`` is replaced; ``{i}`` stands for a number.

    Raises:
        ConversionError: it begins with none of them.
    """
    for old, new in sorted(table.items(), key=lambda pair: -len(pair[0])):
        match = re.match(re.escape(old).replace(re.escape("{i}"), r"(?P<i>\d+)"), name)
        if match:
            index = match.groupdict().get("i", "")
            return new.replace("{i}", index) + name[match.end() :]
    raise ConversionError(f"tensor {name!r} has no name in the authors' code (an ablation?)")
