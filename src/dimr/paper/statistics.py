"""Is a row better than another? A paired comparison over seeds.

Runs of the same seed share the order of batches, the noise of training and of sampling: their
difference varies less than either does. The interval is Student's, for the mean of n differences.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Change:
    """The mean difference (one row less the other), and its 95% confidence interval.

    ``low`` and ``high`` are None for one seed.
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
        """``-10.78 [-14.54, -7.01], better``; of a quantity that is better if it is lower."""
        interval = "" if self.low is None else f" [{self.low:+.2f}, {self.high:+.2f}]"
        return f"{self.mean:+.2f}{interval}, {self.verdict()}"


def paired_change(values: Sequence[float], others: Sequence[float]) -> Change:
    """Compare two rows seed by seed.

    Args:
        values: of the one row, one a seed.
        others: of the other row, for the same seeds in the same order.

    Raises:
        ValueError: numbers of seeds that differ, or none.
    """
    from scipy.stats import t  # slow to import

    differences = [a - b for a, b in zip(values, others, strict=True)]
    n = len(differences)
    mean = sum(differences) / n if n else math.nan
    if n == 0:
        raise ValueError("no seeds to compare")
    if n == 1:
        return Change(mean, None, None)
    variance = sum((d - mean) ** 2 for d in differences) / (n - 1)
    half = float(t.ppf((1 + CONFIDENCE) / 2, n - 1)) * math.sqrt(variance / n)
    return Change(mean, mean - half, mean + half)
