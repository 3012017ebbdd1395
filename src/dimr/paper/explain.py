"""Where a cell of a table comes from (``dimr why``): its origin, and what made the runs behind it.

The table is filled again from the results behind the cell (reading refuses what was changed by
hand) and compared with what the CSV states. If runs are not available, the study's recorded numbers
of single runs (``seeds.csv``, six digits of each) replace all of them: runs and recorded numbers
are never mixed in one value.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dimr.config.project import Project
from dimr.config.validation import did_you_mean
from dimr.paper.results import (
    RunResult,
    RunSetting,
    metrics_file,
    numbers,
    read_results,
    recorded,
)
from dimr.paper.tables.definitions import place_of
from dimr.paper.tables.render import csv_value
from dimr.paper.tables.runs import RunsTable
from dimr.paper.tables.sheet import Block, Cell, Column, Sheet
from dimr.paper.trace import SIX_DIGITS, trace
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["agrees", "wrong", "unchecked"]
SIDES = ("_published", "_difference", "_std")
"""Ends of a column's key that follow the setting, if settings are columns."""
SPREAD = {"change_mean": 2 * SIX_DIGITS, "change_low": 2e-4, "change_high": 2e-4}
"""Tolerances of a change, relative to the largest value behind it: Student's t enlarges errors."""


