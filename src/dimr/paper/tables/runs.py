"""Tables of results: each row is a run (once per seed), a published row, or both side by side.

A row of our own has a line for each of its settings; a number is the mean over its seeds. A
complete table has every run; a partial one marks what is missing and lists it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from dimr.config.project import Project
from dimr.config.runs import BASELINE_SETTING
from dimr.config.schema import ConfigModel
from dimr.config.schema.base import repeated
from dimr.config.validation import did_you_mean
from dimr.evaluation.names import METRICS, OF_FEATURES
from dimr.paper.published import load_published
from dimr.paper.results import COSTS, RunSetting, check_setting
from dimr.paper.tables.sheet import Column, Sheet, Table
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

CHANGES = ("change", "change_mean", "change_low", "change_high")
KEYS = [*COSTS, "epochs", "evaluations", "lr", *METRICS, "change", "chosen"]
"""What a column may hold: a metric of the frame of results, the paired change in words, or whether
the results were made with the line's learning rate."""
PRINTED = {
    "epochs": "epochs", "parameters_m": "parameters", "gmacs": "gmacs",
    **{key: key for key in ("fid", "inception_score", "precision", "recall")},
    "fid unguided": "fid_unguided",
}  # fmt: skip
"""What published.yaml calls the columns that may have a published side."""


class NumberColumn(Column):
    """A column of numbers; ``published``: what papers print is shown beside ours.

    ``setting``: of guidance. A table with such columns has one line per row, whatever the settings.
    """

    format: str = "{:.3f}"
    published: bool = False
    setting: str | None = None

    @property
    def name(self) -> str:
        """Name of the column in the CSV, unique in the table."""
        return f"{self.key}_{self.setting}" if self.setting else self.key

    @property
    def printed(self) -> str | None:
        """What published.yaml calls it; None: it has no published side."""
        return PRINTED.get(f"{self.key} {self.setting}", PRINTED.get(self.key))

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.key not in KEYS:
            raise ValueError(f"no key {self.key!r} {did_you_mean(self.key, KEYS)}")
        if self.published and self.key not in PRINTED:
            raise ValueError(f"published: {self.key!r} {did_you_mean(self.key, list(PRINTED))}")
        return self


class Row(ConfigModel):
    """A model.

    ``run`` is ``dataset/model``, trained once for each of ``seeds`` (by default the table's), or
    with the authors' weights; ``settings`` (by default the block's) become lines. ``published`` is
    a name in the block's list of published.yaml, and what is printed unless there is a ``name``.
    """

    name: str = ""
    run: str | None = None
    seeds: list[Annotated[int, Field(ge=0)]] | Literal["published"] | None = None
    settings: list[str] | None = Field(default=None, min_length=1)
    published: str | None = None
    marks: list[str] = Field(default=[])  # of the table's, those that the row has

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


def _named(value: Any) -> Any:
    """A row that is a name is a published row."""
    return {"published": value} if isinstance(value, str) else value


class RowBlock(ConfigModel):
    """Rows under one heading, beside a list of published.yaml; ``settings`` are our runs'."""

    title: str = ""
    published: str | None = None
    settings: list[str] = Field(default=[BASELINE_SETTING], min_length=1)
    rows: list[Annotated[Row, BeforeValidator(_named)]]


@dataclass(frozen=True)
class Line:
    """A line of a table.

    Attributes:
        block: heading of its block.
        title: what is printed.
        run: ``dataset/model``; None: only a published row.
        setting: of guidance; None: only a published row.
        cells: every (run, setting) behind it, seed by seed.
        list: of published.yaml, to which its block is compared.
        published: its row there.
        marks: those of the table's that it has.
    """

    block: str
    title: str
    run: str | None
    setting: str | None
    cells: tuple[RunSetting, ...]
    list: str | None
    published: str | None
    marks: tuple[str, ...] = ()

    @property
    def settings(self) -> tuple[str, ...]:
        """The settings of its cells: several, where settings are columns."""
        return tuple(dict.fromkeys(setting for _, setting in self.cells))


