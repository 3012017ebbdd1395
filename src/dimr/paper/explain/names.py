"""Names of tables, lines and columns as people type them, for ``dimr why``."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.runs import did_you_mean
from dimr.paper.results import RunSetting
from dimr.paper.tables.definitions import PaperTable
from dimr.paper.tables.results import ResultsTable
from dimr.paper.tables.runs import Table
from dimr.paper.tables.sheets import SheetColumn
from dimr.paper.tables.variants import VariantsTable
from dimr.runtime.errors import DimrError


@dataclass(frozen=True)
class Place:
    """Where a table's files are.

    Attributes:
        csv: the table.
        project: the folder that holds ``results``, as the path of the table says.
        root: the repository whose ``experiments`` define it.
        definition: the file that does.
        target: the table's name for Snakemake.
        partial: whether it is built of the results that are available.
        seeds: the recorded numbers of single runs that such a table is made of; None: a table of
            this machine's runs alone (``results/partial``, ``results/demo``).
    """

    csv: Path
    project: Path
    root: Path
    definition: Path
    target: str
    partial: bool
    seeds: Path | None


OWN = ("partial", "demo")
"""Folders below ``results`` whose tables are of this machine's runs."""


def place_of(table: Path, root: Path | None = None) -> Place:
    """Take ``results/[partial/|demo/][<dataset>/]<name>.csv`` apart; .md and .tex name the same."""
    if table.suffix not in (".csv", ".md", ".tex") or "results" not in table.parts:
        raise DimrError(f"{table}: no table (results/NAME.csv, results/digits/NAME.csv, ...)")
    at = len(table.parts) - 1 - table.parts[::-1].index("results")
    project = Path(*table.parts[:at])
    inside = Path(*table.parts[at + 1 :]).with_suffix(".csv")
    first = inside.parts[0]
    name = inside.relative_to(first) if first in OWN else inside
    folder = (root or project) / "experiments/tables"
    definition = (folder / name).with_suffix(".yaml")
    if not definition.is_file():
        known = [p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.yaml")]
        asked = name.with_suffix("").as_posix()
        hint = did_you_mean(asked, sorted(known)) if known else ""
        raise DimrError(f"{table}: {definition}: no such definition {hint}".rstrip())
    target = f"results/{inside.as_posix()}"
    csv = table.with_suffix(".csv")
    seeds = None if first in OWN else csv.parent / "seeds.csv"
    return Place(csv, project, root or project, definition, target, first == "partial", seeds)


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        number: of the line, from 0, as the CSV counts.
        block: heading of its block; "" where there is one block.
        title: as it is printed.
        names: other names: its run, its variant.
        setting: of guidance; None: the table has none.
        cells: every (run, setting) behind it.
        row: of the definition.
    """

    number: int
    block: str
    title: str
    names: tuple[str, ...]
    setting: str | None
    cells: tuple[RunSetting, ...]
    row: Any


def lines_of(table: PaperTable | Table) -> list[Line]:
    """Every line of a table, in its order."""
    if isinstance(table, Table):
        found = _of_runs(table)
    elif isinstance(table, ResultsTable):
        found = _of_results(table)
    elif isinstance(table, VariantsTable):
        blocks = table.blocks
        found = [(b.title, r.name, (r.variant,), None, (), r) for b in blocks for r in b.rows]
    else:
        found = [("", row.title, (row.key,), None, (), row) for row in table.rows]
    return [Line(number, *parts) for number, parts in enumerate(found)]


def _of_runs(table: Table) -> list[tuple[Any, ...]]:
    return [
        ("", row.name, _run_names(row.run), setting, tuple(table.line(row, setting)), row)
        for row in table.rows
        for setting in row.settings
    ]


def _of_results(table: ResultsTable) -> list[tuple[Any, ...]]:
    found = []
    for block in table.blocks:
        for row in block.rows:
            names, cells = (
                (*_run_names(row.run), row.published or row.title),
                tuple(block.cells(row)),
            )
            setting = row.setting or block.setting
            found.append((block.title, row.title, names, setting, cells, row))
    return found


def _run_names(run: str | None) -> tuple[str, ...]:
    return (run, run.split("/")[-1]) if run else ()


def plain(name: str) -> str:
    """Small letters and digits alone: DiMR-XL/2R is dimr-xl-2r."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def choose_lines(lines: Sequence[Line], asked: str, setting: str | None, source: str) -> list[Line]:
    """The lines of a title, or else of a run or variant; ``setting`` narrows them.

    Raises:
        DimrError: none; the message names what there is near.
    """
    found = [line for line in lines if plain(line.title) == plain(asked)] or [
        line for line in lines if plain(asked) in map(plain, line.names)
    ]
    if not found:
        titles = list(dict.fromkeys(line.title for line in lines))
        raise DimrError(f"{source}: no row {asked!r} {did_you_mean(asked, titles)}")
    if setting is None:
        return found
    narrowed = [line for line in found if line.setting and plain(line.setting) == plain(setting)]
    if not narrowed:
        allowed = list(dict.fromkeys(line.setting or "none" for line in found))
        hint = did_you_mean(setting, allowed)
        raise DimrError(f"{source}: {found[0].title}: no setting {setting!r} {hint}")
    return narrowed


def choose_column(columns: Iterable[SheetColumn], asked: str, source: str) -> SheetColumn:
    """A column by its key, its heading, or the heading that it shares: then the first of those."""
    columns = list(columns)
    for name in ("key", "heading", "title", "group"):
        found = [c for c in columns if plain(asked) == plain(getattr(c, name))]
        if plain(asked) and found and (len(found) == 1 or name == "group"):
            return found[0]
    raise DimrError(
        f"{source}: no column {asked!r} {did_you_mean(asked, [c.key for c in columns])}"
    )
