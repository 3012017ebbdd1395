"""Where a cell of a table comes from: computed again from the metrics, and what made those.

``explain`` finds the cell in the table's definition (``experiments/tables``), reads the results
that are behind it (which refuses what was changed by hand), and compares with what the CSV states.
Where runs are not available the study's recorded numbers of single runs (``seeds.csv``) take the
place of all of them: runs and recorded numbers are never mixed in one value.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from dimr.paper.explain.how import how
from dimr.paper.explain.names import Line, Place, choose_column, choose_lines, lines_of, place_of
from dimr.paper.explain.recorded import Recorded, load_recorded, same, same_as_recorded
from dimr.paper.explain.runs import base_key, run_value, trace
from dimr.paper.results import RunResult, RunSetting, metrics_file, read_at_hand, read_cells
from dimr.paper.tables.definitions import AbsentTable, PaperTable, load_definition
from dimr.paper.tables.results import ResultsTable
from dimr.paper.tables.runs import CHANGES, Table, table_sheet
from dimr.paper.tables.sheets import Block, Sheet, SheetColumn, to_csv
from dimr.runtime.errors import DimrError

Verdict = Literal["agrees", "wrong", "unchecked"]


@dataclass(frozen=True)
class Explanation:
    """A cell and everything behind it.

    Attributes:
        table: the CSV; ``block``, ``row``, ``setting``, ``column`` and ``heading`` say which cell.
        value: as computed now, in the CSV's notation; "" if blank, or not computed. ``text``: as
            it is printed.
        stated: what the CSV has; None: it has no such line or column.
        verdict: on what is stated; unchecked: runs are not available, and nothing is recorded.
        seeds: the file of the recorded numbers that the value was computed from; None: the runs'
            own files.
        how: what the value is: mean of runs, published where, counted from what, or why blank.
        runs: what made each available run's value (``why_runs.trace``), in the order of seeds;
            ``recorded`` is the number in ``seeds.csv`` (None: none), which a rerun may differ from.
        missing: runs and settings that are not available, with ``recorded`` and the command that
            makes each.
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
    verdict: Verdict
    seeds: str | None
    how: str
    runs: list[dict[str, Any]]
    missing: list[dict[str, Any]]
    command: str

    @property
    def absent(self) -> str:
        """``4 of 5 runs are not available here``, or that those which are there are reruns."""
        if not self.missing:
            return "the runs here are reruns of the recorded ones, with other numbers"
        total = len(self.runs) + len(self.missing)
        if total == 1:
            return "its run is not available here"
        verb = "is" if len(self.missing) == 1 else "are"
        return f"{len(self.missing)} of {total} runs {verb} not available here"

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
    runs = runs or place.project / "runs"
    work = _Work(place, definition, runs, _read_csv(place), load_recorded(place.seeds))
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
    recorded: Recorded | None

    def explain(self, line: Line, asked: str) -> Explanation:
        """Compute the line again, and trace its runs."""
        column = self._column(line, asked)
        key, cells = column.key, self._behind(line, column.key)
        made, recorded = self._read(cells), self._known(cells, column.key)
        missing = [cell for cell in cells if cell not in made]
        verdict, used = self._judge(line, key, made, recorded if cells else {}, missing)
        results = recorded if used else made
        unchecked = verdict == "unchecked"
        value = "" if unchecked else self._computed(line, results)[key]
        root = self.place.root
        return Explanation(
            table=str(self.place.csv),
            block=line.block,
            row=line.title,
            setting=line.setting,
            column=key,
            heading=column.heading,
            value=value,
            text="" if unchecked else _printed(self._sheet(results), line, column),
            stated=self._stated(line, made, key),
            verdict=verdict,
            seeds=str(self.recorded.file) if used and self.recorded else None,
            how="" if unchecked else how(self.definition, line, key, results, value, root),
            runs=[self._trace(cell, one, key) for cell, one in made.items()],
            missing=[{**_missing(*cell), "recorded": self._number(cell, key)} for cell in missing],
            command=f"snakemake --force -- {self.place.target}",
        )

    def _judge(
        self,
        line: Line,
        key: str,
        made: Mapping[RunSetting, RunResult],
        recorded: Mapping[RunSetting, RunResult],
        missing: Sequence[RunSetting],
    ) -> tuple[Verdict, bool]:
        """Whether what the CSV states is right, and whether recorded numbers say so."""
        stated, fresh = self._stated(line, made, key), self._computed(line, made)
        if stated is None:
            return "wrong", False
        decided = bool(missing and recorded)  # by what is recorded of all runs
        if same(stated, fresh[key]) and not decided:
            return "agrees", False
        if recorded:
            numbers = [self._number(cell, key) or 0.0 for cell in recorded]
            value = self._computed(line, recorded)[key]
            right = same_as_recorded(stated, value, key, max(map(abs, numbers)))
            if right or decided:
                return ("agrees" if right else "wrong"), True
        if self.place.partial:
            lost = self._lost(line, made)
        else:
            lost = bool(missing) or (not recorded and self._reruns(made))
        return ("unchecked" if lost else "wrong"), False

    def _reruns(self, made: Mapping[RunSetting, RunResult]) -> bool:
        """Whether runs are recorded with other numbers than they have here."""
        known = self.recorded.made if self.recorded else {}
        return any(
            not same(str(value), str(one.metrics.get(key)))
            for cell, one in made.items()
            for key, value in (known[cell].metrics if cell in known else {}).items()
        )

    def _lost(self, line: Line, made: Mapping[RunSetting, RunResult]) -> bool:
        """Whether a partial table was made of runs that are not available any more."""
        missing_then = self._stated(line, made, "missing") or ""
        return any(f"{run} {name}" not in missing_then for run, name in set(line.cells) - set(made))

    def _computed(self, line: Line, results: Mapping[RunSetting, RunResult]) -> dict[str, str]:
        """The line as the CSV would have it of these results."""
        return list(csv.DictReader(io.StringIO(to_csv(self._sheet(results)))))[line.number]

    def _stated(self, line: Line, made: Mapping[RunSetting, RunResult], key: str) -> str | None:
        return _find(self.stated, self._computed(line, made), key)

    def _trace(self, cell: RunSetting, one: RunResult, key: str) -> dict[str, Any]:
        value = run_value(one, cell, self._measured(key), self.place.root)
        return {**trace(one, *cell, value), "recorded": self._number(cell, key)}

    def _known(self, cells: Sequence[RunSetting], key: str) -> dict[RunSetting, RunResult]:
        """The recorded results of all of the cells; none, if one is not recorded."""
        known = self.recorded
        if known is None or not known.has(base_key(self._measured(key))):
            return {}
        found = {cell: known.made[cell] for cell in cells if cell in known.made}
        return found if len(found) == len(cells) else {}

    def _number(self, cell: RunSetting, key: str) -> float | None:
        """What is recorded of a run."""
        one = self.recorded.made.get(cell) if self.recorded else None
        return None if one is None else one.value(base_key(self._measured(key)))

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

    def _read(self, cells: Sequence[RunSetting]) -> dict[RunSetting, RunResult]:
        """For a partial table what is of this configuration, for another all that is there."""
        if self.place.partial:
            return read_at_hand(self.runs, cells, self.place.root)
        there = [cell for cell in cells if (self.runs / metrics_file(*cell)).is_file()]
        return read_cells(self.runs, there, self.place.root)

    def _sheet(self, made: Mapping[RunSetting, RunResult]) -> Sheet:
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


def _missing(run: str, setting: str) -> dict[str, Any]:
    target = f"runs/{metrics_file(run, setting)}"
    return {
        "run": run,
        "setting": setting,
        "file": target,
        "command": f"snakemake -- {target}",
    }
