"""Tables as files: rows are runs with their settings, cells are mean and deviation over seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Self

from pydantic import Field, model_validator

from dimr.config.runs import BASELINE_SETTING, ROOT, did_you_mean, load_section
from dimr.config.schema import ConfigModel
from dimr.config.schema.base import repeated
from dimr.paper.results import RunResult, RunSetting, check_settings, read_cells
from dimr.paper.statistics import Change, paired_change
from dimr.paper.tables.sheets import MISSING, Block, Cell, Sheet, SheetColumn
from dimr.runtime.errors import DimrError

COSTS = ("parameters_m", "gmacs", "train_seconds", "evaluations")
METRICS = (
    "fid", "fid_digits", "inception_score", "inception_score_std", "precision", "recall",
    "class_accuracy", "nearest_distance", "heldout_nearest_distance", "nearest_ratio",
    "near_copy_share", "images",
)  # fmt: skip
CHANGES = ("change", "change_mean", "change_low", "change_high")
KEYS = [*COSTS, *METRICS, "change"]
"""What a column may hold."""


class Row(ConfigModel):
    """One model of a table: a run without its seed, and the settings that become lines."""

    name: str
    run: str  # dataset/model
    settings: list[str] = Field(default=[BASELINE_SETTING], min_length=1)


class Column(ConfigModel):
    """A column: the key in the metrics or the cost of the model, its heading and format."""

    key: str
    title: str
    format: str = "{:.3f}"

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.key not in KEYS:
            raise ValueError(f"no key {self.key!r} {did_you_mean(self.key, KEYS)}")
        return self


class Table(ConfigModel):
    """A table's definition (``experiments/tables``)."""

    title: str
    notes: list[str]
    seeds: int = Field(ge=1)  # every trained row is averaged over seeds 0..seeds-1
    columns: list[Column]
    rows: list[Row]
    # A column, the lower the better, that rows are compared in, seed by seed: every row less the
    # row above; or, if paired_row names one, that row less every other. Adds change (in words),
    # change_mean, change_low and change_high (95%) to the row; and the picture is bars.
    paired: str | None = None
    paired_row: str | None = None
    # A column that is drawn over another, one line a row: [x, y]. The picture is then that of them.
    curve: tuple[str, str] | None = None

    @model_validator(mode="after")
    def _names_are_columns(self) -> Self:
        keys = [column.key for column in self.columns]
        for key in filter(None, (self.paired, *(self.curve or ()))):
            if key not in keys:
                what = "paired" if key == self.paired else "curve"
                raise ValueError(f"{what}: {key!r} is no column ({', '.join(keys)})")
        if self.paired and self.curve:
            raise ValueError("paired and curve: a table has one picture")
        return self

    @model_validator(mode="after")
    def _names_are_rows(self) -> Self:
        names = [row.name for row in self.rows]
        if (twice := repeated(names)) is not None:
            raise ValueError(f"rows: two are called {twice!r}")
        if self.paired_row is not None and self.paired is None:
            raise ValueError("paired_row: needs paired, the column to compare")
        if self.paired_row is not None and self.paired_row not in names:
            raise ValueError(
                f"paired_row: no row {self.paired_row!r} {did_you_mean(self.paired_row, names)}"
            )
        return self

    def title_of(self, key: str) -> str:
        """The heading of a column."""
        return next(column.title for column in self.columns if column.key == key)

    def runs(self, row: Row) -> list[str]:
        """Run names of a row: baselines depend on no seed."""
        seeds = 1 if row.settings == [BASELINE_SETTING] else self.seeds
        return [f"{row.run}/{seed}" for seed in range(seeds)]

    def line(self, row: Row, setting: str) -> list[RunSetting]:
        """Every (run, setting) behind a row at a setting, seed by seed."""
        return [(run, setting) for run in self.runs(row)]

    def cells(self) -> list[RunSetting]:
        """Every (run, setting) that the table needs."""
        lines = (self.line(row, setting) for row in self.rows for setting in row.settings)
        return [cell for line in lines for cell in line]

    def compared(self, row: Row, setting: str) -> tuple[Row, Row] | None:
        """The two rows whose difference, the first less the second, stands in a row's line."""
        if self.paired is None:
            return None
        if self.paired_row is None:
            index = self.rows.index(row)
            pair = (row, self.rows[index - 1]) if index else None
        else:
            named = next(one for one in self.rows if one.name == self.paired_row)
            pair = (named, row) if named != row else None
        met = pair is not None and all(setting in one.settings for one in pair)
        return pair if met else None

    def check(self, source: str, root: Path = ROOT) -> None:
        """Refuse names of no run or setting; ``source`` says whose table it is.

        The first seed stands for the others: a run's name is right for all seeds or for none.
        """
        for row in self.rows:
            check_settings(f"{source}: {row.name}", self.runs(row)[0], row.settings, root)


def load_table(path: Path) -> Table:
    """Read a table's definition; ``DimrError`` names the file and the key."""
    return load_section(Table, path)


def seed_values(table: Table, runs: Path, row: Row, setting: str, key: str) -> list[float]:
    """One column of a row at a setting, seed by seed; ``DimrError`` if a run has no such value."""
    values = []
    for one in read_cells(runs, table.line(row, setting)).values():
        value = one.value(key)
        values.append(one.number(key) if value is None else value)
    return values


