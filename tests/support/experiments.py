"""A copy of experiments/ and params.yaml, to change values in."""

import shutil
from pathlib import Path
from typing import Any

import yaml

from dimr.config.project import ROOT, Project


def copy_experiments(folder: Path) -> Path:
    """Copy them into ``folder``, which is returned."""
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    shutil.copy(ROOT / "params.yaml", folder)
    return folder


def edit(folder: Path, file: str, changes: dict[str, Any]) -> Project:
    """Set values of a YAML file below ``folder`` (``train.steps``: 4); return the project."""
    content = yaml.safe_load((folder / file).read_text())
    for path, value in changes.items():
        *parents, last = path.split(".")
        section = content
        for key in parents:
            section = section[key]
        section[last] = value
    (folder / file).write_text(yaml.safe_dump(content, sort_keys=False))
    return Project(folder)
