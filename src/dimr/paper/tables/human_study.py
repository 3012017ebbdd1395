"""The table of the distortion study: confidence and, where people rated, distortion rates.

Rates are of images shown, which are drawn from each model's least confident share: they say how
often the worst images are distorted, not how often images are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from dimr.human_study.rates import (
    Agreement,
    agreement,
    answers_of,
    majority,
    rate,
    rater_rates,
)
from dimr.human_study.ratings import UNSURE, Key, Rating
from dimr.paper.published import DistortionRate
from dimr.paper.tables.sheets import Block, Cell, Sheet, SheetColumn, cell, to_csv, to_markdown
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_text

PERCENT = "{:.1%}"
ALL = "All"
MODEL = [
    SheetColumn(key="model", title="Model", left=True),
    SheetColumn(key="run", title="Run", left=True, csv_only=True),
    SheetColumn(key="setting", title="Setting", left=True, csv_only=True),
]
CONFIDENCE = [
    SheetColumn(key="images", title="Images", format="{:,}"),
    SheetColumn(key="median", title="median", group="Confidence", format="{:.3f}"),
    SheetColumn(key="q05", title="5%", group="Confidence", format="{:.3f}"),
    SheetColumn(key="q01", title="1%", group="Confidence", format="{:.3f}"),
    SheetColumn(key="below_half", title="below 0.5", group="Confidence", format=PERCENT),
    SheetColumn(key="least_confident", title="images", group="Least confident", format="{:,}"),
    SheetColumn(key="threshold", title="up to", group="Least confident", format="{:.3f}"),
    SheetColumn(key="shown", title="Shown"),
]
RATED = [
    SheetColumn(key="raters", title="Raters"),
    SheetColumn(key="verdicts", title="Rated"),
    SheetColumn(key="undecided", title="Undecided"),
    SheetColumn(key="distorted", title="Distorted", csv_only=True),
    SheetColumn(key="rate", title="Distortion rate", format=PERCENT),
    SheetColumn(key="low", title="from", group="95% interval", format=PERCENT),
    SheetColumn(key="high", title="to", group="95% interval", format=PERCENT),
    SheetColumn(key="rater_mean", title="Mean of raters", format=PERCENT),
    SheetColumn(key="unsure", title="Unsure", csv_only=True),
    SheetColumn(key="raw", title="Agreement", format=PERCENT),
    SheetColumn(key="kappa", title="Kappa", format="{:.2f}"),
    SheetColumn(key="kappa_kind", title="Kind of kappa", left=True, csv_only=True),
]
PUBLISHED = [
    SheetColumn(key="published_rate", title="rate", group="Published", format=PERCENT),
    SheetColumn(key="published_fid", title="FID", group="Published", format="{:.2f}"),
    SheetColumn(key="published_source", title="source", group="Published", left=True),
]
NOTES = {
    "confidence": "Confidence: softmax probability that the classifier {classifier} gives the "
    "class an image was drawn for: median, quantiles and share below 0.5 of all images, and the "
    "highest among the least confident.",
    "chosen": "Shown: drawn at random (seed {seed}) from the least confident {share:g}% of each "
    "model's images, which were not looked at before. Classifier, share and number are this "
    "repository's choice; those of the paper are unconfirmed.",
    "none": "Nobody has rated these images yet: open the rating page, and hand its CSV to "
    "`dimr distortion`.",
    "rate": "Distortion rate: of the images with a verdict, the share that is distorted, with "
    "Wilson's 95% interval. Several raters: an image's verdict is that of the majority of its "
    "answers; none (undecided) where they are equally many or all are unsure. Mean of raters: "
    "each one's own rate, averaged.",
    "agreement": "Agreement: share of equal pairs of answers of an image, on images with two or "
    "more. Kappa: the same beyond chance, Cohen's of two raters, Krippendorff's alpha of more; "
    "blank where all answers are the same.",
}


def distortion_sheet(
    key: Key, ratings: Sequence[Rating], published: dict[str, DistortionRate]
) -> Sheet:
    """The table; without ratings, or published rates, it has no columns for them."""
    columns = [*MODEL, *CONFIDENCE]
    rows = [[*_model(model), *_confidence(model)] for model in key.models]
    together = len(key.models) > 1 and bool(ratings)
    if together:
        rows.append([cell(ALL), *[cell(None)] * (len(columns) - 1)])
    if ratings:
        columns += RATED
        for index, row in enumerate(rows):
            own = [r for r in ratings if index in (len(key.models), key.images[r.image])]
            row += _rated(own)
    names = [model.get("published") for model in key.models]
    if any(names):
        columns += PUBLISHED
        for name, row in zip([*names, *[None] * together], rows, strict=True):
            row += _published(key, name, published)
    return Sheet(key.title, [Block("", columns, rows)], _notes(key, bool(ratings), any(names)))


def _model(model: dict[str, Any]) -> list[Cell]:
    return [cell(model[name]) for name in ("name", "run", "setting")]


def _confidence(model: dict[str, Any]) -> list[Cell]:
    found = model["confidence"]
    quantiles = found["quantiles"]
    values = {
        **found,
        "median": quantiles["0.5"],
        "q05": quantiles["0.05"],
        "q01": quantiles["0.01"],
    }
    return [cell(values[column.key], column.format) for column in CONFIDENCE]


def _rated(ratings: Sequence[Rating]) -> list[Cell]:
    """The cells of some images' ratings; blank where there are none."""
    answers = answers_of(ratings)
    verdicts = majority(answers)
    total, by_rater, agreed = rate(verdicts.values()), rater_rates(answers), agreement(answers)
    values: dict[str, Any] = {
        "raters": len({one.rater for one in ratings}),
        "verdicts": len(verdicts),
        "undecided": len(answers) - len(verdicts),
        "unsure": sum(one.rating == UNSURE for one in ratings),
        "rater_mean": sum(by_rater.values()) / len(by_rater) if by_rater else None,
        **_agreement(agreed),
    }
    if total:
        values |= {"rate": total.value, "distorted": total.distorted}
        values |= {"low": total.low, "high": total.high}
    return [cell(values.get(column.key), column.format) for column in RATED]