def seed_values(frame: "pd.DataFrame", line: Line, metric: str) -> list[float]:
    """One number of a line, seed by seed; ``DimrError`` if a run does not have it."""
    found = frame[frame["metric"] == metric].set_index(["run", "setting"])["value"].to_dict()
    for run, setting in line.cells:
        if (run, setting) not in found:
            raise DimrError(f"{run}: no {metric} at {setting!r}")
    return [found[cell] for cell in line.cells]


class RunsTable(Table):
    """``kind: runs``, or none: a table of results. It has ``rows``, or ``blocks`` of them."""

    kind: Literal["runs"] = "runs"
    seeds: int = Field(default=1, ge=1)  # number of seeds over which trained rows are averaged
    first_seed: int = Field(default=0, ge=0)  # the first of them
    trials: list[str] = Field(default=[])  # of the recipes: each row has a line for each of them
    milestones: list[str] = Field(default=[])  # likewise; "": the recipe's last step
    columns: list[NumberColumn]
    marks: list[str] = Field(default=[])  # columns of ticks: what a row's network has
    rows: list[Row] = Field(default=[])
    blocks: list[RowBlock] = Field(default=[])
    # A column (lower is better) in which rows are compared, seed by seed: every row minus the
    # row above; or, if paired_row names one, that row minus every other. Adds change (in words),
    # change_mean, change_low and change_high (95%) to the row; and the picture is bars.
    paired: str | None = None
    paired_row: str | None = None
    # A column that is drawn over another, one line per row: [x, y]. That is then the picture.
    curve: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if bool(self.rows) == bool(self.blocks):
            raise ValueError("a table has rows, or blocks of them")
        for block in self._blocks:
            if (twice := repeated([row.title for row in block.rows])) is not None:
                raise ValueError(f"rows: two are called {twice!r}: give one a name")
            for mark in (mark for row in block.rows for mark in row.marks):
                if mark not in self.marks:
                    raise ValueError(f"marks: {mark!r} {did_you_mean(mark, self.marks)}")
        if (twice := repeated([column.name for column in self.columns])) is not None:
            raise ValueError(f"columns: two are {twice!r}")
        if self.paired and self.by_column:
            raise ValueError("paired: not in a table whose columns have settings")
        keys, titles = [one.key for one in self.columns], [one.title for one in self.lines]
        for what, named in (("paired", [self.paired]), ("curve", self.curve or [])):
            for key in named:
                if key is not None and key not in keys:
                    raise ValueError(f"{what}: {key!r} is no column ({', '.join(keys)})")
        if self.paired and self.curve:
            raise ValueError("paired and curve: a table has one picture")
        if self.paired_row is not None and self.paired is None:
            raise ValueError("paired_row: needs paired, the column to compare")
        if self.paired_row is not None and self.paired_row not in titles:
            hint = did_you_mean(self.paired_row, list(dict.fromkeys(titles)))
            raise ValueError(f"paired_row: no row {self.paired_row!r} {hint}")
        return self

    @property
    def by_column(self) -> bool:
        """Whether settings are columns, and a row has one line."""
        return any(column.setting for column in self.columns)

    @property
    def _blocks(self) -> list[RowBlock]:
        """The blocks; rows without blocks form one."""
        return self.blocks or [RowBlock(rows=self.rows)]

    @cached_property
    def lines(self) -> list[Line]:
        """A line for each row and setting, in order."""
        return [
            Line(block.title, row.title, run, settings[0] if len(settings) == 1 else None,
                 tuple(cell for one in settings for cell in self._cells(row, run, one)),
                 block.published, row.published, tuple(row.marks))
            for block in self._blocks
            for row in block.rows
            for run in self._runs(row)
            for settings in self._settings(row, block)
        ]  # fmt: skip

    def _runs(self, row: Row) -> list[str | None]:
        """A row's run, or its trials or milestones."""
        ends = self.trials or self.milestones
        return [f"{row.run}-{end}" if end else row.run for end in ends] if ends else [row.run]

    def _settings(self, row: Row, block: RowBlock) -> list[list[str]]:
        """The settings of each line that a row has."""
        if row.run is None:
            return [[]]
        if self.by_column:
            return [list(dict.fromkeys(one.setting for one in self.columns if one.setting))]
        return [[setting] for setting in row.settings or block.settings]

    def _cells(self, row: Row, run: str | None, setting: str) -> Iterator[RunSetting]:
        """A row's runs at a setting; baselines depend on no seed."""
        first = 0 if setting == BASELINE_SETTING else self.first_seed
        seeds = range(first, first + (1 if setting == BASELINE_SETTING else self.seeds))
        for seed in ["published"] if row.seeds == "published" else row.seeds or seeds:
            yield f"{run}/{seed}", setting

    def cells(self) -> list[RunSetting]:
        """Every (run, setting), once."""
        return list(dict.fromkeys(cell for line in self.lines for cell in line.cells))

    @property
    def pictured(self) -> bool:
        """Tables without a published side have a picture."""
        return not any(line.list for line in self.lines)

    def files(self, root: Path) -> list[str]:  # noqa: ARG002
        """published.yaml, if anything published is shown."""
        return [] if self.pictured else ["experiments/published.yaml"]

    def title_of(self, key: str) -> str:
        """The heading of a column."""
        return next(column.title for column in self.columns if column.key == key)

    def compared(self, line: Line) -> tuple[Line, Line] | None:
        """The two lines whose difference, the first minus the second, a line shows."""
        titles = list(dict.fromkeys(one.title for one in self.lines))
        above = titles[max(0, titles.index(line.title) - 1)]
        pair = (self.paired_row, line.title) if self.paired_row else (line.title, above)
        at = {one.title: one for one in self.lines if one.setting == line.setting}
        found = [at[name] for name in dict.fromkeys(pair) if name in at]
        return (found[0], found[1]) if self.paired and len(found) == 2 else None

    def check(self, source: str, project: Project) -> None:
        """Refuse names that are no run, setting or published row; ``source`` names the table."""
        lists = load_published(project).results
        for line in self.lines:
            where = f"{source}: {line.block}" if line.block else source
            if line.list is not None and line.list not in lists:
                hint = did_you_mean(line.list, list(lists))
                raise DimrError(f"{where}: no results {line.list!r} in published.yaml {hint}")
            names = list(lists[line.list].rows) if line.list else []
            if line.published is not None and line.published not in names:
                hint = did_you_mean(line.published, names)
                raise DimrError(
                    f"{where}: no row {line.published!r} of {line.list} in published.yaml {hint}"
                )
            first = {setting: run for run, setting in reversed(line.cells)}
            for setting, run in first.items():  # right for all seeds, or for none
                check_setting(f"{where}: {line.title}", run, setting, project)
        self._check_features(source, project)

    def _check_features(self, source: str, project: Project) -> None:
        """Refuse a column whose values use different features, which are not comparable."""
        of_features = [column.title for column in self.columns if column.key in OF_FEATURES]
        seen: dict[str, str] = {}  # a dataset by the features that its metrics use
        for dataset in dict.fromkeys(line.run.split("/")[0] for line in self.lines if line.run):
            evaluate = project.recipe(dataset).evaluate
            of_set = evaluate.extractor == "classifier"  # each set has its own
            seen.setdefault(f"{dataset}'s classifier" if of_set else evaluate.extractor, dataset)
        if of_features and len(seen) > 1:
            (one, first), (other, second), *_ = seen.items()
            raise DimrError(
                f"{source}: column {of_features[0]!r}: rows of {first} ({one}) and of {second} "
                f"({other}) do not compare: make a table of each"
            )

    def fill(self, project: Project, frame: "pd.DataFrame", partial: bool = False) -> Sheet:
        """Mean and deviation over seeds, what is published, and the paired change.

        Raises:
            DimrError: for a complete table: a column for which no row has a value.
        """
        from dimr.paper.tables.filling import Filling  # it imports this module

        return Filling(self, project, frame, partial).sheet()
