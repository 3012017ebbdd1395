"""The paper's tables of results (1, 2, 5, 6, 7): published rows, and ours beside them where we can.

A row of ours is a run (one for each seed, or the authors' weights) at a guidance setting. A table
is complete when all of them are made; a partial one marks what is missing and lists it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dimr.config.runs import ROOT, did_you_mean
from dimr.config.schema import ConfigModel
from dimr.config.schema.base import repeated
from dimr.paper.published import SOURCES, PublishedValues, Result, load_published
from dimr.paper.results import RunResult, RunSetting, check_settings
from dimr.paper.tables.sheets import MISSING, Block, Cell, Sheet, SheetColumn, cell
from dimr.runtime.errors import DimrError

METRICS = ("fid", "inception_score", "precision", "recall")
"""Names in a run's metrics and in published.yaml."""
COSTS = ("parameters_m", "gmacs")

OURS = ("epochs", *COSTS, *METRICS, *(f"{m}_std" for m in METRICS),
        *(f"{m}_difference" for m in METRICS), "images")  # fmt: skip
KEYS = [
    "model", "type", "run", "seeds", "setting", "source", "missing", "epochs_published",
    "parameters_published", "gmacs_published", *(f"{m}_published" for m in METRICS), *OURS,
]  # fmt: skip
"""What a column may hold; ``OURS`` is blank in rows without a run."""


class ResultRow(ConfigModel):
    """A line: a published row, a run of ours, or one beside the other.

    ``published`` is a name in the block's list of published.yaml; ``name`` is printed, if it is not
    that; ``run`` is ``dataset/model``, trained once for each of ``seeds``, or with the authors'
    weights; ``setting`` is of guidance, if it is not the block's.
    """

    published: str | None = None
    name: str = ""
    run: str | None = None
    seeds: list[Annotated[int, Field(ge=0)]] | Literal["published"] = Field(default=[0])
    setting: str | None = None

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if self.published is None and (self.run is None or not self.name):
            raise ValueError("a row needs published, or run and name")
        if self.seeds == []:
            raise ValueError("seeds: at least one is needed")
        return self

    @property
    def title(self) -> str:
        """The name that is printed."""
        return self.name or self.published or ""

    def runs(self) -> list[str]:
        """Names of the runs."""
        if self.run is None:
            return []
        seeds = ["published"] if self.seeds == "published" else self.seeds
        return [f"{self.run}/{seed}" for seed in seeds]


def _named(value: Any) -> Any:
    """A row that is a name is a published row."""
    return {"published": value} if isinstance(value, str) else value


class ResultBlock(ConfigModel):
    """Lines under one heading, beside a list of published.yaml; ``setting`` is of our runs."""

    title: str
    published: str
    setting: str
    rows: list[Annotated[ResultRow, BeforeValidator(_named)]]

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if (twice := repeated([row.title for row in self.rows])) is not None:
            raise ValueError(f"rows: two are called {twice!r}: give one a name")
        return self

    def cells(self, row: ResultRow) -> list[RunSetting]:
        """Every (run, setting) that a row needs."""
        return [(run, row.setting or self.setting) for run in row.runs()]


class ResultsTable(ConfigModel):
    """``kind: results``: keys of columns are ``KEYS``."""

    kind: Literal["results"]
    title: str
    notes: list[str]
    columns: list[SheetColumn]
    blocks: list[ResultBlock]

    @model_validator(mode="after")
    def _columns_are_known(self) -> Self:
        for column in self.columns:
            if column.key not in KEYS:
                raise ValueError(f"columns: no key {column.key!r} {did_you_mean(column.key, KEYS)}")
        return self

    def cells(self) -> list[RunSetting]:
        """Every (run, setting) that the table needs, once."""
        named = (cell for block in self.blocks for row in block.rows for cell in block.cells(row))
        return list(dict.fromkeys(named))

    def check(self, source: str, root: Path = ROOT) -> None:
        """Refuse names of no run, setting or published row; ``source`` says whose table it is."""
        published = load_published(root)
        for block in self.blocks:
            lists, where = list(published.results), f"{source}: {block.title}"
            if block.published not in lists:
                hint = did_you_mean(block.published, lists)
                raise DimrError(f"{where}: no results {block.published!r} in published.yaml {hint}")
            names = list(published.results[block.published].rows)
            for row in block.rows:
                if row.published is not None and row.published not in names:
                    hint = did_you_mean(row.published, names)
                    raise DimrError(
                        f"{where}: no row {row.published!r} of {block.published} in "
                        f"published.yaml {hint}"
                    )
                for run, setting in block.cells(row):
                    check_settings(f"{where}: {row.title}", run, [setting], root)

    def build(
        self, made: Mapping[RunSetting, RunResult], partial: bool = False, root: Path = ROOT
    ) -> Sheet:
        """Put ours beside what is published.

        Args:
            made: results of ours by run and setting; those that no row names are left out.
            partial: mark what is missing, in place of refusing.
            root: the repository whose published.yaml is read.
        """
        missing = [cell for cell in self.cells() if cell not in made]
        if missing and not partial:
            run, setting = missing[0]
            raise DimrError(
                f"{self.title}: no metrics of {run} at {setting!r} are given ({len(missing)} of "
                f"{len(self.cells())} are missing; a partial table marks them)"
            )
        published = load_published(root)
        blocks = [
            Block(block.title, self.columns, [
                self._line(block, row, published, made, root) for row in block.rows
            ])
            for block in self.blocks
        ]  # fmt: skip
        notes = [*self.notes, *_published_notes(self.blocks, published)]
        return Sheet(self.title, blocks, notes + _missing_note(missing, len(self.cells())))

    def _line(
        self,
        block: ResultBlock,
        row: ResultRow,
        published: PublishedValues,
        made: Mapping[RunSetting, RunResult],
        root: Path,
    ) -> list[Cell]:
        rows = published.results[block.published].rows
        theirs = rows[row.published] if row.published else None
        values = row_values(block, row, theirs, made, root)
        return [_cell(column, values, row.run is not None) for column in self.columns]


