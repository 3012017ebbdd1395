"""Which models a distortion study compares: ``experiments/distortion/<study>.yaml``.

Imports no torch: the workflow reads it.
"""

from dimr.config.project import PROJECT, Project
from dimr.config.schema import Study
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError

FOLDER = "distortion"
"""Below ``experiments/``."""
PAPER = "imagenet256"
"""The study whose results are below ``results/distortion``; others': ``results/<study>/...``."""


def load_study(name: str, project: Project = PROJECT) -> Study:
    """Read a study, whose runs, settings and dataset's distortion section must exist.

    Raises:
        DimrError: names what does not exist, and what does.
    """
    names = sorted(path.stem for path in (project.experiments / FOLDER).glob("*.yaml"))
    if name not in names:
        raise DimrError(f"experiments/{FOLDER}: no study {name!r} {did_you_mean(name, names)}")
    study = project.load(Study, f"{FOLDER}/{name}.yaml")
    for row in study.rows:
        run = project.run(row.run)
        for setting in (row.setting, row.fid_setting):
            if setting not in run.settings:
                hint = did_you_mean(setting, run.settings)
                raise DimrError(f"{name}.yaml: {row.run}: no setting {setting!r} {hint}")
        if "distortion" not in run.phases():
            raise DimrError(f"{name}.yaml: {row.run}: recipes.yaml has no distortion section")
    return study


def scores_file(run: str, setting: str) -> str:
    """Where a run's scores are summarised, below the folder of runs."""
    return f"{run}/distortion/{setting}.json"
