"""Means, deviations and the paired comparison over seeds, against numpy's and scipy's."""

import numpy as np
import pytest
from scipy.stats import ttest_rel
from tests.support.results import frame_of

from dimr.paper.statistics import (
    Change,
    by_seed,
    change_of,
    mean_of,
    paired_change,
    relative_change,
    summarise,
    trimmed_mean,
)

ABOVE = [3.0, 3.4, 2.9]
OWN = [2.0, 2.5, 1.8]
FRAME = frame_of({
    (f"d/{model}/{seed}", "guided"): {"fid": value, "gmacs": 2.0}
    for model, values in (("a", ABOVE), ("b", OWN[:2]), ("c", [7.0]))
    for seed, value in enumerate(values)
})  # fmt: skip


def test_mean_deviation_and_number_of_seeds():
    summary = summarise(FRAME)
    mean, deviation, seeds = summary.loc[("d", "a", "guided", "fid")]
    assert (mean, deviation) == pytest.approx((np.mean(ABOVE), np.std(ABOVE, ddof=1)))
    assert seeds == 3
    assert tuple(summary.loc[("d", "a", "guided", "gmacs")]) == (2.0, 0.0, 3)
    mean, deviation, seeds = summary.loc[("d", "c", "guided", "fid")]
    assert (mean, seeds) == (7.0, 1)
    assert np.isnan(deviation)


def test_models_are_compared_over_the_seeds_of_both():
    values = {name: by_seed(FRAME, f"d/{name}", "guided", "fid") for name in "abcx"}
    assert values["b"].to_dict() == {"0": 2.0, "1": 2.5}
    assert change_of(values["b"], values["a"]) == paired_change(OWN[:2], ABOVE[:2])
    assert change_of(values["c"], values["a"]) == Change(4.0, None, None)
    assert change_of(values["x"], values["a"]) is None


def test_interval_is_scipys():
    change = paired_change(OWN, ABOVE)
    expected = ttest_rel(OWN, ABOVE).confidence_interval(0.95)
    assert change.mean == pytest.approx(np.mean(OWN) - np.mean(ABOVE))
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high))
    assert change.text() == f"-1.00 [{change.low:+.2f}, {change.high:+.2f}], better"


def test_a_relative_change_is_scipys_of_logarithms():
    change = relative_change(OWN, ABOVE)
    expected = ttest_rel(np.log(OWN), np.log(ABOVE)).confidence_interval(0.95)
    ratios = np.array(OWN) / np.array(ABOVE)
    assert change.mean == pytest.approx(np.prod(ratios) ** (1 / 3) - 1)
    assert (change.low, change.high) == pytest.approx(np.expm1([expected.low, expected.high]))
    assert relative_change([1.0], [4.0]) == Change(pytest.approx(-0.75), None, None)
    there, back = relative_change([1.0, 2.0], [2.0, 5.0]), relative_change([2.0, 5.0], [1.0, 2.0])
    assert (1 + there.mean) * (1 + back.mean) == pytest.approx(1)
    assert (1 + there.low) * (1 + back.high) == pytest.approx(1)


def test_shares_that_may_be_0_need_something_added():
    assert relative_change([0.0], [0.03], plus=0.01).mean == pytest.approx(0.01 / 0.04 - 1)
    with pytest.raises(ValueError, match="values above 0"):
        relative_change([0.0], [0.03])
    with pytest.raises(ValueError, match=r"shorter|longer"):
        relative_change([1.0, 2.0], [1.0])


def test_one_value_that_is_far_off_does_not_decide():
    values = [1.0, 1.1, 1.2, 1.3, 90.0]
    assert trimmed_mean(values) == pytest.approx((1.1 + 1.2 + 1.3) / 3)
    assert trimmed_mean(values[:3]) == pytest.approx(1.1)  # a fifth of three is none


def test_a_mean_has_students_interval():
    values = [0.5, 0.75, 0.25, 1.0]  # deviation sqrt(5/48); Student's 97.5%, 3 degrees: 3.18245
    half = 3.182446305284263 * (5 / 48) ** 0.5 / 4**0.5
    found = mean_of(values)
    assert (found.mean, found.low, found.high) == pytest.approx((0.625, 0.625 - half, 0.625 + half))
    assert mean_of([0.5]) == Change(0.5, None, None)
    with pytest.raises(ValueError, match="no values"):
        mean_of([])


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher"),
    [
        (-2.0, -0.1, "better", "worse"),
        (0.1, 2.0, "worse", "better"),
        (-0.1, 2.0, "undecided", "undecided"),
        (None, None, "undecided", "undecided"),
    ],
)
def test_verdict(low, high, lower, higher):
    change = Change(0.0, low, high)
    assert change.verdict() == lower
    assert change.verdict(lower_is_better=False) == higher


def test_seeds_must_pair():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_change([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no seeds"):
        paired_change([], [])
