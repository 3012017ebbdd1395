"""Each rater's distortion rate, and how far raters agree.

*Answers* are a data frame with a row per image and a column per rater: 1 (distorted), 0 (not
distorted) or NaN (unsure, or not rated).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dimr.human_study.ratings import DISTORTED, INTACT

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Agreement:
    """How far raters agree on the images that two or more of them answered.

    ``raw`` is the share of equal pairs of answers to an image, averaged over images. ``kappa``
    corrects for chance: ``kind`` is Cohen's kappa for two raters, or Krippendorff's alpha (nominal,
    which allows for missing answers) for more. None: undefined, as all answers are the same.
    """

    images: int
    raw: float
    kappa: float | None
    kind: str


def answers_of(ratings: "pd.DataFrame") -> "pd.DataFrame":
    """The answers in ``read_ratings``' rows: images x raters, 1, 0 or NaN."""
    answered = ratings["rating"].map({DISTORTED: 1.0, INTACT: 0.0}).astype(float)
    return ratings.assign(answer=answered).pivot(index="image", columns="rater", values="answer")


def rates_of(answers: "pd.DataFrame") -> "pd.Series":
    """Each rater's rate: of the images that the rater answered, the share called distorted."""
    return answers.mean().dropna()


def agreement(answers: "pd.DataFrame") -> Agreement | None:
    """How far the raters agree; None if no image has two answers."""
    shared = answers[answers.count(axis=1) > 1].dropna(axis=1, how="all")
    if shared.empty:
        return None
    count, yes = shared.count(axis=1), shared.sum(axis=1)
    no = count - yes
    raw = float(((yes * (yes - 1) + no * (no - 1)) / (count * (count - 1))).mean())
    if shared.shape[1] == 2:
        return Agreement(len(shared), raw, cohen_kappa(shared), "Cohen's kappa")
    return Agreement(len(shared), raw, krippendorff_alpha(shared), "Krippendorff's alpha")


def cohen_kappa(answers: "pd.DataFrame") -> float | None:
    """Cohen's kappa of two raters who answered every image; None if all answers are the same."""
    from sklearn.metrics import cohen_kappa_score

    first, second = answers.to_numpy().T
    if len({*first, *second}) < 2:
        return None
    return float(cohen_kappa_score(first, second))


def krippendorff_alpha(answers: "pd.DataFrame") -> float | None:
    """Krippendorff's alpha of nominal answers, 1 - observed / expected disagreement.

    Images with one answer count for nothing. None if all answers are the same. Source:
    Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C.
    """
    pairable = answers[answers.count(axis=1) > 1]
    count, yes = pairable.count(axis=1), pairable.sum(axis=1)
    total, total_yes = int(count.sum()), int(yes.sum())
    if total_yes in (0, total):
        return None
    # Ordered pairs of unequal answers: within images, each with its weight, and among all answers.
    observed = (2 * yes * (count - yes) / (count - 1)).sum() / total
    expected = 2 * total_yes * (total - total_yes) / (total * (total - 1))
    return float(1 - observed / expected)