@dataclass(frozen=True)
class Explanation:
    """A cell and everything behind it.

    Attributes:
        table: the CSV; ``block``, ``row``, ``setting``, ``column`` and ``heading`` say which cell.
        value: as computed now, in the CSV's notation; "" if blank, or not computed; ``text`` is its
            printed form.
        stated: what the CSV has; None: it has no such line or column.
        verdict: on the stated value; unchecked: runs are not available, and nothing is recorded.
        seeds: the file of recorded numbers that the value was computed from; None: the runs' own.
        how: the cell's origin in words.
        runs: what made each available run's value (``trace``), in the order of seeds; ``recorded``
            is the number in ``seeds.csv`` (None: none), which a rerun may differ from.
        missing: runs that are not available, with ``recorded`` and the command that makes each.
        command: makes the table from them again.
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
        """``4 of 5 runs are not available here``, or that those which exist are reruns."""
        total, gone = len(self.runs) + len(self.missing), len(self.missing)
        if not gone:
            return "the runs here are reruns of the recorded ones, with other numbers"
        if total == 1:
            return "its run is not available here"
        return f"{gone} of {total} runs {'is' if gone == 1 else 'are'} not available here"

    @property
    def cell(self) -> str:
        """Its name, for messages."""
        return f"row {self.row!r}, setting {self.setting}, column {self.column}"


class Explainer:
    """Explains the cells of a table.

    Args:
        table: its CSV, Markdown or LaTeX.
        runs: the folder of runs; None: ``runs`` beside ``results``.
        root: the repository whose ``experiments`` are read; None: where ``results`` is.

    Raises:
        DimrError: a table that is not defined or does not exist.
    """

    def __init__(self, table: Path, runs: Path | None = None, root: Path | None = None) -> None:
        self.place = place_of(table)
        self.runs = runs or self.place.folder / "runs"
        self.project = Project(root or self.place.folder)
        self.table = self.place.table(self.project)
        self.table.check(f"{Path(self.place.name).name}.yaml", self.project)
        self.stated = self.place.stated()
        self.nothing = numbers({}, self.project)
        known = self.place.seeds.is_file() and not self.place.kind
        self.known = recorded(self.place.seeds) if known else self.nothing

    @cached_property
    def empty(self) -> Sheet:
        """The table without results: its rows and columns, and what each cell is made from."""
        return self.table.fill(self.project, self.nothing, partial=True)

    @cached_property
    def of_recorded(self) -> Sheet:
        """The table of the recorded numbers."""
        return self.table.fill(self.project, self.known, partial=True)

    def explain(self, row: str, column: str, setting: str | None = None) -> list[Explanation]:
        """Explain a cell; several, where rows of the same name differ in block or setting.

        Args:
            row: its title, or its run or variant.
            column: a key or a heading.
            setting: of guidance, of a row or of a column; None: every one that the row has.

        Raises:
            DimrError: an unknown name, or results that were changed by hand, are damaged or of
                another configuration.
        """
        if setting and isinstance(self.table, RunsTable) and self.table.by_column:
            side = next(filter(column.endswith, SIDES), "")
            column, setting = f"{column.removesuffix(side)}_{setting}{side}", None
        return [self._explain(*at, column) for at in self._rows(row, setting)]

    def _explain(self, b: int, r: int, asked: str) -> Explanation:
        block = self.empty.blocks[b]
        c = choose_column(block.columns, asked, str(self.place.csv))
        column, origin = block.columns[c], block.rows[r][c].origin
        made = self._read(origin.cells)
        here = numbers(made, self.project)
        sheet = self.empty if here.empty else self.table.fill(self.project, here, partial=True)
        values, known = _values(here, origin.metric), _values(self.known, origin.metric)
        of_recorded = None
        if origin.cells and all(cell in known for cell in origin.cells):
            of_recorded = self.of_recorded.blocks[b].rows[r][c]
        line, fresh = self._stated_line(block, r), sheet.blocks[b].rows[r][c]
        verdict, shown = self._judge(column.key, line, made, fresh, of_recorded)
        return Explanation(
            table=str(self.place.csv),
            block=block.title,
            row=block.rows[r][0].text,
            setting=_setting(block, r),
            column=column.key,
            heading=column.heading,
            value=_text(shown) if shown else "",
            text=shown.text if shown else "",
            stated=line.get(column.key) if line else None,
            verdict=verdict,
            seeds=str(self.place.seeds) if shown and shown is of_recorded else None,
            how=shown.origin.how if shown else "",
            runs=[
                {**trace(one, *cell), "value": values.get(cell), "recorded": known.get(cell)}
                for cell, one in made.items()
            ],
            missing=[
                {"run": run, "setting": setting, "file": file, "command": f"snakemake -- {file}",
                 "recorded": known.get((run, setting))}
                for run, setting in origin.cells if (run, setting) not in made
                for file in [f"runs/{metrics_file(run, setting)}"]
            ],
            command=f"snakemake --force -- {self.place.target}",
        )  # fmt: skip

    def _judge(
        self,
        key: str,
        line: dict[str, str] | None,
        made: Mapping[RunSetting, RunResult],
        fresh: Cell,
        of_recorded: Cell | None,
    ) -> tuple[Verdict, Cell | None]:
        """The verdict on what the CSV states, and the cell that decided it; None: unchecked."""
        if line is None or (stated := line.get(key)) is None:
            return "wrong", fresh
        cells = fresh.origin.cells
        decided = of_recorded is not None and len(made) < len(cells)  # by the recorded numbers
        if same(stated, _text(fresh)) and not decided:
            return "agrees", fresh
        if of_recorded is not None:
            known = _values(self.known, fresh.origin.metric)
            largest = max(abs(known[cell] or 0.0) for cell in cells)
            right = same_as_recorded(stated, _text(of_recorded), key, largest)
            if right or decided:
                return ("agrees" if right else "wrong"), of_recorded
        absent = set(cells) - set(made)
        if self.place.kind == "partial":  # made from runs that are not available any more
            lost = any(f"{run} {name}" not in line.get("missing", "") for run, name in absent)
        else:
            lost = bool(absent) or (of_recorded is None and self._are_reruns(made))
        return ("unchecked", None) if lost else ("wrong", fresh)

    def _are_reruns(self, made: Mapping[RunSetting, RunResult]) -> bool:
        """Whether runs are recorded with numbers other than those here."""
        both = numbers(made, self.project).merge(self.known, on=["run", "setting", "metric"])
        pairs = zip(both["value_x"], both["value_y"], strict=True)
        return any(not math.isclose(*pair, rel_tol=SIX_DIGITS) for pair in pairs)

    def _read(self, cells: Sequence[RunSetting]) -> dict[RunSetting, RunResult]:
        """For a partial table, results of this configuration; for another, all that exist."""
        partial = self.place.kind == "partial"
        there = [one for one in cells if partial or (self.runs / metrics_file(*one)).is_file()]
        return read_results(self.project, self.runs, there, partial)

    def _rows(self, asked: str, setting: str | None) -> list[tuple[int, int]]:
        """Block and number of the rows of a title, or else of a run or variant."""
        source, blocks = self.place.csv, self.empty.blocks
        every = {(b, r): block.rows[r][0].text
                 for b, block in enumerate(blocks) for r in range(len(block.rows))}  # fmt: skip
        found = [at for at, title in every.items() if plain(title) == plain(asked)] or [
            (b, r) for b, r in every if plain(asked) in map(plain, blocks[b].names[r])
        ]
        if not found:
            hint = did_you_mean(asked, list(dict.fromkeys(every.values())))
            raise DimrError(f"{source}: no row {asked!r} {hint}")
        settings = {(b, r): _setting(blocks[b], r) or "none" for b, r in found}
        narrowed = [at for at in found if setting is None or plain(settings[at]) == plain(setting)]
        if not narrowed:
            hint = did_you_mean(str(setting), list(dict.fromkeys(settings.values())))
            raise DimrError(f"{source}: {every[found[0]]}: no setting {setting!r} {hint}")
        return narrowed

    def _stated_line(self, block: Block, number: int) -> dict[str, str] | None:
        """The CSV's line of a row, identified by block, name and setting.

        Of rows that share these (milestones of one training), the first row has the first line.
        """
        keys = [column.key for column in block.columns]
        rows = [dict(zip(keys, map(_text, row), strict=True)) for row in block.rows[: number + 1]]
        if len(self.empty.blocks) > 1:
            rows = [{**row, "block": block.title} for row in rows]
        named = [key for key in ("block", "model", "setting", "run") if key in rows[-1]]
        wanted = [rows[-1][key] for key in named]
        before = sum([row[key] for key in named] == wanted for row in rows[:-1])
        lines = (one for one in self.stated if [one.get(key) for key in named] == wanted)
        return next(islice(lines, before, None), None)


# --- names and numbers ----------------------------------------------------------------------------


def plain(name: str) -> str:
    """Small letters and digits only: DiMR-XL/2R is dimr-xl-2r."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def choose_column(columns: Sequence[Column], asked: str, source: str) -> int:
    """Number of a column by its key, its heading, or the first of those that share a heading."""
    for name in ("key", "heading", "title", "group"):
        found = [n for n, one in enumerate(columns) if plain(asked) == plain(getattr(one, name))]
        if plain(asked) and found and (len(found) == 1 or name == "group"):
            return found[0]
    hint = did_you_mean(asked, [one.key for one in columns])
    raise DimrError(f"{source}: no column {asked!r} {hint}")


