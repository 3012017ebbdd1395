"""The paper's table of variants (table 3): every network counted here, beside what is published."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from dimr.config.runs import ROOT, Variant, did_you_mean, find_variant
from dimr.config.schema import ConfigModel
from dimr.paper.published import load_published
from dimr.paper.tables.counts import Counted, Figure, check_names, count, counting_input
from dimr.paper.tables.sheets import Block, Sheet, SheetColumn, cell
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar


class VariantRow(ConfigModel):
    """A line: the name in the paper, and the variant's in variants.yaml."""

    name: str
    variant: str


class VariantBlock(ConfigModel):
    """Lines under one heading. Keys of columns: see ``variant_values``."""

    title: str
    columns: list[SheetColumn]
    rows: list[VariantRow]


class VariantsTable(ConfigModel):
    """``kind: variants``: a table of network sizes."""

    kind: Literal["variants"]
    title: str
    notes: list[str]
    blocks: list[VariantBlock]

    def build(self, root: Path = ROOT) -> Sheet:
        """Count every variant that is named, once."""
        published = load_published(root)
        check_names(published, root)
        listed = {
            row.variant: find_variant(row.variant, root)
            for block in self.blocks
            for row in block.rows
        }
        bar = progress_bar(listed.items(), description="counting", unit="variant")
        counted = {name: count(one, published, counting_input(one, root)) for name, one in bar}
        blocks = [_fill(block, counted) for block in self.blocks]
        return Sheet(self.title, blocks, self.notes)


def _fill(block: VariantBlock, counted: dict[str, Counted]) -> Block:
    rows, before = [], None
    for row in block.rows:
        values = variant_values(row.name, counted[row.variant], before)
        before = counted[row.variant]
        for column in block.columns:
            if column.key not in values:
                hint = did_you_mean(column.key, list(values))
                raise DimrError(f"columns of {block.title!r}: no key {column.key!r} {hint}")
        rows.append([cell(values[column.key], column.format) for column in block.columns])
    return Block(block.title, block.columns, rows)


def shape_values(one: Variant, side: int) -> dict[str, Any]:
    """Branches, and for each of them, lowest resolution first: N, D, patch, side in tokens."""
    sizes = one.sizes
    if one.family == "dimr":
        layers, dims = sizes["layers"], sizes["dims"]
        patches = [2**r for r in reversed(range(len(layers)))]
    else:
        layers, dims, patches = [sizes["depth"]], [sizes["dim"]], [sizes["patch"]]
    return {
        "branches": len(layers),
        "layers": layers,
        "dims": dims,
        "heads": sizes["heads"],
        "patches": patches,
        "resolutions": [side // patch for patch in patches],
    }


def variant_values(name: str, counted: Counted, before: Counted | None) -> dict[str, Any]:
    """Everything that a column may ask for; ``before`` is the line above (``_more`` than that)."""
    values = {
        "model": name,
        "variant": counted.listed.name,
        "family": counted.listed.family,
        **shape_values(counted.listed, counted.input[0]),
        "input": shape_text(counted.input),
        "memory_mb": counted.memory_mb,
        "source": counted.source,
    }
    for key in ("parameters", "gmacs"):
        figure: Figure = getattr(counted, key)
        above: Figure | None = getattr(before, key, None)
        values |= {
            key: figure.ours,
            f"{key}_counted": figure.counted,
            f"{key}_difference": figure.difference,
            f"{key}_published": figure.printed,
            f"{key}_agree": figure.agrees,
            f"{key}_more": _difference(figure, above),
        }
    return values


def _difference(figure: Figure, above: Figure | None) -> float | None:
    if above is None or above.ours is None or figure.ours is None:
        return None
    return figure.ours - above.ours


def shape_text(shape: Sequence[int]) -> str:
    """32x32x4."""
    return "x".join(map(str, shape))
