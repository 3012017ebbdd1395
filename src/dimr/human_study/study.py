"""Which models a distortion study compares: ``experiments/distortion/<study>.yaml``.

Imports no torch: the workflow reads it.
"""

from pathlib import Path

from dimr.config.recipes import ROOT
from dimr.config.runs import load_run, load_section
from dimr.config.schema import Study
from dimr.runtime.errors import DimrError

PAPER = "imagenet256"
"""The study whose results are below ``results/distortion``; of others, ``results/<study>/...``."""


def load_study(name: str, root: Path = ROOT) -> Study:
    """Read a study, whose runs, settings and dataset's distortion section must be there.

    Raises:
        DimrError: names what is not there, and what is.
    """
    file = root / f"experiments/distortion/{name}.yaml"
    if not file.is_file():
        there = ", ".join(sorted(path.stem for path in file.parent.glob("*.yaml")))
        raise DimrError(f"{file}: no such study (there are: {there})")
    study = load_section(Study, file)
    for row in study.rows:
        run = load_run(row.run, root)
        if row.setting not in run.settings:
            raise DimrError(
                f"{file.name}: {row.run}: no setting {row.setting!r} "
                f"(allowed: {', '.join(run.settings)})"
            )
        if "distortion" not in run.phases():
            raise DimrError(f"{file.name}: {row.run}: recipes.yaml has no distortion section")
    return study


def scores_file(run: str, setting: str) -> str:
    """Where a run's scores are summarised, below the folder of runs."""
    return f"{run}/distortion/{setting}.json"
