"""Images that a classifier is least confident of, model by model, uncurated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.project import Project
from dimr.data.classes import class_names, short_name
from dimr.human_study.confidence import read_chosen, read_summary
from dimr.paper.figures import style
from dimr.paper.figures.definitions import LowFidelityFigure
from dimr.paper.published import load_published
from dimr.paper.results import results
from dimr.runtime.errors import DimrError

COLUMNS = 8
"""Images per line."""
SIDE = style.WIDTH / COLUMNS
"""Inches of a column."""
SHARE = 0.97
"""Of a column, that an image takes."""
FIDS = {"fid": "FID", "fid_digits": "FID-digits"}
"""What a run's fidelity metric is called."""
LINE, BREAK, ROW = 0.14, 0.1, SIDE + 0.13
"""Inches: a line of a heading, the space between models, images with their captions."""
EDGE = 0.03
"""Inches above the first line, whose letters would be cut off."""
TINY = 5.5
"""Points, of captions."""
LETTERS = 15
"""At most, of a class's name in a caption."""


@dataclass(frozen=True)
class LowFidelity:
    """A model's images.

    Attributes:
        lines: of the heading: the model, and what is known of it.
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
    """Read the chosen images of a distortion study's models, and their metrics."""
    frame = results(project, runs, definition.cells(project))
    numbers = frame.set_index(["run", "metric"])["value"].to_dict()
    published = load_published(project).distortion
    models = []
    for row in definition.rows(project):
        key = next((key for key in FIDS if (row.run, key) in numbers), None)
        if key is None:
            raise DimrError(f"{row.run}: no {' and no '.join(FIDS)} at {row.setting}")
        file = runs / row.run / "distortion" / f"{row.setting}.json"
        summary, chosen = read_summary(file), read_chosen(file)
        if len(chosen.images) < definition.shown:
            found = f"{len(chosen.images)} images, not {definition.shown}"
            raise DimrError(f"{file.with_suffix('.npz')}: {found}")
        lines = [
            f"{row.name}, {row.setting.replace('_', '-')}: {FIDS[key]} {numbers[row.run, key]:.2f}",
            f"own class below 0.5: {summary['below_half']:.1%} of {summary['images']:,} images; "
            f"the {summary['least_confident']} least confident: up to {summary['threshold']:.3f}",
        ]
        if theirs := published.get(row.published or ""):
            rate = f"{theirs.rate:.1%} rated as distorted"
            lines.append(f"published: FID {theirs.fid:.2f}, {rate}")
        network = project.run(row.run).network
        names = class_names(network.sizes.num_classes) if network else []
        captions = [
            f"{short_name(names[label])[:LETTERS]} {confidence:.2f}"
            for label, confidence in zip(chosen.labels, chosen.confidence, strict=True)
        ]
        shown = slice(definition.shown)
        models.append(LowFidelity(lines, chosen.images[shown], captions[shown]))
    return models


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