# --- filling it -----------------------------------------------------------------------------------


def table_sheet(table: Table, made: Mapping[RunSetting, RunResult], partial: bool = False) -> Sheet:
    """The table's lines, one a row and setting, as they are printed and as machines read them.

    Args:
        table: the definition.
        made: results by run and setting; those that no row names are left out.
        partial: mark what is missing, in place of refusing.

    Raises:
        DimrError: a result that is missing, or a column that no row has a value for.
    """
    missing = [cell for cell in table.cells() if cell not in made]
    if missing and not partial:
        run, setting = missing[0]
        raise DimrError(
            f"{table.title}: no metrics of {run} at {setting!r} ({len(missing)} of "
            f"{len(table.cells())} are missing; a partial table marks them)"
        )
    lines = [_line(table, row, setting, made) for row in table.rows for setting in row.settings]
    for column in table.columns:
        if not partial and all(line[column.key].value is None for line in lines):
            raise DimrError(f"{table.title}: no row has a value for column {column.key!r}")
    columns = _columns(table, partial)
    rows = [[line[column.key] for column in columns] for line in lines]
    return Sheet(table.title, [Block("", columns, rows)], [*table.notes, *missing_notes(missing)])


def missing_notes(missing: Sequence[RunSetting]) -> list[str]:
    """What a partial table says below of what it has not; no line if it is complete."""
    if not missing:
        return []
    names = ", ".join(f"{run} {setting}" for run, setting in missing)
    return [f"{MISSING}: not made yet, or of another configuration: {names}."]


def _columns(table: Table, partial: bool) -> list[SheetColumn]:
    columns = [
        SheetColumn(key="model", title="Model", left=True),
        SheetColumn(key="setting", title="Setting", left=True),
        SheetColumn(key="seeds", title="Seeds", csv_only=not partial),
    ]
    for column in table.columns:
        columns.append(SheetColumn(key=column.key, title=column.title, format=column.format))
        if column.key != "change" and table.seeds > 1:
            key, title = f"{column.key}_std", f"{column.title}, deviation"
            columns.append(SheetColumn(key=key, title=title, csv_only=True))
    shown = [column.key for column in columns]
    hidden = [key for key in CHANGES if table.paired and key not in shown]
    hidden += ["missing"] if partial else []
    return [*columns, *(SheetColumn(key=key, title=key, csv_only=True) for key in hidden)]


def _line(
    table: Table, row: Row, setting: str, made: Mapping[RunSetting, RunResult]
) -> dict[str, Cell]:
    cells = table.line(row, setting)
    there = [made[cell] for cell in cells if cell in made]
    missing = "; ".join(f"{run} {setting}" for run, setting in cells if (run, setting) not in made)
    line = {
        "model": Cell(row.name, row.name),
        "setting": Cell(setting, setting),
        "seeds": Cell(len(there), str(len(there))),
        "missing": Cell(missing or None, missing),
        **_change_cells(table, row, setting, made),
    }
    for column in table.columns:
        if column.key == "change":
            continue
        values = [value for one in there if (value := one.value(column.key)) is not None]
        deviation = stdev(values) if len(values) > 1 else None
        mean = fmean(values) if values else None
        line[column.key] = _number_cell(column, mean, deviation, absent=not there)
        line[f"{column.key}_std"] = Cell(_rounded(deviation), "")
    return line


def _number_cell(column: Column, mean: float | None, deviation: float | None, absent: bool) -> Cell:
    if mean is None:
        return Cell(None, MISSING if absent else "")
    text = column.format.format(mean)
    if deviation is not None and deviation > 1e-9 * abs(mean):  # not the same for every seed
        text += f" ± {column.format.format(deviation)}"
    return Cell(_rounded(mean), text)


def _rounded(value: float | None) -> str | None:
    """Six digits: the same text on machines that differ in the last bits."""
    return None if value is None else f"{value:.6g}"


def change_of(
    table: Table, row: Row, setting: str, made: Mapping[RunSetting, RunResult]
) -> Change | None:
    """How two rows compare at a setting, over the seeds that both are made with; None: none."""
    pair = table.compared(row, setting)
    if pair is None or table.paired is None:
        return None
    lines = zip(*(table.line(one, setting) for one in pair), strict=True)
    both = [[made[cell] for cell in cells] for cells in lines if all(c in made for c in cells)]
    if not both:
        return None
    first, second = ([one.number(table.paired) for one in side] for side in zip(*both, strict=True))
    return paired_change(first, second)


def _change_cells(
    table: Table, row: Row, setting: str, made: Mapping[RunSetting, RunResult]
) -> dict[str, Cell]:
    change = change_of(table, row, setting, made)
    if change is None:
        text = MISSING if table.compared(row, setting) else ""
        return {key: Cell(None, text if key == "change" else "") for key in CHANGES}
    numbers = (change.mean, change.low, change.high)
    texts = [change.text(), *map(_rounded, numbers)]
    return {key: Cell(text, text or "") for key, text in zip(CHANGES, texts, strict=True)}
