"""The paper's table of variants (table 4), and their list for a terminal (``dimr models``)."""

from collections.abc import Sequence
from typing import Any, Literal

from dimr.config.project import Project
from dimr.config.schema import ConfigModel
from dimr.config.validation import did_you_mean
from dimr.config.variants import Variant
from dimr.paper.tables.counts import Counted, Number, check_names, count, counting_input
from dimr.paper.tables.render import text_lines
from dimr.paper.tables.sheet import DEFINED, Block, Cell, Column, Origin, Sheet, Table, cell
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar

HEADS = [
    "variant", "input", "parameters", "their code's", "published", "met",
    "GMACs", "their code's GMACs", "published", "met", "MB/image",
]  # fmt: skip


class VariantRow(ConfigModel):
    """A line: the name in the paper, and the variant's in variants.yaml."""

    name: str
    variant: str


class VariantBlock(ConfigModel):
    """Lines under one heading. Keys of columns: see ``variant_values``."""

    title: str
    columns: list[Column]
    rows: list[VariantRow]


class VariantsTable(Table):
    """``kind: variants``: a table of network sizes, counted here, beside what is published."""

    kind: Literal["variants"]
    blocks: list[VariantBlock]

    def check(self, source: str, project: Project) -> None:  # noqa: ARG002 messages name files
        """Refuse unknown variants, and published sizes of unknown variants."""
        check_names(project)
        for block in self.blocks:
            for row in block.rows:
                project.variant(row.variant)

    def count(self, project: Project) -> Sheet:
        """Count every variant that is named, once."""
        named = dict.fromkeys(row.variant for block in self.blocks for row in block.rows)
        listed = [project.variant(name) for name in named]
        bar = progress_bar(listed, description="counting", unit="variant")
        counted = {one.name: count(one, project, counting_input(one, project)) for one in bar}
        return Sheet(self.title, [_filled(block, counted) for block in self.blocks], self.notes)


def _filled(block: VariantBlock, counted: dict[str, Counted]) -> Block:
    rows, above = [], None
    for row in block.rows:
        values = variant_values(row.name, counted[row.variant], above)
        above = counted[row.variant]
        for column in block.columns:
            if column.key not in values:
                hint = did_you_mean(column.key, list(values))
                raise DimrError(f"columns of {block.title!r}: no key {column.key!r} {hint}")
        rows.append([_cell(column, values[column.key], row.variant) for column in block.columns])
    return Block(block.title, block.columns, rows, [(row.variant,) for row in block.rows])


def _cell(column: Column, value: Any, variant: str) -> Cell:
    key, file = column.key, f"experiments/variants.yaml, {variant}"
    if key == "model":
        return cell(value, column.format, DEFINED)
    if key.endswith(("_published", "_appendix")) or key == "source":
        said, blank = f"published: sources are in {file}", "no source is known"
    elif key.endswith("_counted"):
        said, blank = (
            f"of the authors' own network, as {file} says",
            "their network was not counted",
        )
    else:
        said = f"counted or read here, of {file}: dimr models {variant}"
        blank = "there is nothing to compare with"
    return cell(value, column.format, Origin(f"blank: {blank}" if value is None else said))


def shape_values(one: Variant, side: int) -> dict[str, Any]:
    """Branches, and for each of them, lowest resolution first: N, D, patch, side in tokens."""
    sizes = one.sizes
    layers, dims = sizes.get("layers") or [sizes["depth"]], sizes.get("dims") or [sizes["dim"]]
    halvings = [2**r for r in reversed(range(len(layers)))]  # a DiMR's branches
    patches = [sizes["patch"]] if "patch" in sizes else halvings
    return {
        "branches": len(layers),
        "layers": layers,
        "dims": dims,
        "heads": sizes["heads"],
        "patches": patches,
        "resolutions": [side // patch for patch in patches],
    }


def variant_values(name: str, counted: Counted, above: Counted | None) -> dict[str, Any]:
    """Everything that a column may ask for; ``above`` is the line above (``_more`` than that)."""
    values = {
        "model": name,
        "variant": counted.listed.name,
        "family": counted.listed.family,
        **shape_values(counted.listed, counted.input[0]),
        "input": counted.shape,
        "memory_mb": counted.memory_mb,
        "source": counted.source,
        "parameters_appendix": counted.appendix,
    }
    for key in ("parameters", "gmacs"):
        number: Number = getattr(counted, key)
        before: Number | None = getattr(above, key, None)
        both = before is not None and None not in (before.ours, number.ours)
        values |= {
            key: number.ours,
            f"{key}_counted": number.counted,
            f"{key}_difference": number.difference,
            f"{key}_published": number.printed,
            f"{key}_agree": number.agrees,
            f"{key}_more": number.ours - before.ours if both else None,  # type: ignore
        }
    return values


# --- for a terminal -------------------------------------------------------------------------------


def listing(variants: Sequence[Counted]) -> list[str]:
    """One line per variant under a line of headings; the last number is memory for training.

    If only parameters were counted, the other columns are left out.
    """
    body = []
    for one in variants:
        line = [one.listed.name, one.shape, *_texts(one.parameters, "{:,}")]
        if one.gmacs.ours is not None:
            form = "{:.2f}" if one.gmacs.ours >= 1 else "{:.4f}"
            line += [*_texts(one.gmacs, form), cell(one.memory_mb, "{:,.1f}").text]
        body.append(line)
    heads = HEADS[: len(body[0])]
    return text_lines(heads, body, [False, *[True] * (len(heads) - 1)])


def _texts(number: Number, form: str) -> list[str]:
    """Our number, the authors' code's, the printed one, and whether ours agrees with them."""
    known = ((number.ours, form), (number.counted, form), (number.printed, "{}"))
    return [*(cell(*one).text for one in known), cell(number.agrees).text]


def verdicts(variants: Sequence[Counted]) -> tuple[int, list[str]]:
    """How many numbers have a published side, and a phrase for each that disagrees."""
    checked, wrong = 0, []
    for one in variants:
        for what, number in (("parameters", one.parameters), ("GMACs", one.gmacs)):
            checked += number.agrees is not None
            if number.agrees is False:
                known = " and ".join(str(k) for k in (number.counted, number.printed) if k)
                wrong.append(f"{one.listed.name} has {number.ours} {what}, not {known}")
    return checked, wrong
