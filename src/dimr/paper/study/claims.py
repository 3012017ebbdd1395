"""Claims of the paper as comparisons over seeds: ``experiments/claims.yaml`` and its verdicts.

A verdict is computed, never written: *better* or *worse* where Student's 95% interval of the paired
difference lies on one side of 0, *undecided* where it holds 0 or where there is one seed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimr.config.runs import load_section
from dimr.config.schema import ConfigModel
from dimr.config.validation import did_you_mean
from dimr.paper.frames import read_frame
from dimr.paper.statistics import Change, paired_change
from dimr.paper.study.results import COSTS, KEYS
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

MINUS = "\N{MINUS SIGN}"


class Metric(ConfigModel):
    """A metric that is compared, and which way is better."""

    key: str
    title: str
    better: Literal["lower", "higher"]
    format: str = Field(default="{:.3f}", pattern=r"^\{:[^{}]+\}$")

    def text(self, value: float, sign: str = "") -> str:
        """A value in the metric's format; ``sign="+"`` for differences."""
        return self.format.replace(":", f":{sign}", 1).format(value).replace("-", MINUS)

    def verdict(self, change: Change) -> str:
        """``better``, ``worse`` or ``undecided``."""
        return change.verdict(lower_is_better=self.better == "lower")

    def difference(self, change: Change) -> str:
        """The mean difference and its interval, if there is one."""
        text = self.text(change.mean, "+")
        if change.low is None or change.high is None:
            return text
        return f"{text} [{self.text(change.low, '+')}, {self.text(change.high, '+')}]"


class Comparison(ConfigModel):
    """Two runs without their seeds that differ in what the claim is about."""

    run: str  # dataset/model
    against: str
    settings: list[str] = Field(min_length=1)
    note: str = ""  # what else differs between the two


class Claim(ConfigModel):
    """A claim of the paper, and the comparisons that speak for or against it."""

    key: str  # of the page's text
    title: str
    comparisons: list[Comparison] = Field(min_length=1)


class Claims(ConfigModel):
    """``experiments/claims.yaml``. The first metric decides; the others are listed."""

    names: dict[str, str]  # of dataset/model
    metrics: list[Metric] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)

    def name(self, run: str) -> str:
        """What the page calls a run."""
        if run not in self.names:
            raise DimrError(f"claims.yaml: names: no {run!r} {did_you_mean(run, list(self.names))}")
        return self.names[run]

    def settings(self, run: str) -> list[str]:
        """Settings at which a run is compared, once."""
        compared = [one for claim in self.claims for one in claim.comparisons]
        named = [one.settings for one in compared if run in (one.run, one.against)]
        return list(dict.fromkeys(setting for settings in named for setting in settings))


def load_claims(path: Path) -> Claims:
    """Read the definition; ``DimrError`` names the file and the key."""
    return load_section(Claims, path)


@dataclass(frozen=True)
class Finding:
    """What one comparison found at one setting.

    Attributes:
        claim: of which it is part.
        name: of the run that the claim favours.
        against: name of the other.
        setting: of sampling.
        seeds: on which both were run.
        means: of the two, by metric.
        changes: the first less the other, by metric.
        metrics: which were compared, the deciding one first.
        note: what else differs.
    """

    claim: str
    name: str
    against: str
    setting: str
    seeds: int
    means: dict[str, tuple[float, float]]
    changes: dict[str, Change]
    metrics: tuple[Metric, ...]
    note: str

    @property
    def verdict(self) -> str:
        """That of the deciding metric."""
        return self.metrics[0].verdict(self.changes[self.metrics[0].key])


def read_seeds(path: Path) -> "pd.DataFrame":
    """``seeds.csv`` with a column ``run`` (dataset/model); ``DimrError`` if it is not that."""
    frame = read_frame(path, remedy="make study makes it")
    missing = [key for key in (*KEYS, *COSTS) if key not in frame]
    if missing:
        raise DimrError(f"{path}: no column {missing[0]!r}")
    frame["run"] = frame["dataset"] + "/" + frame["model"]
    return frame


def findings(definition: Claims, frame: "pd.DataFrame", source: str = "seeds.csv") -> list[Finding]:
    """Every comparison of every claim, in order.

    Args:
        definition: the claims.
        frame: of ``read_seeds``.
        source: its name, for messages.

    Raises:
        DimrError: a run, setting or metric that the results do not have.
    """
    return [
        _finding(definition, claim, comparison, setting, frame, source)
        for claim in definition.claims
        for comparison in claim.comparisons
        for setting in comparison.settings
    ]


def _finding(
    definition: Claims,
    claim: Claim,
    comparison: Comparison,
    setting: str,
    frame: "pd.DataFrame",
    source: str,
) -> Finding:
    own, other = (
        seed_frame(frame, run, setting, source) for run in (comparison.run, comparison.against)
    )
    seeds = sorted(set(own.index) & set(other.index))
    if not seeds:
        pair = f"{comparison.run} and {comparison.against}"
        raise DimrError(f"{source}: {pair} have no seed in common at {setting}")
    means, changes = {}, {}
    for metric in definition.metrics:
        values = [column_of(one, metric.key, source).loc[seeds].tolist() for one in (own, other)]
        means[metric.key] = (sum(values[0]) / len(seeds), sum(values[1]) / len(seeds))
        changes[metric.key] = paired_change(*values)
    return Finding(
        claim=claim.key,
        name=definition.name(comparison.run),
        against=definition.name(comparison.against),
        setting=setting,
        seeds=len(seeds),
        means=means,
        changes=changes,
        metrics=tuple(definition.metrics),
        note=comparison.note,
    )


def seed_frame(frame: "pd.DataFrame", run: str, setting: str, source: str) -> "pd.DataFrame":
    """The lines of a run at a setting, by seed; ``DimrError`` if there are none."""
    of_run = frame[frame["run"] == run]
    if of_run.empty:
        raise DimrError(f"{source}: no run {run!r} {did_you_mean(run, sorted(set(frame['run'])))}")
    found = of_run[of_run["setting"] == setting].set_index("seed")
    if found.empty:
        allowed = sorted(set(of_run["setting"]))
        raise DimrError(f"{source}: {run}: no setting {setting!r} {did_you_mean(setting, allowed)}")
    if not found.index.is_unique:
        raise DimrError(f"{source}: {run}: a seed is listed twice at {setting}")
    return found


def column_of(frame: "pd.DataFrame", key: str, source: str) -> "pd.Series":
    """A column without gaps; ``DimrError`` if there is none."""
    if key not in frame:
        raise DimrError(f"{source}: no column {key!r} {did_you_mean(key, list(map(str, frame)))}")
    if frame[key].isna().any():
        raise DimrError(f"{source}: {key}: a value is missing")
    return frame[key]
