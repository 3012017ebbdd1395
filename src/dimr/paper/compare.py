"""A table of runs made here beside the recorded study: what ``make demo`` prints at its end.

A rerun on the same processor with the same versions draws the same numbers; elsewhere rounding
differs, and thousands of steps of training enlarge it. How much is not known beforehand: the
differences are printed as they are.
"""

import csv
import re
from pathlib import Path
from statistics import fmean, stdev

from dimr.paper.explain.names import Line, lines_of, place_of
from dimr.paper.explain.recorded import Recorded
from dimr.paper.results import RunResult
from dimr.paper.tables.definitions import load_definition
from dimr.paper.tables.layout import text_lines
from dimr.paper.tables.runs import METRICS, Column, Table
from dimr.runtime.errors import DimrError


def compare_with_recorded(table: Path, seeds: Path | None = None) -> list[str]:
    """Lines: each row's first metric here, that of the same seeds recorded, and of all seeds.

    Args:
        table: ``results/demo/<dataset>/<name>.csv`` or another table of runs.
        seeds: the recorded numbers; None: ``results/<dataset>/seeds.csv``.

    Raises:
        DimrError: a table that is not made, or no table of runs; or nothing recorded.
    """
    place = place_of(table)
    definition = load_definition(place.definition)
    if not isinstance(definition, Table):
        raise DimrError(f"{table}: not a table of runs on a dataset: there is nothing to compare")
    dataset = place.definition.parent.name
    recorded = _recorded(seeds or place.project / "results" / dataset / "seeds.csv")
    metric = next((one for one in definition.columns if one.key in METRICS), None)
    if metric is None:
        raise DimrError(f"{table}: has no column of a metric: there is nothing to compare")
    if not place.csv.is_file():
        raise DimrError(f"{place.csv}: not made yet: snakemake -- {place.target}")
    with open(place.csv, newline="") as file:
        stated = [row.get(metric.key, "") for row in csv.DictReader(file)]
    body = [
        _row(line, value, metric, recorded)
        for line, value in zip(lines_of(definition), stated, strict=False)
    ]
    count = definition.seeds
    heads = ["Model", "Setting", f"{metric.title} here", "Recorded, same seeds", "Difference",
             "Recorded, all seeds"]  # fmt: skip
    return [
        f"Beside what {recorded.file} records of the study ({metric.title}; here "
        f"{count} seed{'s' if count > 1 else ''} of each network):",
        "",
        *text_lines(heads, body, [False, False, True, True, True, True]),
        "",
        "All seeds: mean ± deviation (number). A rerun differs where a processor or a version "
        "rounds differently, as training enlarges that; no bound of it has been measured.",
    ]


def _recorded(file: Path) -> Recorded:
    if not file.is_file():
        raise DimrError(f"{file}: no such file: nothing of the study is recorded to compare with")
    return Recorded(file)


def _row(line: Line, stated: str, metric: Column, recorded: Recorded) -> list[str]:
    """The cells of a line; "" for what is not recorded."""
    run = line.row.run
    own = [recorded.made[cell] for cell in line.cells if cell in recorded.made]
    every = [
        one
        for (name, setting), one in recorded.made.items()
        if name.rpartition("/")[0] == run and setting == line.setting
    ]
    own_values, values = _values(own, metric.key), _values(every, metric.key)
    mean = fmean(own_values) if len(own_values) == len(line.cells) else None
    here = float(stated) if stated else None
    difference = None if here is None or mean is None else here - mean
    return [
        line.title,
        line.setting or "",
        _text(here, metric),
        _text(mean, metric),
        "" if difference is None else _signed(difference, metric),
        _spread(values, metric),
    ]


def _values(made: list[RunResult], key: str) -> list[float]:
    return [value for one in made if (value := one.value(key)) is not None]


def _text(value: float | None, metric: Column) -> str:
    return "" if value is None else metric.format.format(value)


def _signed(value: float, metric: Column) -> str:
    """With its sign, unless it prints as 0."""
    text = _text(abs(value), metric)
    sign = "-" if value < 0 else "+"
    return f"{sign}{text}" if re.search("[1-9]", text) else text


def _spread(values: list[float], metric: Column) -> str:
    """``0.63 ± 0.08 (5)``."""
    if not values:
        return ""
    deviation = f" ± {_text(stdev(values), metric)}" if len(values) > 1 else ""
    return f"{_text(fmean(values), metric)}{deviation} ({len(values)})"