def row_values(
    block: ResultBlock,
    row: ResultRow,
    theirs: Result | None,
    made: Mapping[RunSetting, RunResult],
    root: Path = ROOT,
) -> dict[str, Any]:
    """Everything that a column may ask for; ours are means over the seeds that are at hand."""
    cells = block.cells(row)
    there = [one for one in cells if one in made]
    given = theirs.model_dump() if theirs else {}
    authors = row.seeds == "published"
    seeds = "authors' weights" if authors else [run.split("/")[-1] for run, _ in there]
    values: dict[str, Any] = {
        **dict.fromkeys(KEYS),
        "model": row.title,
        "type": given.get("type"),
        "source": given.get("source"),
        "run": row.run,
        "seeds": seeds if there else None,
        "setting": cells[0][1] if cells else None,
        "missing": [f"{run} {setting}" for run, setting in cells if (run, setting) not in made]
        or None,
    }
    for key in ("epochs", "parameters", "gmacs", *METRICS):
        values[f"{key}_published"] = given.get(key)
    if there:
        values |= _our_values([made[one] for one in there], (row.run or "").split("/")[0], root)
    for key in METRICS:
        ours, printed = values[key], values[f"{key}_published"]
        both = ours is not None and printed is not None
        values[f"{key}_difference"] = ours - printed if both else None
    return values


def _our_values(made: Sequence[RunResult], dataset: str, root: Path) -> dict[str, Any]:
    """Means and deviations (n - 1; None of a single seed) over seeds, and what no seed changes."""
    from statistics import fmean, stdev

    values: dict[str, Any] = {key: made[0].cost(key) for key in COSTS}
    values["epochs"] = made[0].epochs(dataset, root)
    values["images"] = round(made[0].number("images"))
    for key in METRICS:
        numbers = [one.number(key) for one in made]
        values[key] = fmean(numbers)
        values[f"{key}_std"] = stdev(numbers) if len(numbers) > 1 else None
    return values


def _cell(column: SheetColumn, values: Mapping[str, Any], ours: bool) -> Cell:
    value, deviation = values[column.key], values.get(f"{column.key}_std")
    if ours and value is None and column.key in (*COSTS, *METRICS) and values["missing"]:
        return Cell(None, MISSING)
    made = cell(value, column.format)
    if deviation is not None:
        return Cell(value, f"{made.text} ± {column.format.format(deviation)}")
    return made


def _published_notes(blocks: Sequence[ResultBlock], published: PublishedValues) -> list[str]:
    """Where published values were seen, and why some are blank."""
    notes, seen = [], []
    for block in blocks:
        listed = published.results[block.published]
        rows = {row.published: listed.rows[row.published] for row in block.rows if row.published}
        seen += [row.source for row in rows.values()]
        said = [f"{name}: {row.note}." for name, row in rows.items() if row.note]
        notes.append(" ".join([f"{block.title}: where blank, {listed.blank}.", *said]))
    words = "; ".join(f"{source}, {SOURCES[source]}" for source in dict.fromkeys(seen))
    return [f"Source of published values: {words}.", *notes]


def _missing_note(missing: Sequence[RunSetting], count: int) -> list[str]:
    if not missing:
        return []
    names = ", ".join(f"{run} {setting}" for run, setting in missing)
    share = "all" if len(missing) == count else str(len(missing))
    return [
        f"{MISSING}: ours is missing, not made yet or of another configuration: {share} of {count} "
        f"({names})."
    ]
