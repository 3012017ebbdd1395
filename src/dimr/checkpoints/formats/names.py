"""What the families' name tables share."""

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

MAX_INPUT = 1024
"""Largest H = W of an input. Files can claim any, and position embeddings grow with its square."""
MAX_WIDTH = 1 << 16
"""Largest D of a network, for the same reason."""


class ConversionError(ValueError):
    """Weights that are no network of ours; the message is one line and names a tensor."""


def swap_prefix(name: str, table: Mapping[str, str]) -> str:
    """Replace the longest prefix of ``table`` that fits; ``{i}`` stands for a number.

    Raises:
        ConversionError: none fits.
    """
    for old, new in sorted(table.items(), key=lambda pair: -len(pair[0])):
        match = re.match(re.escape(old).replace(re.escape("{i}"), r"(?P<i>\d+)"), name)
        if match:
            index = match.groupdict().get("i", "")
            return new.replace("{i}", index) + name[match.end() :]
    raise ConversionError(f"tensor {name!r} has no name in the authors' code (an ablation?)")


def shape_of(weights: Mapping[str, Tensor], name: str, rank: int) -> tuple[int, ...]:
    """The shape of a tensor that must have ``rank`` dimensions, none of them empty.

    Raises:
        KeyError: there is no such tensor.
        ConversionError: it has another number of dimensions, or holds no values.
    """
    shape = tuple(weights[name].shape)
    if len(shape) != rank or not all(shape):
        raise ConversionError(f"tensor {name!r} has shape {shape}: it should have {rank} sizes")
    return shape


def nearest_name(name: str, others: Iterable[str], what: str = "nearest") -> str:
    """`` (nearest: ...)`` for messages about a tensor's name, empty if no other is like it."""
    close = difflib.get_close_matches(name, list(others), 1)
    return f" ({what}: {close[0]!r})" if close else ""


def heads_of(dim: int, published: Mapping[int, int] | int, num_heads: int | None) -> int:
    """Attention heads of width ``dim``: as asked for, else as published for that width."""
    if dim > MAX_WIDTH:
        raise ConversionError(f"width {dim} (at most {MAX_WIDTH})")
    known = published if isinstance(published, int) else published.get(dim)
    heads = num_heads if num_heads is not None else known
    if heads is None or heads < 1 or dim % heads:
        problem = "is none published" if heads is None else f"cannot be split into {heads} heads"
        raise ConversionError(
            f"width {dim} {problem}: give num_heads (no tensor tells the number of heads)"
        )
    return heads


def input_side(tokens: int, patch: int, name: str) -> int:
    """H = W of an input that ``tokens`` patches of side ``patch`` make, at most ``MAX_INPUT``."""
    side = math.isqrt(max(tokens, 0))
    if side**2 != tokens or tokens < 1:
        raise ConversionError(f"tensor {name!r}: {tokens} patches make no square")
    if side * patch > MAX_INPUT:
        raise ConversionError(f"tensor {name!r}: input size {side * patch} (at most {MAX_INPUT})")
    return side * patch


def count_blocks(names: Mapping[str, object], prefix: str) -> int:
    """How many different numbers follow ``prefix`` in the names."""
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})


def likely_time_map(channels: int) -> str:
    """``pixel`` for images of 1 or 3 channels, else ``latent``."""
    return "pixel" if channels in (1, 3) else "latent"
