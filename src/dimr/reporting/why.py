"""Where a cell of a table comes from: computed again from the metrics, and what made those.

``explain`` finds the cell in the table's definition (``experiments/tables``), reads the results
that are behind it (which refuses what was changed by hand), and compares with what the CSV states.
"""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dimr.errors import DimrError
from dimr.reporting.made import Made, RunSetting, metrics_file, read_at_hand, read_cells
from dimr.reporting.paper_results import ResultsTable
from dimr.reporting.paper_tables import AbsentTable, PaperTable, load_definition
from dimr.reporting.sheets import Block, Sheet, SheetColumn, to_csv
from dimr.reporting.tables import CHANGES, Table, table_sheet
from dimr.reporting.why_how import how
from dimr.reporting.why_names import Line, Place, choose_column, choose_lines, lines_of, place_of
from dimr.reporting.why_runs import run_value, trace

SIX_DIGITS = 1e-5
"""Relative: a dataset's tables are written with six digits."""


@dataclass(frozen=True)
class Explanation:
    """A cell and everything behind it.

    Attributes:
        table: the CSV; ``block``, ``row``, ``setting``, ``column`` and ``heading`` say which cell.
        value: as computed now, in the CSV's notation; "" if blank. ``text``: as it is printed.
        stated: what the CSV has; None: it has no such line or column.
        how: what the value is: mean of runs, published where, counted from what, or why blank.
        runs: what made each run's value (``why_runs.trace``), in the order of seeds.
        missing: runs and settings that are not made, each with the command that makes it.
        command: makes the table of them again.
    """

    table: str
    block: str
    row: str
    setting: str | None
    column: str
    heading: str
    value: str
    text: str
    stated: str | None
    how: str
    runs: list[dict[str, Any]]
    missing: list[dict[str, str]]
    command: str

    @property
    def agrees(self) -> bool:
        """Whether the CSV states the value."""
        return self.stated is not None and _same(self.stated, self.value)

    @property
    def cell(self) -> str:
        """Its name, for messages."""
        return f"row {self.row!r}, setting {self.setting}, column {self.column}"


def explain(
    table: Path,
    row: str,
    column: str,
    setting: str | None = None,
    runs: Path | None = None,
    root: Path | None = None,
) -> list[Explanation]:
    """Explain a cell; several, where lines of the same name differ in block or setting.

    Args:
        table: ``results/[partial/][<dataset>/]<name>.csv``.
        row: a line's title, or its run or variant.
        column: a key or a heading.
        setting: of guidance; None: every setting that the row has.
        runs: the folder of runs; None: ``runs`` beside ``results``.
        root: the repository whose ``experiments`` are read; None: where ``results`` is.

    Raises:
        DimrError: a name that there is not, a table that is not made, or results that were changed
            by hand, are damaged or of another configuration.
    """
    place = place_of(table, root)
    definition = load_definition(place.definition)
    if isinstance(definition, AbsentTable):
        raise DimrError(f"{table}: {definition.reason}")
    if isinstance(definition, ResultsTable | Table):
        definition.check(place.definition.name, place.root)
    chosen = choose_lines(lines_of(definition), row, setting, str(place.csv))
    work = _Work(place, definition, runs or place.project / "runs", _read_csv(place))
    return [work.explain(line, column) for line in chosen]


