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

Pairs = Iterator[tuple[Column, Cell]]
"""Cells of a line with their columns, which are the same for every line."""

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

        self.table, self.frame, self.partial = table, frame, partial
        self.lists = {} if table.pictured else load_published(project).results
        self.available = set(zip(frame["run"], frame["setting"], strict=True))
        behind = [(number, *cell) for number, line in enumerate(table.lines) for cell in line.cells]
        found = pd.DataFrame(behind, columns=["line", "run", "setting"]).merge(frame)
        summary = summarise(found, ("line", "metric"))
        self.summary = dict(zip(summary.index, summary.to_numpy().tolist(), strict=True))
        paired = found[found["metric"] == table.paired]
        self.paired = paired.pivot(index="seed", columns="line", values="value")

    def sheet(self) -> Sheet:
        """The table."""
        table = self.table
        lines = [list(self._line(number, line)) for number, line in enumerate(table.lines)]
        columns = [column for column, _ in lines[0]]
        rows = [[cell for _, cell in line] for line in lines]
        for number, column in enumerate(columns):
            asked = any(one.key == column.key and not one.published for one in table.columns)
            if asked and not self.partial and all(row[number].value is None for row in rows):
                raise DimrError(f"{table.title}: no row has a value for column {column.key!r}")
        blocks = []
        for title in dict.fromkeys(line.block for line in table.lines):
            own = [number for number, line in enumerate(table.lines) if line.block == title]
            names = [_names(table.lines[number]) for number in own]
            blocks.append(Block(title, columns, [rows[number] for number in own], names))
        return Sheet(table.title, blocks, [*table.notes, *self._notes()])

    def _line(self, number: int, line: Line) -> Pairs:
        """What names a line, its numbers, and what stands behind them."""
        runs = [run for run, setting in line.cells if (run, setting) in self.available]
        missing = [f"{run} {name}" for run, name in line.cells if (run, name) not in self.available]
        counted = Origin("which of its runs exist", line.cells)
        theirs, table = self._theirs(line), self.table
        yield Column(key="model", title="Model", left=True), cell(line.title)
        if table.pictured:
            yield Column(key="setting", title="Setting", left=True), cell(line.setting)
            column = Column(key="seeds", title="Seeds", csv_only=not self.partial)
            yield column, cell(len(runs), origin=counted)
        else:
            kind = cell(theirs and theirs.type, origin=self._published_origin(line, "type"))
            yield Column(key="type", title="Type", left=True), kind
            yield Column(key="run", title="Run", left=True, csv_only=True), cell(line.run)
            seeds = ", ".join(run.split("/")[-1] for run in runs)
            named = cell(seeds.replace("published", "authors' weights") or None, origin=counted)
            yield Column(key="seeds", title="seeds", group="Ours", left=True), named
            column = Column(key="setting", title="setting", group="Ours", left=True)
            yield column, cell(line.setting)
        changes = self._changes(line)
        for one in table.columns:
            if one.key == "change":
                yield one, changes.pop("change")
            else:
                yield from self._number(number, line, one, len(runs))
        if not table.pictured:
            yield from self._number(number, line, IMAGES, len(runs))
        if table.paired:
            for key, change in changes.items():
                yield Column(key=key, title=key, csv_only=True), change
        if self.partial or not table.pictured:
            column = Column(key="missing", title="Missing", left=True, csv_only=True)
            yield column, cell(missing or None, origin=counted)
        if not table.pictured:
            source = cell(theirs and theirs.source, origin=self._published_origin(line, "source"))
            yield Column(key="source", title="Source", left=True), source

    def _number(self, number: int, line: Line, column: NumberColumn, runs: int) -> Pairs:
        """A number, its deviation, what is published beside it, and the difference."""
        key, form, title = column.key, column.format, column.title
        of_metric = column.published and key in METRICS
        mean, deviation, seeds = self.summary.get((number, key), (None, math.nan, 0))
        if of_metric and seeds < runs:
            self._refuse_gap(line, key)
        ours = Column(key=key, title=title, csv_only=column.csv_only)
        if column.published:
            ours = Column(key=key, title="ours", group=title)
        text = (MISSING if line.run and not runs else "") if mean is None else form.format(mean)
        if mean is not None and deviation > SAME * abs(mean):  # not the same for every seed
            text += f" ± {form.format(deviation)}"
        origin = Origin(_how(line, runs, mean), line.cells, key)
        yield ours, Cell(_rounded(mean), text, origin)
        if of_metric or (self.table.seeds > 1 and not column.published and self.table.pictured):
            spread = None if math.isnan(deviation) else deviation
            how = _how(line, runs, spread, is_deviation=seeds > 0)
            std = Column(key=f"{key}_std", title=f"{title}, deviation", csv_only=True)
            yield std, Cell(_rounded(spread), "", Origin(how, line.cells, key))
        if not column.published:
            return
        printed = getattr(self._theirs(line), PRINTED[key], None)
        theirs = self._published_origin(line, PRINTED[key])
        beside = Column(key=f"{PRINTED[key]}_published", title="published", group=title)
        yield beside, cell(printed, form if of_metric else "{}", theirs)
        if of_metric:
            less = None if mean is None or printed is None else mean - printed
            how = origin.how if mean is None else theirs.how
            how = how if less is None else f"ours less published: {how}"
            text = "" if less is None else form.replace(":", ":+").format(less)
            origin = Origin(how, line.cells, key)
            difference = Column(key=f"{key}_difference", title="difference", group=title)
            yield difference, Cell(_rounded(less), text, origin)

    def _changes(self, line: Line) -> dict[str, Cell]:
        """The paired change, in words and in numbers, over the seeds that both lines have."""
        pair, key = self.table.compared(line), self.table.paired or ""
        if pair is None:
            origin = Origin("blank: this row is compared with no other")
            return {name: Cell(None, "", origin) for name in CHANGES}
        first, second = (self.paired.get(self.table.lines.index(one)) for one in pair)
        none = first is None or second is None
        change = None if none else change_of(first.dropna(), second.dropna())
        what = f"{pair[0].title} less {pair[1].title}, {self.table.title_of(key)}, seed by seed"
        cells = (*pair[0].cells, *pair[1].cells)
        if change is None:
            origin = Origin(f"blank: {what}: too few seeds exist of both", cells, key)
            texts = [MISSING] + [""] * (len(CHANGES) - 1)
            return {n: Cell(None, text, origin) for n, text in zip(CHANGES, texts, strict=True)}
        how = f"{what}: mean difference and Student's 95% interval of it"
        numbers = map(_rounded, (change.mean, change.low, change.high))
        return {
            name: cell(value, origin=Origin(how, cells, key))
            for name, value in zip(CHANGES, [change.text(), *numbers], strict=True)
        }

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

    def _published_origin(self, line: Line, key: str) -> Origin:
        """Where a published value was seen, or why it is blank."""
        row = self._theirs(line)
        if row is None or line.list is None:
            return Origin("blank: a row of our own, nothing is published beside it")
        if getattr(row, key) is None:
            return Origin(f"blank: {row.note or self.lists[line.list].blank}")
        return Origin(f"published: {row.source}, {SOURCES[row.source]}")

    def _notes(self) -> Iterator[str]:
        """Where published values were seen and why some are blank; and what is missing."""
        lines, cells = self.table.lines, self.table.cells()
        if seen := dict.fromkeys(row.source for line in lines if (row := self._theirs(line))):
            words = "; ".join(f"{source}, {SOURCES[source]}" for source in seen)
            yield f"Source of published values: {words}."
        for title, name in dict.fromkeys((line.block, line.list) for line in lines):
            if name is not None:
                shown = {one.published: self._theirs(one) for one in lines if one.block == title}
                said = [f"{row}: {one.note}." for row, one in shown.items() if one and one.note]
                yield " ".join([f"{title}: where blank, {self.lists[name].blank}.", *said])
        missing = [f"{run} {name}" for run, name in cells if (run, name) not in self.available]
        if missing:
            share = "all" if len(missing) == len(cells) else str(len(missing))
            yield (
                f"{MISSING}: not computed yet, or of another configuration: {share} of "
                f"{len(cells)} ({', '.join(missing)})."
            )


def _how(line: Line, runs: int, value: float | None, is_deviation: bool = False) -> str:
    """What our number is, of ``runs`` that exist, or why it is blank."""
    if line.run is None:
        return "blank: a published row, none of our runs is in it"
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