def _agreement(agreed: Agreement | None) -> dict[str, Any]:
    if agreed is None:
        return {}
    return {"raw": agreed.raw, "kappa": agreed.kappa, "kappa_kind": agreed.kind}


def _published(key: Key, name: str | None, rates: dict[str, DistortionRate]) -> list[Cell]:
    if name is None:
        return [cell(None)] * len(PUBLISHED)
    if name not in rates:
        known = ", ".join(rates)
        raise DimrError(f"{key.file}: published: {name!r} is not in published.yaml ({known})")
    one = rates[name]
    values = [one.rate, one.fid, one.source]
    return [cell(v, column.format) for v, column in zip(values, PUBLISHED, strict=True)]


def _notes(key: Key, rated: bool, published: bool) -> list[str]:
    config = key.models[0]["config"]
    facts = {
        "classifier": config["classifier"],
        "seed": config["seed"],
        "share": 100 * config["share"],
    }
    shown = ["confidence", "chosen", *(["rate", "agreement"] if rated else ["none"])]
    notes = [NOTES[name].format(**facts) for name in shown]
    if published:
        notes.append(
            "Published: of the authors' models and raters; how they chose images is unconfirmed."
        )
    return notes


def write_distortion_table(
    key: Key,
    ratings: Iterable[Rating],
    published: dict[str, DistortionRate],
    csv: Path,
    markdown: Path,
) -> str:
    """Write the table as CSV and Markdown; return the Markdown."""
    sheet = distortion_sheet(key, list(ratings), published)
    write_text(csv, to_csv(sheet))
    text = to_markdown(sheet)
    write_text(markdown, text)
    return text
