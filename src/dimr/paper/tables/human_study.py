"""The table of the distortion study: confidence and, where people rated, distortion rates.

Rates are of the images shown, drawn from each model's least confident share: they say how often the
worst images are distorted, not how often images are.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.human_study.rates import agreement, answers_of, majority, rate
from dimr.human_study.ratings import UNSURE, Key
from dimr.paper.published import DistortionRate
from dimr.paper.tables.render import to_csv, to_markdown
from dimr.paper.tables.sheet import Block, Column, Sheet, cell
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_text

if TYPE_CHECKING:
    import pandas as pd

PERCENT = "{:.1%}"
ALL = "All"
MODEL = [
    Column(key="model", title="Model", left=True),
    Column(key="run", title="Run", left=True, csv_only=True),
    Column(key="setting", title="Setting", left=True, csv_only=True),
]
CONFIDENCE = [
    Column(key="images", title="Images", format="{:,}"),
    Column(key="median", title="median", group="Confidence", format="{:.3f}"),
    Column(key="q05", title="5%", group="Confidence", format="{:.3f}"),
    Column(key="q01", title="1%", group="Confidence", format="{:.3f}"),
    Column(key="below_half", title="below 0.5", group="Confidence", format=PERCENT),
    Column(key="least_confident", title="images", group="Least confident", format="{:,}"),
    Column(key="threshold", title="up to", group="Least confident", format="{:.3f}"),
    Column(key="shown", title="Shown"),
]
RATED = [
    Column(key="raters", title="Raters"),
    Column(key="verdicts", title="Rated"),
    Column(key="undecided", title="Undecided"),
    Column(key="distorted", title="Distorted", csv_only=True),
    Column(key="rate", title="Distortion rate", format=PERCENT),
    Column(key="low", title="from", group="95% interval", format=PERCENT),
    Column(key="high", title="to", group="95% interval", format=PERCENT),
    Column(key="rater_mean", title="Mean of raters", format=PERCENT),
    Column(key="unsure", title="Unsure", csv_only=True),
    Column(key="raw", title="Agreement", format=PERCENT),
    Column(key="kappa", title="Kappa", format="{:.2f}"),
    Column(key="kappa_kind", title="Kind of kappa", left=True, csv_only=True),
]
PUBLISHED = [
    Column(key="published_rate", title="rate", group="Published", format=PERCENT),
    Column(key="published_fid", title="FID", group="Published", format="{:.2f}"),
    Column(key="published_source", title="source", group="Published", left=True),
]
NOTES = {
    "confidence": "Confidence: softmax probability that the classifier {classifier} gives the "
    "class an image was drawn for: median, quantiles and share below 0.5 of all images, and the "
    "highest among the least confident.",
    "chosen": "Shown: drawn at random (seed {seed}) from the least confident {share:g}% of each "
    "model's images, without looking at them. Classifier, share and number are this "
    "repository's choice; those of the paper are unconfirmed.",
    "none": "Nobody has rated these images yet: open the rating page, and pass its CSV to "
    "`dimr distortion`.",
    "rate": "Distortion rate: of the images with a verdict, the share that is distorted, with "
    "Wilson's 95% interval. Several raters: an image's verdict is that of the majority of its "
    "answers; none (undecided) where they are equally many or all are unsure. Mean of raters: "
    "each one's own rate, averaged.",
    "agreement": "Agreement: share of equal pairs of answers of an image, on images with two or "
    "more. Kappa: the same beyond chance, Cohen's of two raters, Krippendorff's alpha of more; "
    "blank where all answers are the same.",
    "published": "Published: the authors' models and raters; how they chose images is unconfirmed.",
}


def distortion_sheet(
    key: Key, ratings: "pd.DataFrame", published: dict[str, DistortionRate]
) -> Sheet:
    """The table; without ratings, or published rates, it has no columns for them."""
    columns, notes = [*MODEL, *CONFIDENCE], ["confidence", "chosen"]
    rows = [_confidence(model) for model in key.models]
    names = [model.get("published") for model in key.models]
    if ratings.empty:
        notes.append("none")
    else:
        columns, notes = [*columns, *RATED], [*notes, "rate", "agreement"]
        model_of = ratings["image"].map(key.images)
        rows = [row | _rated(ratings[model_of == index]) for index, row in enumerate(rows)]
    if any(names):
        columns, notes = [*columns, *PUBLISHED], [*notes, "published"]
        rows = [
            row | _published(key, name, published) for row, name in zip(rows, names, strict=True)
        ]
    if len(rows) > 1 and not ratings.empty:
        rows.append({"model": ALL, **_rated(ratings)})
    config = key.models[0]["config"]
    facts = {**config, "share": 100 * config["share"]}
    cells = [[cell(row.get(column.key), column.format) for column in columns] for row in rows]
    return Sheet(key.title, [Block("", columns, cells)], [NOTES[n].format(**facts) for n in notes])


def _confidence(model: dict[str, Any]) -> dict[str, Any]:
    """What the classifier says of a model's images."""
    found = model["confidence"]
    by_quantile = {"median": "0.5", "q05": "0.05", "q01": "0.01"}
    return {
        **{"model": model["name"], "run": model["run"], "setting": model["setting"]},
        **found,
        **{key: found["quantiles"][quantile] for key, quantile in by_quantile.items()},
    }


def _rated(ratings: "pd.DataFrame") -> dict[str, Any]:
    """What raters say of some images; without a rate where no image has a verdict."""
    answers = answers_of(ratings)
    verdicts = majority(answers)
    mean = answers.mean().mean()  # of each rater, then of raters
    values: dict[str, Any] = {
        "raters": answers.shape[1],
        "verdicts": len(verdicts),
        "undecided": len(answers) - len(verdicts),
        "unsure": int((ratings["rating"] == UNSURE).sum()),
        "rater_mean": None if mean != mean else float(mean),
    }
    if total := rate(verdicts):
        values |= {"rate": total.value, "distorted": total.distorted}
        values |= {"low": total.low, "high": total.high}
    if agreed := agreement(answers):
        values |= {"raw": agreed.raw, "kappa": agreed.kappa, "kappa_kind": agreed.kind}
    return values


def _published(key: Key, name: str | None, rates: dict[str, DistortionRate]) -> dict[str, Any]:
    if name is None:
        return {}
    if name not in rates:
        known = ", ".join(rates)
        raise DimrError(f"{key.file}: published: {name!r} is not in published.yaml ({known})")
    return {f"published_{what}": value for what, value in rates[name].model_dump().items()}


def write_distortion_table(
    key: Key,
    ratings: "pd.DataFrame",
    published: dict[str, DistortionRate],
    csv: Path,
    markdown: Path,
) -> str:
    """Write the table as CSV and Markdown; return the Markdown."""
    sheet = distortion_sheet(key, ratings, published)
    write_text(csv, to_csv(sheet))
    text = to_markdown(sheet)
    write_text(markdown, text)
    return text
