"""The rating page of the distortion study: one HTML file for a browser, and the key to it.

The page holds the low-fidelity images of all models in random order, as PNG, each with the name of
its class, under ids that reveal nothing; only the key says which model an image is from. A rater's
number decides which images that rater is shown, and in which order (``assignment``). The page needs
no network. It exports the CSV files that ``dimr.human_study.ratings`` reads.
"""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.config.schema import Distortion, Study
from dimr.data.classes import class_names
from dimr.human_study.assignment import hand_out, orders
from dimr.human_study.confidence import Chosen, Summary, read_chosen, read_summary
from dimr.human_study.ratings import KEY_FORMAT
from dimr.human_study.study import scores_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, write_json, write_text
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import numpy_generator

LARGEST = 400 << 20
"""Characters of a page: browsers refuse texts of 512 MiB."""


@dataclass(frozen=True)
class ModelImages:
    """A model of the study: its row as in ``Study``, the summary of its scores, its images."""

    row: dict[str, Any]
    summary: dict[str, Any]
    chosen: Chosen


@dataclass(frozen=True)
class Entry:
    """An image of the page.

    Attributes:
        id: 16 hex digits that reveal nothing, the same for the same image of the same run.
        pixels: uint8 (H, W, 3).
        label: name of its class, with its synonyms.
        facts: what the key says about it.
        raters: who is shown it, numbered from 0.
    """

    id: str
    pixels: NDArray[np.uint8]
    label: str
    facts: dict[str, Any]
    raters: list[int]


def read_models(study: Study, runs: Path) -> list[ModelImages]:
    """The images of every model of a study.

    Raises:
        DimrError: scores that are missing or damaged, or not chosen in the same way for all.
    """
    models: list[ModelImages] = []
    for row in study.rows:
        path = runs / scores_file(row.run, row.setting)
        summary = read_summary(path)
        first = models[0].summary["config"] if models else summary["config"]
        for name in Distortion.model_fields:
            own, other = (config.get(name) for config in (summary["config"], first))
            if own != other:
                raise DimrError(f"{path}: {name} is {own!r}; {study.rows[0].run} has {other!r}")
        models.append(ModelImages(row.model_dump(), summary, read_chosen(path)))
    return models


def write_rating_page(study: Study, models: Sequence[ModelImages], out: Path, key: Path) -> None:
    """Write the page and its key; the same study and images give the same files.

    Args:
        study: title, raters, and seed of who is shown what.
        models: whose images are shown.
        out: the page.
        key: which model each image is from, who is shown it, and its confidence.

    Raises:
        DimrError: there is no low-fidelity image, or more than a browser can open.
    """
    entries = [entry for model in models for entry in _entries(study, model)]
    if not entries:
        raise DimrError(f"{out}: there is no low-fidelity image of any model")
    order = numpy_generator(study.seed, "rating page").permutation(len(entries))
    entries = [entries[i] for i in order]
    raters = orders([entry.raters for entry in entries], study.raters, study.seed)
    page = key_of([entry.id for entry in entries], raters)[:8]
    images = [
        {"id": entry.id, "label": entry.label, "png": _png(entry.pixels)}
        for entry in progress_bar(entries, description="rating page", unit="image")
    ]
    html = _html({"page": page, "images": images, "raters": raters})
    if len(html) > LARGEST:
        size = f"{len(html) >> 20} MiB of {len(images)} images"
        raise DimrError(f"{out}: {size}: no browser opens it: lower recipes.yaml: distortion.shown")
    content = {
        "format": KEY_FORMAT,
        "page": page,
        "title": study.title,
        "raters": study.raters,
        "per_image": study.per_image,
        "models": [
            {
                **model.row,
                "confidence": {name: model.summary[name] for name in Summary.__annotations__},
                "key": model.summary["key"],
                "config": model.summary["config"],
            }
            for model in models
        ],
        "images": {entry.id: entry.facts for entry in entries},
    }
    write_json(key, content)
    write_text(out, html)


def _entries(study: Study, model: ModelImages) -> list[Entry]:
    """The chosen images of a model."""
    row, chosen, summary = model.row, model.chosen, model.summary
    # scores of older versions lack the names
    names = summary.get("class_names") or class_names(summary["classes"])
    purpose = f"raters of {row['run']} {row['setting']}"
    given = hand_out(len(chosen.index), study.raters, study.per_image, study.seed, purpose)
    entries = []
    for number, raters in enumerate(given):
        pixels, index = chosen.images[number], int(chosen.index[number])
        label, digest = int(chosen.labels[number]), hashlib.sha256(pixels.tobytes()).hexdigest()
        facts = {
            "model": row["name"],
            "index": index,
            "label": label,
            "confidence": float(chosen.confidence[number]),
            "raters": [rater + 1 for rater in raters],
        }
        named = key_of(study.seed, row["run"], row["setting"], index, digest)
        entries.append(Entry(named, pixels, names[label], facts, raters))
    return entries


def _png(pixels: NDArray[np.uint8]) -> str:
    """An image (H, W, 3) as base64 of a PNG, which holds nothing but the pixels."""
    from PIL import Image

    target = io.BytesIO()
    Image.fromarray(pixels).save(target, "PNG", optimize=True)
    return base64.b64encode(target.getvalue()).decode()


def _html(data: dict[str, Any]) -> str:
    """The page with style, script and data in their places."""
    folder = files("dimr.human_study")
    page, style, script = (
        (folder / f"rating_page.{kind}").read_text(encoding="utf-8")
        for kind in ("html", "css", "js")
    )
    # No text in the data can close the element that contains it.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    for mark, part in (("/*STYLE*/", style), ("/*SCRIPT*/", script), ("/*DATA*/", text)):
        page = page.replace(mark, part.rstrip("\n"))
    return page
