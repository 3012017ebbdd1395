"""How a run is sampled, as the workflow has written it beside its model."""

from dataclasses import dataclass
from pathlib import Path

from dimr.config.schema import SampleConfig
from dimr.config.validation import did_you_mean, load_section
from dimr.runtime.errors import DimrError

PREFERRED = "guided"
"""The setting that is taken where none is named; a run without it: its first."""


@dataclass(frozen=True)
class RunSetting:
    """A setting of the run that a model belongs to: its name, the run's folder, its content."""

    name: str
    run: Path
    sampling: SampleConfig


def run_setting(model: Path, name: str | None = None) -> RunSetting | None:
    """A setting of the run that a model folder belongs to.

    Args:
        model: the model folder.
        name: of the setting; None: ``PREFERRED``, else the first in alphabetical order.

    Returns:
        the setting; None: the run has none, and none was named.

    Raises:
        DimrError: no such setting, or a file that is damaged.
    """
    folder = model.absolute().parent / "config"
    files = {path.stem.removeprefix("sample-"): path for path in folder.glob("sample-*.yaml")}
    if not files and name is None:
        return None
    if not files:
        raise DimrError(f"--setting {name}: {folder} has no sample-<setting>.yaml")
    chosen = name or (PREFERRED if PREFERRED in files else min(files))
    if chosen not in files:
        hint = did_you_mean(chosen, sorted(files))
        raise DimrError(f"--setting {name}: no such setting of this run {hint}")
    return RunSetting(chosen, model.parent, load_section(SampleConfig, files[chosen]))
