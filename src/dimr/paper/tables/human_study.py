"""The table of the distortion study: low-fidelity images and, if people rated, distortion rates.

Rates are those of low-fidelity images: they say how often these are distorted, not how often
images in general are. The share of low-fidelity images is shown beside them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.human_study.rates import agreement, answers_of, rates_of
from dimr.human_study.ratings import UNSURE, Key
from dimr.paper.published import DistortionRate
from dimr.paper.statistics import mean_of
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
LOW = [
    Column(key="images", title="Images", format="{:,}"),
    Column(key="median", title="median", group="Confidence", format="{:.3f}"),
    Column(key="q05", title="5%", group="Confidence", format="{:.3f}", csv_only=True),
    Column(key="q01", title="1%", group="Confidence", format="{:.3f}", csv_only=True),
    Column(key="low_fidelity", title="images", group="Low-fidelity", format="{:,}"),
    Column(key="low_share", title="share", group="Low-fidelity", format=PERCENT),
    Column(key="threshold", title="below", group="Low-fidelity"),
    Column(key="shown", title="Shown"),
]
RATED = [
    Column(key="raters", title="Raters"),
    Column(key="complete", title="Fully rated"),
    Column(key="rate", title="Distortion rate", format=PERCENT),
    Column(key="low", title="from", group="95% interval", format=PERCENT),
    Column(key="high", title="to", group="95% interval", format=PERCENT),
    Column(key="unsure", title="Unsure", csv_only=True),
    Column(key="raw", title="Agreement", format=PERCENT),
    Column(key="kappa", title="Kappa", format="{:.2f}"),
    Column(key="kappa_kind", title="Kind of kappa", left=True, csv_only=True),
]
BY_RATER = [
    MODEL[0],
    Column(key="rater", title="Rater", left=True),
    Column(key="answers", title="Answered"),
    Column(key="rate", title="Distortion rate", format=PERCENT),
]
PUBLISHED = [
    Column(key="published_rate", title="rate", group="Published", format=PERCENT),
    Column(key="published_fid", title="FID", group="Published", format="{:.2f}"),
    Column(key="published_source", title="source", group="Published", left=True),
]
NOTES = {
    "low": "Low-fidelity: images whose own class has a probability below {threshold:g} by the "
    "classifier {classifier}, the paper's threshold by a Vision Transformer. Shown: at most "
    "{shown:,} of each model's, drawn at random (seed {seed}), without looking at them. "
    "Confidence: that probability, of all images.",
    "none": "Nobody has rated these images yet: open the rating page, and pass its CSV to "
    "`dimr distortion`.",
    "rate": "Distortion rate: of a model's images that a rater answered, the share called "
    "distorted; then the mean over raters, with Student's 95% interval over them: it says how "
    "raters differ, not how other images would. Unsure counts neither way. Fully rated: images "
    "with all {per_image} ratings.",
    "agreement": "Agreement: share of pairs of answers to an image that are equal, on images with "
    "two or more. Kappa: the same beyond chance, Cohen's of two raters, Krippendorff's alpha of "
    "more; blank where all answers are the same.",
    "published": "Published: the authors' models and raters (paper, section 5.3).",
}


def distortion_sheet(
    key: Key, ratings: "pd.DataFrame", published: dict[str, DistortionRate]
) -> Sheet:
    """The table; without ratings, or published rates, it has no columns for them."""
    columns, notes = [*MODEL, *LOW], ["low"]
    rows = [_low_fidelity(model) for model in key.models]
    names = [model.get("published") for model in key.models]
    each: list[dict[str, Any]] = []
    if ratings.empty:
        notes.append("none")
    else:
        columns, notes = [*columns, *RATED], [*notes, "rate", "agreement"]
        of = ratings["image"].map(key.images)
        for index, row in enumerate(rows):
            row |= _rated(ratings[of == index], key)
            each += _by_rater(row["model"], ratings[of == index])
    if any(names):
        columns, notes = [*columns, *PUBLISHED], [*notes, "published"]
        rows = [
            row | _published(key, name, published) for row, name in zip(rows, names, strict=True)
        ]
    if len(rows) > 1 and not ratings.empty:
        rows.append({"model": ALL, **_rated(ratings, key)})
    blocks = [_block("", columns, rows)]
    if each:
        blocks = [_block("Models", columns, rows), _block("Each rater", BY_RATER, each)]
    facts = {**key.models[0]["config"], "per_image": key.per_image}
    return Sheet(key.title, blocks, [NOTES[name].format(**facts) for name in notes])


def _block(title: str, columns: list[Column], rows: list[dict[str, Any]]) -> Block:
    cells = [[cell(row.get(column.key), column.format) for column in columns] for row in rows]
    return Block(title, columns, cells)


def _low_fidelity(model: dict[str, Any]) -> dict[str, Any]:
    """What the classifier says about a model's images."""
    found = model["confidence"]
    by_quantile = {"median": "0.5", "q05": "0.05", "q01": "0.01"}
    return {
        **{"model": model["name"], "run": model["run"], "setting": model["setting"]},
        **found,
        **{key: found["quantiles"][quantile] for key, quantile in by_quantile.items()},
        "low_share": found["low_fidelity"] / found["images"],
        "threshold": model["config"]["threshold"],
    }


def _rated(ratings: "pd.DataFrame", key: Key) -> dict[str, Any]:
    """What raters say about some images; without a rate if none of them is decided."""
    answers = answers_of(ratings)
    by_rater = rates_of(answers)
    values: dict[str, Any] = {
        "raters": len(by_rater),
        "complete": int((ratings.groupby("image").size() == key.per_image).sum()),
        "unsure": int((ratings["rating"] == UNSURE).sum()),
    }
    if len(by_rater):
        mean = mean_of(by_rater.tolist())
        values["rate"] = mean.mean
        if mean.low is not None and mean.high is not None:
            values |= {"low": max(mean.low, 0.0), "high": min(mean.high, 1.0)}  # rates are shares
    if agreed := agreement(answers):
        values |= {"raw": agreed.raw, "kappa": agreed.kappa, "kappa_kind": agreed.kind}
    return values


def _by_rater(model: str, ratings: "pd.DataFrame") -> list[dict[str, Any]]:
    """A line for each rater who answered an image of a model."""
    answers = answers_of(ratings)
    return [
        {"model": model, "rater": rater, "answers": int(answers[rater].count()), "rate": rate}
        for rater, rate in rates_of(answers).items()
    ]


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
