"""The recorded numbers of single runs (``seeds.csv``), where the runs themselves are not available.

A study's tables are committed with every run's numbers beside them, six digits of each: cells are
computed again from these lines as from the runs' own files, within that rounding.
"""

import csv
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dimr.paper.results import RunResult, RunSetting
from dimr.paper.study.results import COSTS, KEYS
from dimr.paper.tables.runs import CHANGES
from dimr.runtime.errors import DimrError

SIX_DIGITS = 1e-5
"""Relative: tables and ``seeds.csv`` are written with six digits, each off by half of the last."""
OF_SPREAD = {"change_low": 2e-4, "change_high": 2e-4}
"""Allowed in ends of intervals, of the largest value behind them: Student's t enlarges rounding."""
SAID = ("model", "setting", "seeds", "missing")
"""Columns of a table that no number of a run stands in."""


class Recorded:
    """``seeds.csv``.

    Args:
        file: the CSV.

    Raises:
        DimrError: a line that is none of ``dimr study-results``.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        with open(file, newline="") as opened:
            reader = csv.DictReader(opened)
            self.columns = list(reader.fieldnames or [])
            self.made = dict(self._result(line) for line in reader)

    def _result(self, line: Mapping[str, str]) -> tuple[RunSetting, RunResult]:
        try:
            cell = (f"{line['dataset']}/{line['model']}/{int(line['seed'])}", line["setting"])
            numbers = {k: float(v) for k, v in line.items() if k not in KEYS and v}
            evaluations = int(line["evaluations"]) if line["evaluations"] else None
        except (KeyError, TypeError, ValueError):
            raise DimrError(f"{self.file}: not written by dimr study-results: {line}") from None
        record: dict[str, Any] = {
            "cost": {key: numbers.pop(key) for key in COSTS if key in numbers},
            "samples": {"config": {"steps": evaluations}},
        }
        return cell, RunResult(self.file, numbers, record)

    def has(self, column: str) -> bool:
        """Whether it says what a column of a table is computed from."""
        return column in self.columns or column in SAID


def load_recorded(file: Path | None) -> Recorded | None:
    """The recorded numbers; None: there are none."""
    return Recorded(file) if file is not None and file.is_file() else None


def same(stated: str, value: str) -> bool:
    """Whether two entries of CSVs are the same, to six digits."""
    try:
        return math.isclose(float(stated), float(value), rel_tol=SIX_DIGITS)
    except ValueError:
        return stated == value


def same_as_recorded(stated: str, value: str, key: str, largest: float) -> bool:
    """Whether an entry is what recorded numbers give, which are rounded themselves.

    Args:
        stated: in the table.
        value: computed of the recorded numbers.
        key: of the column.
        largest: of the recorded numbers, in magnitude.
    """
    if key == "change":
        return _same_text(stated, value)
    spread = key in CHANGES or key.endswith("_std")
    allowed = OF_SPREAD.get(key, 2 * SIX_DIGITS) * largest if spread else 0.0
    try:
        return math.isclose(float(stated), float(value), rel_tol=2 * SIX_DIGITS, abs_tol=allowed)
    except ValueError:
        return stated == value


def _same_text(stated: str, value: str) -> bool:
    """Numbers in words, as of an interval: each to one of its last digit."""
    number = re.compile(r"[-+]?\d+(?:\.(\d+))?")
    if number.sub("#", stated) != number.sub("#", value):
        return False
    pairs = zip(number.finditer(stated), number.finditer(value), strict=True)
    return all(abs(float(a[0]) - float(b[0])) <= 1.001 * 10 ** -len(a[1] or "") for a, b in pairs)
