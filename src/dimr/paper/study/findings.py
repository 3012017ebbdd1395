"""What the comparisons of the claims found: effects, intervals, and verdicts that follow from them.

A verdict is computed, never written, from Student's 95% interval of the relative change, paired by
seed: *shows* if it lies on the claim's side of 0, *opposite* if it lies on the other; if it
contains 0, *smaller* if an effect as large as the paper's is outside it, and *open* otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from dimr.config.validation import did_you_mean
from dimr.paper.published import PublishedValues
from dimr.paper.statistics import Change, change_of, relative_change
from dimr.paper.study.claims import (
    FID,
    FILE,
    Claim,
    Claims,
    Comparison,
    Direction,
    Metric,
    expected,
    paper_effect,
    percent,
)
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

Verdict = Literal["shows", "opposite", "smaller", "open"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True)
class Finding:
    """What one comparison of a claim found at one setting.

    Attributes:
        claim: that it is part of.
        comparison: the two runs.
        setting: of sampling.
        metric: that decides.
        shared: seeds that both runs have.
        seeds: how many of them it rests on: at an equal FID, perhaps not all.
        means: of the deciding metric, for both runs; None: no seed.
        effect: the first relative to the other, -0.25 for 25% lower; None: no seed.
        paper: the paper's; None: it has no number.
        expects: on which side the claim puts it.
        verdict: that follows.
        left_out: why no seed is compared at an equal FID; "" otherwise.
        changes: the first minus the other, by metric; empty at an equal FID.
    """

    claim: Claim
    comparison: Comparison
    setting: str
    metric: Metric
    shared: int
    seeds: int
    means: tuple[float, float] | None
    effect: Change | None
    paper: float | None
    expects: Direction
    verdict: Verdict
    left_out: str
    changes: dict[str, Change]

    @property
    def effect_text(self) -> str:
        """``−25% [−40%, −8%]``, or why there is none."""
        if self.effect is None:
            return self.left_out
        ends = (self.effect.low, self.effect.high)
        shown = ", ".join(percent(end) for end in ends if end is not None)
        return percent(self.effect.mean) + (f" [{shown}]" if shown else "")

    @property
    def seeds_text(self) -> str:
        """How many seeds, and of how many where some are left out."""
        return str(self.seeds) if self.seeds == self.shared else f"{self.seeds} of {self.shared}"

    @property
    def setting_text(self) -> str:
        """The setting, and whether it is compared at an equal FID."""
        return f"{self.setting}, equal FID" if self.comparison.equal_fid else self.setting


def verdict_of(effect: Change | None, expects: Direction, paper: float | None) -> Verdict:
    """The verdict on a relative effect.

    Args:
        effect: with its interval; None, or without one: nothing is decided.
        expects: on which side the claim puts it.
        paper: the paper's effect; None: it has no number.
    """
    if effect is None or effect.low is None or effect.high is None:
        return "open"
    if effect.low <= 0 <= effect.high:
        return "open" if paper is None or effect.low <= paper <= effect.high else "smaller"
    return "shows" if (effect.high < 0) == (expects == "lower") else "opposite"


def findings(definition: Claims, papers: PublishedValues, frame: "pd.DataFrame") -> list[Finding]:
    """Every comparison of every claim, in order.

    Args:
        definition: the claims.
        papers: published.yaml.
        frame: of ``dimr.paper.results``.

    Raises:
        DimrError: a run, setting or metric that the results do not have, no common seed, or a name
            that published.yaml does not have.
    """
    return [
        _finding(definition, claim, number, setting, papers, frame)
        for claim in definition.claims
        for number, comparison in enumerate(claim.comparisons)
        for setting in comparison.settings
    ]


def _finding(
    definition: Claims, claim: Claim, number: int, setting: str, papers: PublishedValues,
    frame: "pd.DataFrame",
) -> Finding:  # fmt: skip
    one, metric = claim.comparisons[number], definition.metric_of(claim)
    where = f"{FILE}: claims.{claim.key}.comparisons.{number}"
    paper = paper_effect(one, papers, where)
    expects = expected(one, paper, where)
    changes, left_out = {}, ""
    if one.equal_fid:
        own, other, left_out = _at_equal_fid(one, setting, metric, frame)
    else:
        for each in definition.metrics:
            pair = _shared_seeds(one, setting, each.key, frame)
            if (change := change_of(*pair)) is not None:
                changes[each.key] = change
        own, other = _shared_seeds(one, setting, metric.key, frame)
    shared = len(_shared_seeds(one, setting, metric.key, frame)[0])
    effect, means = None, None
    if len(own):
        effect, means = _effect(one, setting, metric, own, other, frame), (own.mean(), other.mean())
    verdict = verdict_of(effect, expects, paper)
    return Finding(claim, one, setting, metric, shared, len(own), means, effect, paper, expects,
                   verdict, left_out, changes)  # fmt: skip


def _shared_seeds(
    one: Comparison, setting: str, metric: str, frame: "pd.DataFrame"
) -> tuple["pd.Series", "pd.Series"]:
    """A metric of the two runs at a setting, by seed, over the seeds that both have."""
    own, other = (values_by_seed(frame, run, setting, metric) for run in (one.run, one.against))
    shared = own.index.intersection(other.index)
    if shared.empty:
        source, pair = frame["source"].iloc[0], f"{one.run} and {one.against}"
        raise DimrError(f"{source}: {pair} have no seed in common at {setting}")
    return own[shared], other[shared]


def _effect(
    one: Comparison, setting: str, metric: Metric, own: "pd.Series", other: "pd.Series",
    frame: "pd.DataFrame",
) -> Change:  # fmt: skip
    """The relative change over seeds; for a share of the images, half an image is added to both."""
    plus = 0.0
    if metric.counted:
        plus = 0.5 / values_by_seed(frame, one.run, setting, "images").iloc[0]
    try:
        return relative_change(own.tolist(), other.tolist(), plus)
    except ValueError as error:
        what = f"{one.run} and {one.against}: {metric.key} at {setting}"
        raise DimrError(f"{frame['source'].iloc[0]}: {what}: {error}") from None


def _at_equal_fid(
    one: Comparison, setting: str, metric: Metric, frame: "pd.DataFrame"
) -> tuple["pd.Series", "pd.Series", str]:
    """A metric of the first run, and the other's at the first one's FID, by seed.

    The other's is piecewise linear over its FID at the comparison's settings. A seed whose FID is
    beyond all of these is left out; the last value says why, if all are.
    """
    import numpy as np
    import pandas as pd

    fid, _ = _shared_seeds(one, setting, FID, frame)
    own, _ = _shared_seeds(one, setting, metric.key, frame)
    fids, values = (
        pd.DataFrame({at: values_by_seed(frame, one.against, at, key) for at in one.settings})
        for key in (FID, metric.key)
    )
    fids = fids.dropna()  # seeds that the other has at every setting
    fid = fid[fid.index.intersection(fids.index)]
    found: dict[str, float] = {}
    reasons = set()
    for seed, wanted in fid.items():
        order = fids.loc[seed].sort_values()
        if order.iloc[0] <= wanted <= order.iloc[-1]:
            at = values.loc[seed][order.index]
            found[str(seed)] = float(np.interp(wanted, order, at))
        else:
            low = wanted < order.iloc[0]
            reasons.add("never has as low a FID" if low else "always has a lower FID")
    other = pd.Series(found, dtype=float)
    reason = f"the other {' or '.join(sorted(reasons))}" if other.empty else ""
    return own[other.index], other, reason


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


def more_seeds(definition: Claims, found: list[Finding]) -> Iterator[str]:
    """A line for every comparison that is open and may have more seeds: which number to raise."""
    for claim in definition.claims:
        for number, one in enumerate(claim.comparisons):
            at = [
                finding.setting_text
                for finding in found
                if finding.comparison is one and finding.verdict == "open" and finding.seeds
            ]
            seeds = definition.seeds_of(one)
            if at and seeds < definition.seeds.most:
                yield (
                    f"{FILE}: claims.{claim.key}.comparisons.{number}.seeds: open with {seeds} "
                    f"({one.run} against {one.against}, {'; '.join(at)}): raise to "
                    f"{definition.seeds.most}, then make more-seeds"
                )
