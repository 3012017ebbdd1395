"""Rates with their intervals, several raters as one, and how far these agree.

An *answer* is True (distorted) or False (not distorted); "unsure" is no answer. An image's verdict
is that of the majority of its answers; where they are equally many there is none, and the image
counts in no rate, as an image without answers does.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from dimr.human_study.ratings import DISTORTED, UNSURE, Rating

Answers = Mapping[str, Mapping[str, bool]]
"""Answers by image, then by rater."""


@dataclass(frozen=True)
class Rate:
    """How many of the images with a verdict are distorted, and Wilson's interval of the rate."""

    distorted: int
    images: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The rate, in [0, 1]."""
        return self.distorted / self.images


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the images that two or more of them answered.

    ``raw`` is the share of equal pairs of answers of an image, averaged over images. ``kappa``
    corrects for chance: ``kind`` is Cohen's kappa of two raters, or Krippendorff's alpha (nominal,
    which allows for missing answers) of more. None: all answers are the same, so it has no value.
    """

    images: int
    raw: float
    kappa: float | None
    kind: str


def answers_of(ratings: Iterable[Rating]) -> dict[str, dict[str, bool]]:
    """The answers in ratings; images that were rated as unsure alone have an empty entry."""
    found: dict[str, dict[str, bool]] = {}
    for one in ratings:
        own = found.setdefault(one.image, {})
        if one.rating != UNSURE:
            own[one.rater] = one.rating == DISTORTED
    return found


def majority(answers: Answers) -> dict[str, bool]:
    """The verdict on each image that has one."""
    verdicts = {}
    for image, own in answers.items():
        distorted = sum(own.values())
        if 2 * distorted != len(own):
            verdicts[image] = 2 * distorted > len(own)
    return verdicts


def rate(verdicts: Iterable[bool]) -> Rate | None:
    """The rate with its 95% interval (Wilson's score interval); None without verdicts."""
    from scipy.stats import binomtest

    found = list(verdicts)
    if not found:
        return None
    interval = binomtest(sum(found), len(found)).proportion_ci(0.95, method="wilson")
    return Rate(sum(found), len(found), float(interval.low), float(interval.high))


def rater_rates(answers: Answers) -> dict[str, float]:
    """Each rater's own rate over the images that they answered, by name."""
    own: dict[str, list[bool]] = {}
    for image in answers.values():
        for rater, answer in image.items():
            own.setdefault(rater, []).append(answer)
    return {rater: sum(found) / len(found) for rater, found in sorted(own.items())}


def agreement(answers: Answers) -> Agreement | None:
    """How far the raters agree; None if no image has two answers."""
    shared = [dict(own) for own in answers.values() if len(own) > 1]
    raters = sorted({rater for own in shared for rater in own})
    if not shared:
        return None
    units = [list(own.values()) for own in shared]
    raw = sum(_equal_pairs(unit) for unit in units) / len(units)
    if len(raters) == 2:
        first, second = ([own[rater] for own in shared] for rater in raters)
        return Agreement(len(units), raw, cohen_kappa(first, second), "Cohen's kappa")
    return Agreement(len(units), raw, krippendorff_alpha(units), "Krippendorff's alpha")


def _equal_pairs(unit: Sequence[bool]) -> float:
    pairs = list(itertools.combinations(unit, 2))
    return sum(a == b for a, b in pairs) / len(pairs)


def cohen_kappa(first: Sequence[bool], second: Sequence[bool]) -> float | None:
    """Cohen's kappa of two raters' answers to the same images; None if all are the same."""
    from sklearn.metrics import cohen_kappa_score

    if len({*first, *second}) < 2:
        return None
    return float(cohen_kappa_score(first, second))


def krippendorff_alpha(units: Iterable[Sequence[bool]]) -> float | None:
    """Krippendorff's alpha of nominal answers, 1 - observed / expected disagreement.

    Each unit (image) holds the answers that it got, from whomever; units with one count for
    nothing. None if all answers are the same. Source: Krippendorff, Computing Krippendorff's
    Alpha-Reliability (2011), section C.
    """
    pairable = [unit for unit in units if len(unit) > 1]
    total = sum(map(len, pairable))
    yes = sum(map(sum, pairable))
    if yes in (0, total):
        return None
    # Ordered pairs of unequal answers: within units, each with its weight, and among all answers.
    observed = sum(2 * sum(u) * (len(u) - sum(u)) / (len(u) - 1) for u in pairable) / total
    expected = 2 * yes * (total - yes) / (total * (total - 1))
    return 1 - observed / expected
