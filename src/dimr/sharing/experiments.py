"""DVC's experiments as a table that fits a terminal.

``dvc exp show`` has a column for each metric of each setting and for each file that a stage
depends on, and its configuration cannot leave any out. Here a column is a setting's FID, or a
parameter that differs.
"""

import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dimr.evaluation.names import METRICS
from dimr.paper.tables.render import text_lines
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

COMMAND = ("-m", "dvc", "exp", "show", "--csv", "--only-changed", "--drop")
FILES = r"(src|data|experiments)/|runs/workspace/(config|model|samples)"
"""How columns begin that are not numbers: checksums of what stages read."""
METRIC = r"runs/workspace/metrics/(\w+)\.json:(\w+)"


def experiments_text(metrics: Sequence[str], root: Path) -> list[str]:
    """Every experiment of the newest commit, its metrics, and parameters that differ, as lines.

    Args:
        metrics: keys that are shown of each setting.
        root: the repository.

    Raises:
        DimrError: an unknown metric, or DVC's error.
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
    """The lines, from DVC's CSV."""
    import pandas as pd

    rows = pd.read_csv(io.StringIO(text or "rev"), dtype=str, keep_default_na=False)
    if "typ" not in rows:  # without experiments DVC writes no such columns
        return ["no experiments: dvc exp run -S KEY=VALUE"]
    name = [
        one.rev if one.typ == "baseline" else f"  {one.rev} {one.Experiment}".rstrip()
        for one in rows.itertuples()
    ]
    made = rows.pop("Created").str[:16].str.replace("T", " ")
    values = rows.drop(columns=["Experiment", "rev", "typ"]).map(_value)
    values.columns = values.columns.str.replace(METRIC, r"\1 \2", regex=True)  # "guided fid_digits"
    values.insert(0, "Experiment", name)
    values.insert(1, "Made", made)
    to_right = [False, False, *[True] * (len(values.columns) - 2)]
    return text_lines(list(values.columns), values.to_numpy().tolist(), to_right)


def _value(text: str) -> str:
    if text == "!":  # there is none
        return ""
    try:
        return f"{float(text):.4g}" if "." in text else text
    except ValueError:
        return text
