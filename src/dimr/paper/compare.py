"""A table of runs made here, beside the recorded study: what ``make demo`` prints at its end.

A rerun on the same processor with the same versions gives the same numbers; elsewhere rounding
differs, and thousands of training steps amplify it. By how much is not known beforehand: the
differences are printed as they are.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from dimr.config.project import Project
from dimr.evaluation.names import METRICS
from dimr.paper.results import recorded
from dimr.paper.statistics import by_seed
from dimr.paper.tables.definitions import place_of
from dimr.paper.tables.render import text_lines
from dimr.paper.tables.runs import Line, NumberColumn, RunsTable
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd


def compare_with_recorded(table: Path, seeds: Path | None = None) -> list[str]:
    """Lines with each row's first metric here, as recorded for the same seeds, and for all seeds.

    Args:
        table: ``results/demo/<dataset>/<name>.csv`` or another table of runs.
        seeds: the recorded numbers; None: ``results/<dataset>/seeds.csv``.

    Raises:
        DimrError: a table that does not exist, or no table of runs; or nothing recorded.
    """
    place = place_of(table)
    project = Project(place.folder)
    definition = place.table(project)
    if not isinstance(definition, RunsTable):
        raise DimrError(f"{table}: not a table of runs on a dataset: there is nothing to compare")
    file = seeds or place.seeds
    if not file.is_file():
        raise DimrError(f"{file}: no such file: nothing of the study is recorded to compare with")
    metric = next((one for one in definition.columns if one.key in METRICS), None)
    if metric is None:
        raise DimrError(f"{table}: has no column of a metric: there is nothing to compare")
    stated, frame = place.stated(), recorded(file)
    body = [
        _row(line, row.get(metric.key), metric, frame)
        for line, row in zip(definition.lines, stated, strict=False)
    ]
    count = definition.seeds
    heads = ["Model", "Setting", f"{metric.title} here", "Recorded, same seeds", "Difference",
             "Recorded, all seeds"]  # fmt: skip
    return [
        f"Beside what {file} records of the study ({metric.title}; here {count} "
        f"seed{'s' if count > 1 else ''} of each network):",
        "",
        *text_lines(heads, body, [False, False, True, True, True, True]),
        "",
        "All seeds: mean ± deviation (number). A rerun differs where a processor or a version "
        "rounds differently, because training amplifies that: docs/digits-study.md has reruns.",
    ]


def _row(line: Line, stated: str | None, metric: NumberColumn, frame: "pd.DataFrame") -> list[str]:
    """The cells of a line; "" for what is not recorded."""
    every = by_seed(frame, line.run or "", line.setting or "", metric.key)
    same = every.reindex([run.split("/")[-1] for run, _ in line.cells])
    here = float(stated) if stated else float("nan")
    mean = same.mean(skipna=False)
    difference = _text(abs(here - mean), metric)
    if re.search("[1-9]", difference):  # no sign if it prints as 0
        difference = f"{'-' if here < mean else '+'}{difference}"
    spread = f" ± {_text(every.std(), metric)}" if len(every) > 1 else ""
    of_all = f"{_text(every.mean(), metric)}{spread} ({len(every)})" if len(every) else ""
    return [line.title, line.setting or "", _text(here, metric), _text(mean, metric), difference,
            of_all]  # fmt: skip


def _text(value: float, metric: NumberColumn) -> str:
    return "" if value != value else metric.format.format(value)