def _read_csv(place: Place) -> list[dict[str, str]]:
    if not place.csv.is_file():
        raise DimrError(f"{place.csv}: not made yet: snakemake -- {place.target}")
    with open(place.csv, newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class _Work:
    """What the explanations of a table share."""

    place: Place
    definition: PaperTable | Table
    runs: Path
    stated: list[dict[str, str]]

    def explain(self, line: Line, asked: str) -> Explanation:
        """Compute the line again, and trace its runs."""
        column = self._column(line, asked)
        cells = self._behind(line, column.key)
        made = self._read(cells)
        sheet = self._sheet(made)
        fresh = list(csv.DictReader(io.StringIO(to_csv(sheet))))[line.number]
        stated = _find(self.stated, fresh, column.key)
        root, value, measured = self.place.root, fresh[column.key], self._measured(column.key)
        runs = [
            trace(one, *cell, run_value(one, cell, measured, root)) for cell, one in made.items()
        ]
        return Explanation(
            table=str(self.place.csv),
            block=line.block,
            row=line.title,
            setting=line.setting,
            column=column.key,
            heading=column.heading,
            value=value,
            text=_printed(sheet, line, column),
            stated=stated,
            how=how(self.definition, line, column.key, made, value, root),
            runs=runs,
            missing=[_missing(*cell) for cell in cells if cell not in made],
            command=f"snakemake --force -- {self.place.target}",
        )

    def _column(self, line: Line, asked: str) -> SheetColumn:
        """The column that is asked for, of those of an empty table."""
        block, _ = _place_in(self._sheet({}), line)
        return choose_column(block.columns, asked, str(self.place.csv))

    def _behind(self, line: Line, key: str) -> list[RunSetting]:
        """Every (run, setting) that a cell is computed from."""
        if _is_published(key):
            return []
        if key not in CHANGES or not isinstance(self.definition, Table):
            return list(line.cells)
        setting = line.setting or ""
        pair = self.definition.compared(line.row, setting) or ()
        return [cell for row in pair for cell in self.definition.line(row, setting)]

    def _measured(self, key: str) -> str:
        """What each run has of a column: of a change, what is compared."""
        if key in CHANGES and isinstance(self.definition, Table):
            return self.definition.paired or key
        return key

    def _read(self, cells: Sequence[RunSetting]) -> dict[RunSetting, Made]:
        """For a partial table what is of this configuration, for another all that is there."""
        if self.place.partial:
            return read_at_hand(self.runs, cells, self.place.root)
        there = [cell for cell in cells if (self.runs / metrics_file(*cell)).is_file()]
        return read_cells(self.runs, there, self.place.root)

    def _sheet(self, made: Mapping[RunSetting, Made]) -> Sheet:
        """The table with these results alone."""
        if isinstance(self.definition, Table):
            return table_sheet(self.definition, made, partial=True)
        if isinstance(self.definition, ResultsTable):
            return self.definition.build(made, partial=True, root=self.place.root)
        return self._counted

    @cached_property
    def _counted(self) -> Sheet:
        """A table without runs; counting takes seconds."""
        assert not isinstance(self.definition, ResultsTable | Table)
        return self.definition.build(self.place.root)


def _is_published(key: str) -> bool:
    return key.endswith("_published") or key in ("type", "source")


def _place_in(sheet: Sheet, line: Line) -> tuple[Block, int]:
    """The block that a line is in, and its number there."""
    number = line.number
    for block in sheet.blocks:
        if number < len(block.rows):
            return block, number
        number -= len(block.rows)
    raise AssertionError("a line of another table")


def _printed(sheet: Sheet, line: Line, column: SheetColumn) -> str:
    block, number = _place_in(sheet, line)
    return block.rows[number][list(block.columns).index(column)].text


def _find(stated: Sequence[dict[str, str]], fresh: dict[str, str], key: str) -> str | None:
    """What a CSV has in the line of ``fresh``, told by block, name and setting."""
    names = [name for name in ("block", "model", "setting", "run") if name in fresh]
    for row in stated:
        if all(row.get(name) == fresh[name] for name in names):
            return row.get(key)
    return None


def _same(stated: str, value: str) -> bool:
    try:
        return math.isclose(float(stated), float(value), rel_tol=SIX_DIGITS)
    except ValueError:
        return stated == value


def _missing(run: str, setting: str) -> dict[str, str]:
    target = f"runs/{metrics_file(run, setting)}"
    return {"run": run, "setting": setting, "command": f"snakemake -- {target}"}
