"""Filling a table of results: group-bys of the frame of results, each cell with its origin."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dimr.config.project import Project
from dimr.paper.published import SOURCES, Result, load_published
from dimr.paper.statistics import change_of, summarise
from dimr.paper.tables.runs import CHANGES, METRICS, PRINTED, Line, NumberColumn, RunsTable
from dimr.paper.tables.sheet import MISSING, Block, Cell, Column, Origin, Sheet, cell
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

Cells = Iterator[tuple[str, Cell]]
"""Cells of a line by the keys of their columns."""

SAME = 1e-9
"""Seeds that differ by less than this share of their mean have the same value."""
IMAGES = NumberColumn(key="images", title="Images", csv_only=True)


class Filling:
    """A table with the results that exist.

    Args:
        table: the definition.
        project: whose published.yaml is read.
        frame: of ``dimr.paper.results``; runs that no line names are left out.
        partial: mark what is missing, in place of refusing.
    """

    def __init__(
        self, table: RunsTable, project: Project, frame: "pd.DataFrame", partial: bool
    ) -> None:
        import pandas as pd

        self.table, self.partial = table, partial
        self.lists = {} if table.pictured else load_published(project).results
        self.numbers = [*table.columns, *([] if table.pictured else [IMAGES])]
        self.frame, self.available = frame, set(zip(frame["run"], frame["setting"], strict=True))
        behind = [(number, *cell) for number, line in enumerate(table.lines) for cell in line.cells]
        found = pd.DataFrame(behind, columns=["line", "run", "setting"]).merge(frame)
        summary = summarise(found, ("line", "metric"))
        self.summary = dict(zip(summary.index, summary.to_numpy().tolist(), strict=True))
        self.paired = found[found["metric"] == table.paired].pivot(
            index="seed", columns="line", values="value"
        )

    def sheet(self) -> Sheet:
        """The table."""
        table = self.table
        lines = [dict(self._line(number, line)) for number, line in enumerate(table.lines)]
        for column in table.columns:
            blank = all(line[column.key].value is None for line in lines)
            if blank and not self.partial and not column.published:
                raise DimrError(f"{table.title}: no row has a value for column {column.key!r}")
        columns, blocks = list(self._columns()), []
        for title in dict.fromkeys(line.block for line in table.lines):
            own = [number for number, line in enumerate(table.lines) if line.block == title]
            rows = [[lines[number][column.key] for column in columns] for number in own]
            names = [_names(table.lines[number]) for number in own]
            blocks.append(Block(title, columns, rows, names))
        return Sheet(table.title, blocks, [*table.notes, *self._notes()])

    # --- columns ----------------------------------------------------------------------------------

    def _columns(self) -> Iterator[Column]:
        """What names a line, its numbers, and what stands behind them."""
        yield Column(key="model", title="Model", left=True)
        if self.table.pictured:
            yield Column(key="setting", title="Setting", left=True)
            yield Column(key="seeds", title="Seeds", csv_only=not self.partial)
        else:
            yield Column(key="type", title="Type", left=True)
            yield Column(key="run", title="Run", left=True, csv_only=True)
            yield Column(key="seeds", title="seeds", group="Ours", left=True)
            yield Column(key="setting", title="setting", group="Ours", left=True)
        for column in self.numbers:
            yield from self._of_number(column)
        shown = [column.key for column in self.table.columns]
        for key in CHANGES:
            if self.table.paired and key not in shown:
                yield Column(key=key, title=key, csv_only=True)
        if self.partial or not self.table.pictured:
            yield Column(key="missing", title="Missing", left=True, csv_only=True)
        if not self.table.pictured:
            yield Column(key="source", title="Source", left=True)

    def _of_number(self, column: NumberColumn) -> Iterator[Column]:
        """A number's column, that of its deviation, and what is published beside it."""
        key, title, is_metric = column.key, column.title, column.key in METRICS
        if not column.published:
            yield Column(key=key, title=title, csv_only=column.csv_only)
            if self.table.seeds > 1 and key != "change":
                yield Column(key=f"{key}_std", title=f"{title}, deviation", csv_only=True)
            return
        yield Column(key=key, title="ours", group=title)
        if is_metric:
            yield Column(key=f"{key}_std", title="deviation", group=title, csv_only=True)
        yield Column(key=f"{PRINTED[key]}_published", title="published", group=title)
        if is_metric:
            yield Column(key=f"{key}_difference", title="difference", group=title)

    # --- lines ------------------------------------------------------------------------------------

    def _line(self, number: int, line: Line) -> Cells:
        """Every cell that a column may ask for."""
        runs = [run for run, setting in line.cells if (run, setting) in self.available]
        missing = [f"{run} {name}" for run, name in line.cells if (run, name) not in self.available]
        seeds: int | str | None = len(runs)
        if not self.table.pictured:
            names = [run.split("/")[-1] for run in runs]
            seeds = ", ".join(names).replace("published", "authors' weights") or None
        theirs = self._theirs(line)
        counted = Origin("which of its runs exist", line.cells)
        yield "model", cell(line.title)
        yield "run", cell(line.run)
        yield "setting", cell(line.setting)
        yield "seeds", cell(seeds, origin=counted)
        yield "missing", cell(missing or None, origin=counted)
        yield "type", cell(theirs and theirs.type, origin=Origin(self._published_how(line, "type")))
        source = Origin(self._published_how(line, "source"))
        yield "source", cell(theirs and theirs.source, origin=source)
        yield from self._changes(line)
        for column in self.numbers:
            if column.key != "change":
                yield from self._number(number, line, column, len(runs))

    def _number(self, number: int, line: Line, column: NumberColumn, runs: int) -> Cells:
        """A number with its deviation, what is published beside it, and the difference."""
        key, form = column.key, column.format
        mean, deviation, seeds = self.summary.get((number, key), (None, math.nan, 0))
        if column.published and key in METRICS and seeds < runs:
            self._refuse_gap(line, key)
        ours = Origin(_how(line, runs, mean), line.cells, key)
        text = (MISSING if line.run and not runs else "") if mean is None else form.format(mean)
        if mean is not None and deviation > SAME * abs(mean):  # not the same for every seed
            text += f" ± {form.format(deviation)}"
        yield key, Cell(_rounded(mean), text, ours)
        spread = None if math.isnan(deviation) else deviation
        how = _how(line, runs, spread, is_deviation=seeds > 0)
        yield f"{key}_std", Cell(_rounded(spread), "", Origin(how, line.cells, key))
        if not column.published:
            return
        printed = getattr(self._theirs(line), PRINTED[key], None)
        theirs = Origin(self._published_how(line, PRINTED[key]))
        if key not in METRICS:
            yield f"{PRINTED[key]}_published", cell(printed, origin=theirs)
            return
        yield f"{key}_published", cell(printed, form, theirs)
        both = mean is not None and printed is not None
        blank = ours.how if mean is None else theirs.how
        origin = Origin(f"ours less published: {theirs.how}" if both else blank, line.cells, key)
        less = mean - printed if both else None
        text = "" if less is None else form.replace(":", ":+").format(less)
        yield f"{key}_difference", Cell(_rounded(less), text, origin)

    def _changes(self, line: Line) -> Cells:
        """The paired change, in words and in numbers, over the seeds that both lines have."""
        pair = self.table.compared(line)
        if pair is None:
            origin = Origin("blank: this row is compared with no other")
            yield from ((key, Cell(None, "", origin)) for key in CHANGES)
            return
        first, second = (self.paired.get(self.table.lines.index(one)) for one in pair)
        change = None
        if first is not None and second is not None:
            change = change_of(first.dropna(), second.dropna())
        key = self.table.paired or ""
        what = f"{pair[0].title} less {pair[1].title}, {self.table.title_of(key)}, seed by seed"
        how = f"{what}: mean difference and Student's 95% interval of it"
        blank = f"blank: {what}: too few seeds exist of both"
        cells = (*pair[0].cells, *pair[1].cells)
        values: list[str | None] = [None] * len(CHANGES)
        if change is not None:
            values = [change.text(), *map(_rounded, (change.mean, change.low, change.high))]
        for name, value in zip(CHANGES, values, strict=True):
            text = value or (MISSING if name == "change" else "")
            yield name, Cell(value, text, Origin(how if value else blank, cells, key))

    def _refuse_gap(self, line: Line, key: str) -> None:
        """Refuse a run without a metric that stands beside a published one."""
        for run, setting in line.cells:
            own = self.frame[(self.frame["run"] == run) & (self.frame["setting"] == setting)]
            if len(own) and key not in set(own["metric"]):
                known = ", ".join(own["metric"])
                raise DimrError(f"{own['source'].iloc[0]}: no {key} (there are: {known})")

    # --- what is published ------------------------------------------------------------------------

    def _theirs(self, line: Line) -> Result | None:
        return self.lists[line.list].rows[line.published] if line.list and line.published else None

    def _published_how(self, line: Line, key: str) -> str:
        """Where a published value was seen, or why it is blank."""
        row = self._theirs(line)
        if row is None or line.list is None:
            return "blank: a row of ours only, nothing is published beside it"
        if getattr(row, key) is None:
            return f"blank: {row.note or self.lists[line.list].blank}"
        return f"published: {row.source}, {SOURCES[row.source]}"

    def _notes(self) -> Iterator[str]:
        """Where published values were seen and why some are blank; and what is missing."""
        seen = [row.source for line in self.table.lines if (row := self._theirs(line))]
        if seen:
            words = "; ".join(f"{source}, {SOURCES[source]}" for source in dict.fromkeys(seen))
            yield f"Source of published values: {words}."
        for title, name in dict.fromkeys((line.block, line.list) for line in self.table.lines):
            if name is not None:
                listed = self.lists[name]
                shown = [one.published for one in self.table.lines if one.block == title]
                noted = {row: listed.rows[row].note for row in shown if row}
                said = [f"{row}: {note}." for row, note in noted.items() if note]
                yield " ".join([f"{title}: where blank, {listed.blank}.", *said])
        cells = self.table.cells()
        missing = [f"{run} {name}" for run, name in cells if (run, name) not in self.available]
        if missing:
            share = "all" if len(missing) == len(cells) else str(len(missing))
            yield (
                f"{MISSING}: not computed yet, or of another configuration: {share} of "
                f"{len(cells)} ({', '.join(missing)})."
            )


def _how(line: Line, runs: int, value: float | None, is_deviation: bool = False) -> str:
    """What a number of ours is, of ``runs`` that exist, or why it is blank."""
    if line.run is None:
        return "blank: a published row, no run of ours stands in it"
    if not runs:
        return "blank: none of its runs exists"
    if value is None:
        reason = "a single seed has no deviation" if is_deviation else "its records do not say it"
        return f"blank: {reason}"
    what = "standard deviation (n - 1) over" if is_deviation else "mean of"
    said = f"{what} {runs} runs, one per seed" if runs > 1 else "the value of 1 run"
    missing = len(line.cells) - runs
    return f"{said}; {missing} missing" if missing else said


def _rounded(value: float | None) -> str | None:
    """Six digits: the same text on machines that differ in the last bits."""
    return None if value is None else f"{value:.6g}"


def _names(line: Line) -> list[str]:
    """By which a line can be asked for, beside its title."""
    run = [line.run, line.run.split("/")[-1]] if line.run else []
    return [*run, *([line.published] if line.published else [])]
