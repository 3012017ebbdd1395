"""DVC's experiments as a table that fits a terminal.

``dvc exp show`` has a column for each metric of each setting and for each file that a stage
depends on, and its configuration cannot leave any out. Here a column is a setting's FID, or a
parameter that differs.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from dimr.evaluation.names import METRICS
from dimr.paper.tables.render import text_lines
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.sharing import workspace

COMMAND = ("-m", "dvc", "exp", "show", "--json")


def experiments_text(metrics: Sequence[str], root: Path) -> list[str]:
    """Every experiment of the newest commit, its metrics, and parameters that differ, as lines.

    Args:
        metrics: keys to show for each setting.
        root: the repository.

    Raises:
        DimrError: an unknown metric, or DVC's error.
    """
    unknown = [name for name in metrics if name not in METRICS]
    if unknown:
        raise DimrError(f"--metric {unknown[0]}: no such metric (allowed: {', '.join(METRICS)})")
    done = subprocess.run([sys.executable, *COMMAND], cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise DimrError(f"dvc exp show: {single_line(done.stderr or done.stdout)[-300:]}")
    return table_of_experiments(json.loads(done.stdout), metrics)


def table_of_experiments(shown: Sequence[Mapping[str, Any]], metrics: Sequence[str]) -> list[str]:
    """The lines, from DVC's JSON: commits, each with its experiments."""
    if not any(commit["experiments"] for commit in shown):
        return ["no experiments: dvc exp run -S KEY=VALUE"]
    names, rows, parameters = [], [], []
    for name, state in _states(shown):
        data = state["data"] or {}  # a failed one has none
        settings = _content(data, "metrics", workspace.METRICS)
        names.append([name, (data.get("timestamp") or "")[:16].replace("T", " ")])
        rows.append({
            f"{setting} {key}": f"{numbers[key]:.4g}"
            for setting, numbers in settings.items() for key in metrics if key in numbers
        })  # fmt: skip
        parameters.append(dict(_leaves(_content(data, "params", "params.yaml"))))
    differ = [
        key
        for key in dict.fromkeys(key for one in parameters for key in one)
        if len({one.get(key, "") for one in parameters if one}) > 1
    ]
    heads = [*dict.fromkeys(key for row in rows for key in row), *differ]
    lines = [
        [*name, *(str({**row, **values}.get(head, "")) for head in heads)]
        for name, row, values in zip(names, rows, parameters, strict=True)
    ]
    to_right = [False, False, *[True] * len(heads)]
    return text_lines(["Experiment", "Made", *heads], lines, to_right)


def _states(shown: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every commit and experiment with its displayed name."""
    for commit in shown:
        is_commit = commit["rev"] != workspace.RUN
        yield commit["name"] or (commit["rev"][:7] if is_commit else workspace.RUN), commit
        for experiment in commit["experiments"] or []:
            state = experiment["revs"][-1]
            yield f"  {state['rev'][:7]} {state['name'] or ''}".rstrip(), state


def _content(data: Mapping[str, Any], kind: str, file: str) -> Any:
    """What DVC read from a file of parameters or metrics; empty: it could not."""
    return (data.get(kind) or {}).get(file, {}).get("data") or {}


def _leaves(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    """Parameters by their full names; those that the recipe gives (null) are empty."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", "" if value is None else str(value)
