"""The configuration files of contract A: one for each phase, rewritten only if it differs."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dimr.config.schema import ConfigModel
from dimr.runtime.files import key_of, write_if_changed
from dimr.runtime.strict_yaml import dump

if TYPE_CHECKING:
    from dimr.config.project import Project


def write_phases(phases: Mapping[str, ConfigModel], folder: Path) -> None:
    """Write ``<folder>/<phase>.yaml`` for each phase, only if its content differs."""
    for name, section in phases.items():
        write_if_changed(folder / f"{name}.yaml", dump(section.model_dump(mode="json")))


def section_key(section: ConfigModel, *inputs: str) -> str:
    """Key of a stage's result, from its configuration and the keys of what it reads."""
    return key_of(section.model_dump(mode="json"), *inputs)


def write_source(project: "Project", source: str, base: Path) -> None:
    """Write ``data/<source>/config/source.yaml`` below ``base``."""
    write_phases({"source": project.source(source)}, base / f"data/{source}/config")


def write_dataset(project: "Project", dataset: str, base: Path) -> None:
    """Write the configuration of a dataset's stages, and of its source's, below ``base``."""
    data = project.recipe(dataset).data
    write_phases(data.phases(), base / f"data/{dataset}/config")
    if (source := data.source_name) is not None:
        write_source(project, source, base)


def write_run(project: "Project", name: str, base: Path) -> None:
    """Write the configuration of a run's phases, and of its dataset's stages, below ``base``.

    Likewise for the milestones before it and the run that it starts from: a file written after a
    result would make the result look outdated.
    """
    run = project.run(name)
    write_phases(run.phases(), base / f"runs/{name}/config")
    for other in filter(None, (run.before, run.start)):
        write_run(project, other.name, base)
    write_dataset(project, run.dataset, base)
