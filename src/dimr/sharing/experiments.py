"""DVC's experiments as a table that fits a terminal.

``dvc exp show`` has a column for each metric of each setting and for each file that a stage
depends on, and its configuration cannot leave any out. Here a column is a setting's FID, or a
parameter that differs.
"""

import csv
import io
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dimr.paper.tables.layout import text_lines
from dimr.paper.tables.runs import METRICS
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

COMMAND = ("-m", "dvc", "exp", "show", "--csv", "--only-changed", "--drop")
FILES = r"(src|data|experiments)/|runs/workspace/(config|model|samples)"
"""How columns begin that are not numbers: checksums of what stages read."""
METRIC = re.compile(r"runs/workspace/metrics/(\w+)\.json:(\w+)")
ABSENT = ("", "!")


def experiments_text(metrics: Sequence[str], root: Path) -> list[str]:
    """Every experiment of the newest commit, its metrics, and parameters that differ, as lines.

    Args:
        metrics: keys that are shown of each setting.
        root: the repository.

    Raises:
        DimrError: an unknown metric, or what DVC complains of.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise DimrError(f"--metric {unknown[0]}: no such metric (allowed: {', '.join(METRICS)})")
    others = rf".*json:(?!({'|'.join(metrics)})$)"
    done = subprocess.run(
        [sys.executable, *COMMAND, f"({FILES}|{others})"], cwd=root, capture_output=True, text=True
    )
    if done.returncode:
        raise DimrError(f"dvc exp show: {single_line(done.stderr or done.stdout)[-300:]}")
    return table_of_experiments(done.stdout)


def table_of_experiments(text: str) -> list[str]:
    """The lines, of DVC's CSV."""
    rows = list(csv.DictReader(io.StringIO(text)))
    if not any(row.get("typ") for row in rows):  # of none DVC writes a line without columns
        return ["no experiments: dvc exp run -S KEY=VALUE"]
    columns = [name for name in rows[0] if name not in ("Experiment", "rev", "typ", "Created")]
    heads = ["Experiment", "Made", *map(_heading, columns)]
    body = [
        [
            _name(row),
            row["Created"][:16].replace("T", " "),
            *(_value(row[name]) for name in columns),
        ]
        for row in rows
    ]
    return text_lines(heads, body, [False, False, *[True] * len(columns)])


def _heading(column: str) -> str:
    """``guided fid_digits`` of a metric; a parameter as it is."""
    found = METRIC.fullmatch(column)
    return f"{found[1]} {found[2]}" if found else column


def _name(row: dict[str, str]) -> str:
    """An experiment below the commit that it began from."""
    if row["typ"] == "baseline":
        return row["rev"]
    return f"  {row['rev']} {row['Experiment']}".rstrip()


def _value(text: str) -> str:
    if text in ABSENT:
        return ""
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text
