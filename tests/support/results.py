"""Results of runs as the stages leave them, with made-up numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dimr.config.project import Project
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
    """Leave every wanted result of a run and its dataset with the key that it should have.

    ``wanted`` is told the place; all are by default.
    """
    project = Project(root)
    pipeline = Pipeline(project)
    for one in pipeline.results(project.run(run)):
        if wanted(one.place) and one.is_metrics:
            setting = Path(one.place).stem
            leave_result(root / "runs", run, setting, {"fid": 1.0}, key=pipeline.key(one.place))
        elif wanted(one.place):
            write_json(root / one.record, {"key": pipeline.key(one.place)})
