"""Low-fidelity images, model by model, uncurated: paper, figures 1 (below) and 5."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.project import Project
from dimr.data.shards import open_shards
from dimr.evaluation.names import FID_TITLES
from dimr.human_study.confidence import (
    draw_some,
    least_confident,
    low_fidelity,
    read_confidence,
    read_summary,
)
from dimr.human_study.study import scores_file
from dimr.paper.figures import style
from dimr.paper.figures.definitions import LowFidelityFigure
from dimr.paper.published import load_published
from dimr.paper.results import results
from dimr.runtime.errors import DimrError
from dimr.runtime.record import recorded_key
from dimr.sampling.grid import heading

COLUMNS = 8
"""Images per line."""
SIDE = style.WIDTH / COLUMNS
"""Width of a column in inches."""
SHARE = 0.97
"""Share of a column that an image takes."""
LINE, BREAK, ROW = 0.14, 0.1, SIDE + 0.13
"""Inches: a line of a heading, the space between models, images with their captions."""
EDGE = 0.03
"""Inches above the first line, whose letters would be cut off otherwise."""
TINY = 5.5
"""Font size of captions, in points."""
LETTERS = 15
"""Most letters of a class's name in a caption."""


@dataclass(frozen=True)
class LowFidelity:
    """A model's images.

    Attributes:
        lines: of the heading: the model, and what is known about it.
        images: uint8 (N, H, W, 3).
        captions: one under each image.
    """

    lines: Sequence[str]
    images: NDArray[np.uint8]
    captions: Sequence[str]


def make(definition: LowFidelityFigure, project: Project, runs: Path) -> Figure:
    """The figure of a definition."""
    return draw(load(definition, project, runs))


def load(definition: LowFidelityFigure, project: Project, runs: Path) -> list[LowFidelity]:
    """Draw low-fidelity images of a distortion study's models, and read their FID.

    Raises:
        DimrError: scores, samples or metrics that are missing, damaged, or do not belong together.
    """
    frame = results(project, runs, definition.fid_cells(project))
    numbers = frame.set_index(["run", "metric"])["value"].to_dict()
    published = load_published(project).distortion
    models = []
    for row in definition.rows(project):
        key = next((key for key in FID_TITLES if (row.run, key) in numbers), None)
        if key is None:
            raise DimrError(f"{row.run}: no {' and no '.join(FID_TITLES)} at {row.fid_setting}")
        file = runs / scores_file(row.run, row.setting)
        folder = runs / row.run / "samples" / row.setting
        summary, samples = read_summary(file), open_shards(folder)
        if summary["inputs"]["samples"] != recorded_key(folder):
            raise DimrError(f"{file}: not of the images in {folder}")
        confidence = read_confidence(file, summary["images"])
        rejected, what = _rejected(confidence, summary, definition.share)
        index = draw_some(rejected, definition.shown, summary["config"]["seed"])
        fid, setting = numbers[row.run, key], row.fid_setting.replace("_", "-")
        lines = [f"{row.name}, {setting}: {FID_TITLES[key]} {fid:.2f}", what]
        if theirs := published.get(row.published or ""):
            rate = f"{theirs.rate:.1%} rated as distorted"
            lines.append(f"published: FID {theirs.fid:.2f}, {rate}")
        names, labels = samples.manifest.class_names, samples.labels
        shown = [style.words(heading(names, labels[n])[:LETTERS]) for n in index]
        captions = [f"{name} {confidence[n]:.2f}" for name, n in zip(shown, index, strict=True)]
        models.append(LowFidelity(lines, samples.take(index), captions))
    return models


def _rejected(
    confidence: NDArray[np.float32], summary: dict[str, Any], share: float | None
) -> tuple[NDArray[np.int64], str]:
    """The images to draw from, and what they are, in words."""
    if share is None:
        threshold = summary["config"]["threshold"]
        found, how = low_fidelity(confidence, threshold), f"own class below {threshold:g}"
    else:
        found = least_confident(confidence, share)
        how = f"least confident, own class up to {confidence[found].max():.3f}"
    total = len(confidence)
    return found, f"{how}: {len(found):,} of {total:,} images, {len(found) / total:.1%}"


def draw(models: Sequence[LowFidelity]) -> Figure:
    """The models below each other: a heading, then the images with a caption each."""
    heights = [_heading(model) + _rows(model) * ROW + BREAK for model in models]
    figure = Figure(figsize=(style.WIDTH, EDGE + sum(heights)))
    top = sum(heights)
    for model, height in zip(models, heights, strict=True):
        _draw_model(figure, model, top)
        top -= height
    return figure


def _draw_model(figure: Figure, model: LowFidelity, top: float) -> None:
    """Heading and images, from ``top`` (inches from the figure's lower edge) down."""
    total = figure.get_size_inches()[1]
    for number, line in enumerate(model.lines):
        weight = "normal" if number else "bold"
        figure.text(0.002, (top - LINE * number) / total, line, va="top", fontsize=style.SMALL,
                    fontweight=weight)  # fmt: skip
    for number, image in enumerate(model.images):
        row, column = divmod(number, COLUMNS)
        foot = top - _heading(model) - row * ROW - SHARE * SIDE
        area = (column / COLUMNS, foot / total, SHARE / COLUMNS, SHARE * SIDE / total)
        axes = figure.add_axes(area)
        large = image.shape[1] > SIDE * style.DPI  # than can be printed
        axes.imshow(image, interpolation="antialiased" if large else "none", aspect="auto")
        axes.set_axis_off()
        figure.text(area[0] + area[2] / 2, (foot - 0.02) / total, model.captions[number],
                    ha="center", va="top", fontsize=TINY)  # fmt: skip


def _heading(model: LowFidelity) -> float:
    return LINE * len(model.lines) + 0.03


def _rows(model: LowFidelity) -> int:
    return -(-len(model.images) // COLUMNS)
