"""Tables as files: rows are runs with their settings, cells are mean and deviation over seeds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import Field, model_validator

from dimr.errors import DimrError
from dimr.experiment import BASELINE_SETTING, load_section
from dimr.files import atomic_file, read_json, write_text
from dimr.reporting.layout import markdown_lines
from dimr.reporting.paired import paired_change
from dimr.settings import Section

if TYPE_CHECKING:  # the Snakefile reads definitions only: it need not wait for pandas
    import pandas as pd


class Row(Section):
    """One model of a table: a run without its seed, and the settings that become lines."""

    name: str
    run: str  # dataset/model
    settings: list[str] = Field(default=[BASELINE_SETTING])


class Column(Section):
    """A column: the key in the metrics or the cost of the model, its heading and format."""

    key: str
    title: str
    format: str = "{:.3f}"


class Table(Section):
    """A table's definition (``experiments/tables``)."""

    title: str
    notes: list[str]
    seeds: int = Field(ge=1)  # every trained row is averaged over seeds 0..seeds-1
    columns: list[Column]
    rows: list[Row]
    # A column, the lower the better, that every row is compared in, seed by seed, with the row
    # above: adds change (in words), change_mean, change_low and change_high (95%); and bars.
    paired: str | None = None
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

    def title_of(self, key: str) -> str:
        """The heading of a column."""
        return next(column.title for column in self.columns if column.key == key)

    def runs(self, row: Row) -> list[str]:
        """Run names of a row: baselines depend on no seed."""
        seeds = 1 if row.settings == [BASELINE_SETTING] else self.seeds
        return [f"{row.run}/{seed}" for seed in range(seeds)]

    def cells(self) -> list[tuple[str, str]]:
        """Every (run, setting) that the table needs."""
        return [
            (run, setting)
            for row in self.rows
            for setting in row.settings
            for run in self.runs(row)
        ]


def load_table(path: Path) -> Table:
    """Read a table's definition; ``DimrError`` names the file and the key."""
    return load_section(Table, path)


def _values(runs: Path, run: str, setting: str) -> dict[str, Any]:
    """Metrics and costs of one run at one setting, and the network evaluations of an image."""
    values = read_json(runs / run / "metrics" / f"{setting}.json")
    record = read_json(runs / run / "provenance" / f"{setting}.json")
    asked = record.get("samples", {}).get("config", {})
    evaluations = {"evaluations": asked["steps"]} if "steps" in asked else {}
    return {**record["cost"], **evaluations, **values}


def seed_values(table: Table, runs: Path, row: Row, setting: str, key: str) -> list[float]:
    """One column of a row at a setting, seed by seed."""
    return [_values(runs, run, setting)[key] for run in table.runs(row)]


def _change(table: Table, runs: Path, index: int, setting: str) -> dict[str, Any]:
    """How the row at ``index`` compares with the one above it (none: empty cells)."""
    names = ["change", "change_mean", "change_low", "change_high"]
    rows = table.rows[max(0, index - 1) : index + 1]
    if table.paired is None:
        return {}
    if len(rows) < 2 or setting not in rows[0].settings:
        return dict.fromkeys(names)
    above, own = (seed_values(table, runs, row, setting, table.paired) for row in rows)
    change = paired_change(own, above)
    text = f"{change.mean:+.2f}"
    if change.low is not None:
        text += f" [{change.low:+.2f}, {change.high:+.2f}]"
    values = [f"{text}, {change.verdict()}", change.mean, change.low, change.high]
    return dict(zip(names, values, strict=True))


def collect_rows(table: Table, runs: Path) -> "pd.DataFrame":
    """One line per row and setting: name, setting, seeds, then mean and ``_std`` of each column.

    The standard deviation (n - 1) is empty where there is one seed.
    """
    import pandas as pd

    lines = []
    for index, row in enumerate(table.rows):
        for setting in row.settings:
            names = table.runs(row)
            frame = pd.DataFrame([_values(runs, run, setting) for run in names])
            line: dict[str, Any] = {"model": row.name, "setting": setting, "seeds": len(names)}
            line.update(_change(table, runs, index, setting))
            for column in table.columns:
                if column.key in line:
                    continue
                cell = frame[column.key] if column.key in frame else pd.Series(dtype=float)
                line[column.key] = cell.mean() if len(cell) else None
                if len(names) > 1:
                    line[f"{column.key}_std"] = cell.std(ddof=1)
            lines.append(line)
    unknown = [c.key for c in table.columns if all(line[c.key] is None for line in lines)]
    if unknown:
        raise DimrError(f"{table.title}: no row has a value for column {unknown[0]!r}")
    return pd.DataFrame(lines)


def _markdown_cell(line: Any, column: Column) -> str:
    value, deviation = line[column.key], line.get(f"{column.key}_std")
    if value is None or value != value:  # missing: None, or pandas' NaN
        return ""
    text = column.format.format(value)
    if deviation is not None and deviation > 1e-9 * abs(value):  # not the same for every seed
        text += f" ± {column.format.format(deviation)}"
    return text


def to_markdown(table: Table, frame: "pd.DataFrame") -> str:
    """The table for people, with its notes."""
    heads = ["Model", "Setting", *(column.title for column in table.columns)]
    body = [
        [line["model"], line["setting"], *(_markdown_cell(line, c) for c in table.columns)]
        for _, line in frame.iterrows()
    ]
    right = [False, False, *[True] * len(table.columns)]
    lines = [f"**{table.title}**", "", *markdown_lines(heads, body, right), ""]
    return "\n".join([*lines, *(f"- {note}" for note in table.notes)]) + "\n"


def write_table(table: Table, runs: Path, csv: Path, markdown: Path) -> str:
    """Write the table as CSV and Markdown; return the Markdown."""
    frame = collect_rows(table, runs)
    with atomic_file(csv) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.6g")
    text = to_markdown(table, frame)
    write_text(markdown, text)
    return text
