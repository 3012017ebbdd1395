"""Filling a table of results: group-bys of the frame of results, each cell with its origin."""

import math
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dimr.config.project import Project
from dimr.evaluation.names import METRICS
from dimr.paper.published import SOURCES, Result, load_published
from dimr.paper.results import COSTS, RunSetting
from dimr.paper.statistics import change_of, summarise
from dimr.paper.tables.runs import CHANGES, Line, NumberColumn, RunsTable
from dimr.paper.tables.sheet import MISSING, Block, Cell, Column, Origin, Sheet, cell
from dimr.runtime.errors import DimrError
from dimr.stages.costs import count_network

if TYPE_CHECKING:
    import pandas as pd

Pairs = Iterator[tuple[Column, Cell]]
"""Cells of a line with their columns, which are the same for every line."""

SIZES = COSTS[:2]
"""What is known about a network before it is trained."""
SAME = 1e-9
"""Seeds that differ by less than this share of their mean have the same value."""
IMAGES = NumberColumn(key="images", title="Images", csv_only=True)


class Filling:
    """A table with the results that exist.

    Args:
        table: the definition.
        project: whose published.yaml is read.
        frame: of ``dimr.paper.results``; runs that no line names are left out.
        partial: mark what is missing instead of refusing.
    """

    def __init__(
        self, table: RunsTable, project: Project, frame: "pd.DataFrame", partial: bool
    ) -> None:
        import pandas as pd

        self.table, self.project, self.frame, self.partial = table, project, frame, partial
        self.lists = {} if table.pictured else load_published(project).results
        self.available = set(zip(frame["run"], frame["setting"], strict=True))
        behind = [(number, *cell) for number, line in enumerate(table.lines) for cell in line.cells]
        found = pd.DataFrame(behind, columns=["line", "run", "setting"]).merge(frame)
        summary = summarise(found, ("line", "setting", "metric"))
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
            asked = any(one.name == column.key and not one.published for one in table.columns)
            if asked and not self.partial and all(row[number].value is None for row in rows):
                raise DimrError(f"{table.title}: no row has a value for column {column.key!r}")
        blocks = []
        for title in dict.fromkeys(line.block for line in table.lines):
            own = [number for number, line in enumerate(table.lines) if line.block == title]
            names = [_names(table.lines[number]) for number in own]
            blocks.append(Block(title, columns, [rows[number] for number in own], names))
        return Sheet(table.title, blocks, [*table.notes, *self._notes()])

    def _line(self, number: int, line: Line) -> Pairs:
        """The cells that name a line, its numbers, and what they rest on."""
        runs = list(dict.fromkeys(run for run, name in line.cells if (run, name) in self.available))
        missing = [f"{run} {name}" for run, name in line.cells if (run, name) not in self.available]
        counted = Origin("which of its runs exist", line.cells)
        theirs, table = self._theirs(line), self.table
        yield Column(key="model", title="Model", left=True), cell(line.title)
        for mark in table.marks:
            yield Column(key=_key(mark), title=mark), cell(mark in line.marks or None)
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
            if not table.by_column:
                column = Column(key="setting", title="setting", group="Ours", left=True)
                yield column, cell(line.setting)
        changes = self._changes(line)
        for one in table.columns:
            if one.key == "change":
                yield one, changes.pop("change")
            elif one.key == "chosen":
                yield one, self._chosen(line)
            else:
                yield from self._number(number, line, one)
        if not table.pictured:
            yield from self._number(number, line, IMAGES)
        if table.paired:
            for key, change in changes.items():
                yield Column(key=key, title=key, csv_only=True), change
        if self.partial or not table.pictured:
            column = Column(key="missing", title="Missing", left=True, csv_only=True)
            yield column, cell(missing or None, origin=counted)
        if not table.pictured:
            source = cell(theirs and theirs.source, origin=self._published_origin(line, "source"))
            yield Column(key="source", title="Source", left=True), source

    def _number(self, number: int, line: Line, column: NumberColumn) -> Pairs:
        """A number, its deviation, what is published beside it, and the difference."""
        key, name, form, title = column.key, column.name, column.format, column.title
        of_metric = column.published and key in METRICS
        settings = (column.setting,) if column.setting else line.settings
        has = (one for one in settings if (number, one, key) in self.summary)
        setting = next(has, next(iter(settings), None))  # costs are the same at each
        asked = tuple(cell for cell in line.cells if cell[1] == setting)
        cells = [one for one in asked if one in self.available]
        runs = len(cells)
        mean, deviation, seeds = self.summary.get((number, setting, key), (None, math.nan, 0))
        counted = self._counted(line, key) if mean is None else None
        if of_metric and seeds < runs:
            self._refuse_gap(cells, key)
        ours = Column(key=name, title=title, csv_only=column.csv_only)
        if column.published:
            ours = Column(key=name, title="ours", group=title)
        text = (MISSING if line.run and not runs else "") if mean is None else form.format(mean)
        if mean is not None and deviation > SAME * abs(mean):  # not the same for every seed
            text += f" ± {form.format(deviation)}"
        origin = Origin(_how(line, asked, runs, mean), asked, key)
        if counted is not None:
            mean, text = counted, form.format(counted)
            origin = Origin("counted here, as no run exists", asked, key)
        yield ours, Cell(_rounded(mean), text, origin)
        if of_metric or (self.table.seeds > 1 and not column.published and self.table.pictured):
            spread = None if math.isnan(deviation) else deviation
            how = _how(line, asked, runs, spread, is_deviation=seeds > 0)
            std = Column(key=f"{name}_std", title=f"{title}, deviation", csv_only=True)
            yield std, Cell(_rounded(spread), "", Origin(how, asked, key))
        if not column.published or column.printed is None:
            return
        printed = getattr(self._theirs(line), column.printed, None)
        theirs = self._published_origin(line, column.printed)
        prefix = name if column.setting else column.printed
        beside = Column(key=f"{prefix}_published", title="published", group=title)
        yield beside, cell(printed, form if of_metric else "{}", theirs)
        if of_metric:
            less = None if mean is None or printed is None else mean - printed
            how = origin.how if mean is None else theirs.how
            how = how if less is None else f"ours less published: {how}"
            text = "" if less is None else form.replace(":", ":+").format(less)
            origin = Origin(how, asked, key)
            difference = Column(key=f"{name}_difference", title="difference", group=title)
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

    def _chosen(self, line: Line) -> Cell:
        """Whether results of a line's network have its learning rate."""
        if not line.cells:
            return Cell(None, "", Origin("blank: a published row"))
        run = self.project.run(line.cells[0][0])
        rate = run.recipe.train.lr
        others = self.project.run(run.name.replace(f"-{run.trial}/", "/")) if run.trial else run
        how = f"whether recipes.yaml gives the network this learning rate, {rate:g}"
        return cell(others.recipe.train.lr == rate or None, origin=Origin(how))

    def _counted(self, line: Line, key: str) -> float | None:
        """A size of a line's network, which is known before it is trained."""
        if key not in SIZES or not line.cells:
            return None
        run = self.project.run(line.cells[0][0])
        if run.network is None:
            return None
        parameters, macs = count_network(run)
        return {"parameters_m": parameters / 1e6, "gmacs": macs / 1e9}[key]

    def _refuse_gap(self, cells: Sequence[RunSetting], key: str) -> None:
        """Refuse a run without a metric that is compared with a published one."""
        for run, setting in cells:
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
        listed = self.lists[line.list]
        if getattr(row, key) is None:
            return Origin(f"blank: {row.note or listed.blank}")
        source = row.source_of(key)
        note = f"; {row.note}" if source == "derived" and row.note else ""
        place = f"{listed.where}, row {line.published}"
        return Origin(f"published: {source}, {SOURCES[source]}: {place}{note}")

    def _notes(self) -> Iterator[str]:
        """Where published values were seen and why some are blank; and what is missing."""
        lines, cells = self.table.lines, self.table.cells()
        rows = [row for line in lines if (row := self._theirs(line))]
        if seen := dict.fromkeys(
            one for row in rows for one in (row.source, *row.sources.values())
        ):
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


