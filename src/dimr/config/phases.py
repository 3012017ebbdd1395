"""The configuration files of contract A: one for each phase, rewritten only if it differs."""

from collections.abc import Mapping
from pathlib import Path

from dimr.config.schema import ConfigModel
from dimr.runtime.files import key_of, write_if_changed
from dimr.runtime.strict_yaml import dump


def write_phases(phases: Mapping[str, ConfigModel], folder: Path) -> None:
    """Write ``<folder>/<phase>.yaml`` for each phase, only if its content differs."""
    for name, section in phases.items():
        write_if_changed(folder / f"{name}.yaml", dump(section.model_dump(mode="json")))


def section_key(section: ConfigModel, *inputs: str) -> str:
    """Key of a stage's result: of its configuration and the keys of what it reads."""
    return key_of(section.model_dump(mode="json"), *inputs)
