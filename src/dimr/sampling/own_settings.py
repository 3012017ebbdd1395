"""How the run of a model is sampled: the settings whose files lie beside its model folder.

The workflow writes ``runs/<run>/config/sample-<setting>.yaml`` for each of a run's settings; the
model is ``runs/<run>/model``.
"""

from dataclasses import dataclass
from pathlib import Path

from dimr.config.runs import load_section
from dimr.config.schema import SampleConfig
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError

PREFERRED = "guided"
"""The setting that is taken where none is named; a run without it: its first."""


@dataclass(frozen=True)
class OwnSetting:
    """A setting of a run's.

    Attributes:
        name: of the setting.
        run: the folder of the run.
        phase: steps, solver, guidance and seed.
    """

    name: str
    run: Path
    phase: SampleConfig


def own_setting(model: Path, name: str | None = None) -> OwnSetting | None:
    """A setting of the run that a model folder belongs to.

    Args:
        model: the model folder.
        name: of the setting; None: ``PREFERRED``, else the first in the order of names.

    Returns:
        the setting; None: there are none beside the model, and none was named.

    Raises:
        DimrError: no such setting, or a file that is damaged.
    """
    run = model.absolute().parent
    files = {
        file.stem.removeprefix("sample-"): file
        for file in sorted((run / "config").glob("sample-*.yaml"))
    }
    if not files and name is None:
        return None
    if not files:
        raise DimrError(f"--setting {name}: {run / 'config'} has no sample-<setting>.yaml")
    chosen = name or (PREFERRED if PREFERRED in files else next(iter(files)))
    if chosen not in files:
        hint = did_you_mean(chosen, list(files))
        raise DimrError(f"--setting {name}: no such setting of this run {hint}")
    return OwnSetting(chosen, model.parent, load_section(SampleConfig, files[chosen]))


def said(phase: SampleConfig) -> str:
    """How images are drawn, in a few words."""
    guidance = phase.guidance
    kinds = {
        "none": "no guidance",
        "unconditional": "no class",
        "constant": f"guidance {guidance.scale:g}",
        "power_cosine": f"power-cosine guidance {guidance.scale:g} {guidance.power:g}",
    }
    low, high = guidance.interval or (0, 1)
    where = f" at times {low:g} to {high:g}" if guidance.interval else ""
    return (
        f"{phase.steps} network evaluations, solver {phase.solver}, "
        f"{kinds[guidance.kind]}{where}, seed {phase.seed}"
    )
