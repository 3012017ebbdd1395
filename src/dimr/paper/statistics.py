"""Statistics over seeds: mean and deviation, and whether one model beats another.

Runs of the same seed share the order of batches and the noise of training and sampling: their
difference varies less than either does. So models are compared seed by seed, with Student's 95%
interval for the mean of the n differences; or, relative to the other model, of the logarithms of
the n ratios. One diverged training moves a mean: medians and trimmed means are given beside it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

CONFIDENCE = 0.95
TRIMMED = 0.2
"""Share of the values that a trimmed mean leaves out at each end."""


def summarise(
    frame: "pd.DataFrame", by: Sequence[str] = ("dataset", "model", "setting", "metric")
) -> "pd.DataFrame":
    """Mean, deviation and number of seeds of every metric.

    Args:
        frame: of ``dimr.paper.results``.
        by: columns that say what is averaged: one line of the result for each of their values.

    Returns:
        Indexed by ``by``: ``mean``; ``deviation`` (n - 1), NaN for one seed; ``seeds``, how many.
    """
    values = frame.groupby(list(by), sort=False)["value"]
    return values.agg(mean=fmean, deviation=deviation, seeds="size")


def deviation(values: Sequence[float]) -> float:
    """The standard deviation (n - 1); NaN for one value."""
    return stdev(values) if len(values) > 1 else math.nan


def trimmed_mean(values: Sequence[float]) -> float:
    """The mean without the largest and the smallest fifth, rounded down: four values all count."""
    from scipy.stats import trim_mean

    return float(trim_mean(values, TRIMMED))


def by_seed(frame: "pd.DataFrame", model: str, setting: str, metric: str) -> "pd.Series":
    """One metric of a model (``digits/dimr-xs-2r``) at a setting: values indexed by seed."""
    dataset, _, name = model.partition("/")
    wanted = {"dataset": dataset, "model": name, "setting": setting, "metric": metric}
    found = frame[(frame[list(wanted)] == list(wanted.values())).all(axis=1)]
    return found.set_index("seed", verify_integrity=True)["value"]


@dataclass(frozen=True)
class Change:
    """A mean, e.g. of differences (one model minus the other), and its 95% confidence interval.

    ``low`` and ``high`` are None for one value.
    """

    mean: float
    low: float | None
    high: float | None

    def verdict(self, lower_is_better: bool = True) -> str:
        """``better``, ``worse``, or ``undecided`` where the interval holds 0 or there is none."""
        if self.low is None or self.high is None or self.low <= 0 <= self.high:
            return "undecided"
        return "better" if (self.high < 0) == lower_is_better else "worse"

    def text(self) -> str:
        """``-10.78 [-14.54, -7.01], better``, for a quantity that is better if lower."""
        interval = "" if self.low is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.mean:+.2f}{interval}, {self.verdict()}"


def mean_of(values: Sequence[float]) -> Change:
    """The mean of n independent values, with Student's interval; ``ValueError`` without any."""
    from scipy.stats import t  # slow to import

    if not values:
        raise ValueError("no values")
    n = len(values)
    mean = sum(values) / n
    if n == 1:
        return Change(mean, None, None)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * stdev(values) / math.sqrt(n)
    return Change(mean, mean - half, mean + half)


def paired_change(values: Sequence[float], others: Sequence[float]) -> Change:
    """Compare two models seed by seed.

    Args:
        values: of the one model, one per seed.
        others: of the other, for the same seeds in the same order.

    Raises:
        ValueError: numbers of seeds that differ, or none.
    """
    differences = [a - b for a, b in zip(values, others, strict=True)]
    if not differences:
        raise ValueError("no seeds to compare")
    return mean_of(differences)


def change_of(values: "pd.Series", others: "pd.Series") -> Change | None:
    """``paired_change`` of two models' values over the seeds that both have; None: no seed."""
    both = [seed for seed in values.index if seed in others.index]
    if not both:
        return None
    return paired_change(values[both].tolist(), others[both].tolist())


def relative_change(values: Sequence[float], others: Sequence[float], plus: float = 0.0) -> Change:
    """Compare two models seed by seed, relative to the other: -0.25 is 25% lower.

    The mean of the logarithms of the ratios, with Student's interval, converted back: half and
    double are equally far from equal.

    Args:
        values: of the one model, one per seed, above 0 with ``plus``.
        others: of the other, for the same seeds in the same order.
        plus: added to both, where a share of images may be 0: half an image.

    Raises:
        ValueError: numbers of seeds that differ, none, or a value that is not above 0.
    """
    ratios = [(a + plus, b + plus) for a, b in zip(values, others, strict=True)]
    if any(min(pair) <= 0 for pair in ratios):
        raise ValueError("a relative change needs values above 0")
    change = mean_of([math.log(a / b) for a, b in ratios])
    low, high = (None if end is None else math.expm1(end) for end in (change.low, change.high))
    return Change(math.expm1(change.mean), low, high)
