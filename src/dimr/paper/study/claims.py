"""Claims of the paper as comparisons over seeds: ``experiments/claims.yaml`` and its verdicts.

A verdict is computed, never written: *better* or *worse* where Student's 95% interval of the paired
difference lies on one side of 0, *undecided* where it holds 0 or where there is one seed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from dimr.config.schema import ConfigModel
from dimr.config.validation import did_you_mean, load_section
from dimr.paper.statistics import Change, change_of
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

    key: str  # in the page's template
    title: str
    comparisons: list[Comparison] = Field(min_length=1)


class Claims(ConfigModel):
    """``experiments/claims.yaml``. The first metric decides; the others are listed."""

    names: dict[str, str]  # by dataset/model
    metrics: list[Metric] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)

    def name(self, run: str) -> str:
        """What the page calls a run (dataset/model)."""
        if run not in self.names:
            raise DimrError(f"claims.yaml: names: no {run!r} {did_you_mean(run, list(self.names))}")
        return self.names[run]

    def settings(self, run: str) -> list[str]:
        """Settings at which a run is compared, without duplicates."""
        compared = [one for claim in self.claims for one in claim.comparisons]
        named = [one.settings for one in compared if run in (one.run, one.against)]
        return list(dict.fromkeys(setting for settings in named for setting in settings))


def load_claims(path: Path) -> Claims:
    """Read the claims; ``DimrError`` names the file and the key."""
    return load_section(Claims, path)


@dataclass(frozen=True)
class Finding:
    """What one comparison of a claim found at one setting.

    Attributes:
        claim: that it is part of.
        comparison: the two runs.
        setting: of sampling.
        seeds: how many both runs have.
        means: of the two, by metric.
        changes: the first less the other, by metric.
        verdict: that of the deciding metric.
    """

    claim: Claim
    comparison: Comparison
    setting: str
    seeds: int
    means: dict[str, tuple[float, float]]
    changes: dict[str, Change]
    verdict: str


def findings(definition: Claims, frame: "pd.DataFrame") -> list[Finding]:
    """Every comparison of every claim, in order.

    Args:
        definition: the claims.
        frame: of ``dimr.paper.results``.

    Raises:
        DimrError: a run, setting or metric that the results do not have, or no common seed.
    """
    return [
        _finding(definition, claim, comparison, setting, frame)
        for claim in definition.claims
        for comparison in claim.comparisons
        for setting in comparison.settings
    ]


def _finding(
    definition: Claims, claim: Claim, comparison: Comparison, setting: str, frame: "pd.DataFrame"
) -> Finding:
    runs = (comparison.run, comparison.against)
    seeds, means, changes = 0, {}, {}
    for metric in definition.metrics:
        own, other = (values_by_seed(frame, run, setting, metric.key) for run in runs)
        change = change_of(own, other)
        if change is None:
            source, pair = frame["source"].iloc[0], " and ".join(runs)
            raise DimrError(f"{source}: {pair} have no seed in common at {setting}")
        shared = own.index.intersection(other.index)
        seeds, changes[metric.key] = len(shared), change
        means[metric.key] = (own[shared].mean(), other[shared].mean())
    first = definition.metrics[0]
    verdict = first.verdict(changes[first.key])
    return Finding(claim, comparison, setting, seeds, means, changes, verdict)


def values_by_seed(frame: "pd.DataFrame", run: str, setting: str, metric: str) -> "pd.Series":
    """One metric of a run (dataset/model) at a setting, indexed by seed.

    Raises:
        DimrError: the results do not have the run, the setting or the metric (also: not for every
            seed), or have a seed twice.
    """
    source, runs = frame["source"].iloc[0], frame["dataset"] + "/" + frame["model"]
    of_run = frame[runs == run]
    own = of_run[of_run["setting"] == setting]
    found = own[own["metric"] == metric].set_index("seed")["value"]
    for kind, name, where, known in (
        ("run", run, source, runs),
        ("setting", setting, f"{source}: {run}", of_run["setting"]),
        ("metric", metric, f"{source}: {run}", own["metric"]),
    ):
        if name not in set(known):
            raise DimrError(f"{where}: no {kind} {name!r} {did_you_mean(name, sorted(set(known)))}")
    if not found.index.is_unique:
        raise DimrError(f"{source}: {run}: a seed is listed twice at {setting}")
    if missing := sorted(set(own["seed"]) - set(found.index)):
        raise DimrError(f"{source}: {run}: seed {missing[0]} has no {metric} at {setting}")
    return found