def _key(mark: str) -> str:
    """The key of a column of ticks: "adaLN-Zero" is adaln_zero."""
    return re.sub(r"\W+", "_", mark.lower()).strip("_")


def _how(
    line: Line,
    asked: Sequence[RunSetting],
    runs: int,
    value: float | None,
    is_deviation: bool = False,
) -> str:
    """What our number is, given that ``runs`` of those asked for exist, or why it is blank."""
    if line.run is None:
        return "blank: a published row, none of our runs is in it"
    if not runs:
        return "blank: none of its runs exists"
    if value is None:
        reason = "a single seed has no deviation" if is_deviation else "its records do not say it"
        return f"blank: {reason}"
    what = "standard deviation (n - 1) over" if is_deviation else "mean of"
    said = f"{what} {runs} runs, one per seed" if runs > 1 else "the value of 1 run"
    missing = len(asked) - runs
    return f"{said}; {missing} missing" if missing else said


def _rounded(value: float | None) -> str | None:
    """Six digits: the same text on machines that differ in the last bits."""
    return None if value is None else f"{value:.6g}"


def _names(line: Line) -> list[str]:
    """Names by which a line can be asked for, besides its title."""
    run = [line.run, line.run.split("/")[-1]] if line.run else []
    return [*run, *([line.published] if line.published else [])]
