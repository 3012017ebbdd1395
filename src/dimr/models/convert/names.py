"""What the families' name tables share."""

import math
import re
from collections.abc import Mapping


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


def heads_of(dim: int, published: Mapping[int, int] | int, num_heads: int | None) -> int:
    """Attention heads of width ``dim``: as asked for, else as published for that width."""
    known = published if isinstance(published, int) else published.get(dim)
    heads = num_heads if num_heads is not None else known
    if heads is None or heads < 1 or dim % heads:
        problem = "is none published" if heads is None else f"cannot be split into {heads} heads"
        raise ConversionError(
            f"width {dim} {problem}: give num_heads (no tensor tells the number of heads)"
        )
    return heads


def square_side(tokens: int, name: str) -> int:
    """The side of a square of ``tokens`` patches."""
    side = math.isqrt(max(tokens, 0))
    if side**2 != tokens or tokens < 1:
        raise ConversionError(f"tensor {name!r}: {tokens} patches make no square")
    return side


def count_blocks(names: Mapping[str, object], prefix: str) -> int:
    """How many different numbers follow ``prefix`` in the names."""
    return len({n[len(prefix) :].split(".")[0] for n in names if n.startswith(prefix)})
