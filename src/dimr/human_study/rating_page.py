"""The rating page of the distortion study: one HTML file for a browser, and the key to it.

The page holds the images of all models in random order, as PNG, under ids that say nothing; which
model an image is from, only the key says. It needs no network. It exports the CSV files that
``dimr.human_study.ratings`` reads.
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
from dimr.human_study.confidence import Chosen, Summary, read_chosen, read_summary
from dimr.human_study.ratings import KEY_FORMAT
from dimr.human_study.study import scores_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, write_json, write_text
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import numpy_generator


@dataclass(frozen=True)
class ModelImages:
    """A model of the study: its row as in ``Study``, the summary of its scores, its images."""

    row: dict[str, Any]
    summary: dict[str, Any]
    chosen: Chosen


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
        study: title, and seed of the order.
        models: whose images are shown.
        out: the page.
        key: which model each image is from, and the confidence that it was chosen by.
    """
    entries = [
        _entry(study, model, number)
        for model in models
        for number in range(len(model.chosen.images))
    ]
    order = numpy_generator(study.seed, "rating page").permutation(len(entries))
    shown = [entries[i] for i in order]
    page = key_of([image for image, _, _ in shown])[:8]
    images = progress_bar(shown, description="rating page", unit="image")
    data = {"page": page, "images": [{"id": i, "png": _png(pixels)} for i, pixels, _ in images]}
    content = {
        "format": KEY_FORMAT,
        "page": page,
        "title": study.title,
        "models": [
            {
                **model.row,
                "confidence": {name: model.summary[name] for name in Summary.__annotations__},
                "key": model.summary["key"],
                "config": model.summary["config"],
            }
            for model in models
        ],
        "images": {image: facts for image, _, facts in shown},
    }
    write_json(key, content)
    write_text(out, _html(data))


def _entry(
    study: Study, model: ModelImages, number: int
) -> tuple[str, NDArray[np.uint8], dict[str, Any]]:
    """Id, pixels and facts of a chosen image.

    The id is 16 hex digits that reveal nothing, the same for the same image of the same run.
    """
    chosen = model.chosen
    pixels, index = chosen.images[number], int(chosen.index[number])
    digest = hashlib.sha256(pixels.tobytes()).hexdigest()
    facts = {
        "model": model.row["name"],
        "index": index,
        "label": int(chosen.labels[number]),
        "confidence": float(chosen.confidence[number]),
    }
    return key_of(study.seed, model.row["run"], model.row["setting"], index, digest), pixels, facts


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
    # No text of the data can end the element that it stands in.
    text = json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
    for mark, part in (("/*STYLE*/", style), ("/*SCRIPT*/", script), ("/*DATA*/", text)):
        page = page.replace(mark, part.rstrip("\n"))
    return page