def _setting(block: Block, number: int) -> str | None:
    """The setting of a row; None: it has none."""
    keys = [column.key for column in block.columns]
    return block.rows[number][keys.index("setting")].value if "setting" in keys[1:] else None


def _text(cell: Cell) -> str:
    """A cell as the CSV has it."""
    return "" if cell.value is None else str(csv_value(cell.value))


def _values(frame: "pd.DataFrame", metric: str) -> dict[RunSetting, float | None]:
    """One number of every run and setting; without a metric, None for each that exists."""
    chosen = frame[frame["metric"] == metric] if metric else frame.assign(value=None)
    cells = zip(chosen["run"], chosen["setting"], strict=True)
    return dict(zip(cells, chosen["value"], strict=True))


def same(stated: str, value: str, tolerance: float = SIX_DIGITS, allowed: float = 0.0) -> bool:
    """Whether two entries of CSVs are the same, to six digits."""
    try:
        return math.isclose(float(stated), float(value), rel_tol=tolerance, abs_tol=allowed)
    except ValueError:
        return stated == value


def same_as_recorded(stated: str, value: str, key: str, largest: float) -> bool:
    """Whether an entry is what recorded numbers give, which are rounded themselves.

    Args:
        stated: in the table.
        value: computed from the recorded numbers.
        key: of the column.
        largest: of the recorded numbers, in magnitude.
    """
    if key != "change":
        spread = SPREAD.get(key, 2 * SIX_DIGITS if key.endswith("_std") else 0.0)
        return same(stated, value, 2 * SIX_DIGITS, spread * largest)
    number = re.compile(r"[-+]?\d+(?:\.(\d+))?")  # in words: each to one of its last digit
    if number.sub("#", stated) != number.sub("#", value):
        return False
    pairs = zip(number.finditer(stated), number.finditer(value), strict=True)
    return all(abs(float(a[0]) - float(b[0])) <= 1.001 * 10 ** -len(a[1] or "") for a, b in pairs)
