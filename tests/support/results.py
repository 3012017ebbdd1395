"""Results of runs as the stages leave them, with made-up numbers."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from dimr.cli import main
from dimr.config.project import Project
from dimr.paper.results import COLUMNS
from dimr.runtime.files import write_json
from dimr.stages.pipeline import Pipeline
from dimr.stages.provenance import sealed


def leave_result(runs: Path, run: str, setting: str, metrics: Any, **record: Any) -> Path:
    """Write metrics and their record under the folder of runs; return the metrics' file."""
    file = runs / run / "metrics" / f"{setting}.json"
    write_json(file, metrics)
    provenance = runs / run / "provenance" / f"{setting}.json"
    write_json(provenance, sealed({"cost": {}, **record}, file))
    return file


def leave_results(root: Path, run: str, wanted: Callable[[str], bool] = bool) -> None:
    """Leave every wanted result of a run and its dataset, with the key that it should have.

    ``wanted`` gets the place; by default all are.
    """
    project = Project(root)
    pipeline = Pipeline(project)
    for one in pipeline.results(project.run(run)):
        if wanted(one.place) and one.is_metrics:
            setting = Path(one.place).stem
            leave_result(root / "runs", run, setting, {"fid": 1.0}, key=pipeline.key(one.place))
        elif wanted(one.place):
            write_json(root / one.record, {"key": pipeline.key(one.place)})


def put_result(root: Path, run: str, setting: str, metrics: Any, **record: Any) -> Path:
    """``leave_result`` below a project's ``runs``, with the key that its configuration gives it."""
    place = f"runs/{run}/metrics/{setting}.json"
    return leave_result(
        root / "runs", run, setting, metrics, **{"key": key_in(root, place), **record}
    )


@functools.cache
def key_in(root: Path, place: str) -> str:
    """The key of a place, for a project whose configuration no longer changes."""
    return _pipeline(root).key(place)


@functools.cache
def _pipeline(root: Path) -> Pipeline:
    return Pipeline(Project(root))


def frame_of(numbers: Mapping[tuple[str, str], Mapping[str, float]]) -> pd.DataFrame:
    """A frame of results: numbers by (run, setting) and metric."""
    lines = [
        (*run.split("/"), run, setting, metric, value, "run", f"{run}.json", "key")
        for (run, setting), own in numbers.items()
        for metric, value in own.items()
    ]  # fmt: skip
    return pd.DataFrame(lines, columns=list(COLUMNS)).astype({"value": float})


def make_table(project: Path, name: str, *more: str, to: Path | None = None) -> int:
    """``dimr table`` as the workflow runs it, into ``results`` or ``to``; the exit code."""
    base = (to or project / "results") / name
    ends = {"csv": "csv", "markdown": "md", "latex": "tex"}
    outputs = [f"--{key}={base}.{end}" for key, end in ends.items()]
    table = project / f"experiments/tables/{name}.yaml"
    places = ["--table", str(table), "--root", str(project), "--runs", str(project / "runs")]
    return main(["table", *places, *outputs, *more])
