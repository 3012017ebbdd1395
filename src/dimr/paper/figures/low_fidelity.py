"""Images that a classifier is least confident of, model by model, uncurated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.recipes import ROOT
from dimr.config.runs import load_run
from dimr.config.schema import StudyRow
from dimr.data.classes import class_names, short_name
from dimr.human_study.confidence import read_chosen, read_summary
from dimr.paper.figures import style
from dimr.paper.figures.definitions import LowFidelityFigure
from dimr.paper.published import DistortionRate, load_published
from dimr.paper.results import metrics_file, read_made
from dimr.runtime.errors import DimrError

COLUMNS = 8
"""Images a line."""
SIDE = style.WIDTH / COLUMNS
"""Inches of a column."""
SHARE = 0.97
"""Of it, that an image takes."""
FIDS = {"fid": "FID", "fid_digits": "FID-digits"}
"""How a run's metric of fidelity is called."""
LINE, BREAK, ROW = 0.14, 0.1, SIDE + 0.13
"""Inches: a line of a heading, the space between models, images with their captions."""
EDGE = 0.03
"""Inches above the first line, whose letters would be cut."""
TINY = 5.5
"""Points, of captions."""
LETTERS = 15
"""Of a class's name in a caption at most."""


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


def load(definition: LowFidelityFigure, runs: Path, root: Path = ROOT) -> list[LowFidelity]:
    """Read the chosen images of a distortion study's models, and what is measured of them."""
    published = load_published(root).distortion
    return [
        _load_model(row, definition.shown, runs, published.get(row.published or ""), root)
        for row in definition.study_rows(root)
    ]


def _load_model(
    row: StudyRow, shown: int, runs: Path, theirs: DistortionRate | None, root: Path
) -> LowFidelity:
    file = runs / row.run / "distortion" / f"{row.setting}.json"
    summary, chosen = read_summary(file), read_chosen(file)
    if len(chosen.images) < shown:
        raise DimrError(f"{file.with_suffix('.npz')}: {len(chosen.images)} images, not {shown}")
    made = read_made(runs, [runs / metrics_file(row.run, row.setting)])[row.run, row.setting]
    key = next((key for key in FIDS if key in made.metrics), "fid")
    lines = [
        f"{row.name}, {row.setting.replace('_', '-')}: {FIDS[key]} {made.number(key):.2f}",
        f"own class below 0.5: {summary['below_half']:.1%} of {summary['images']:,} images; "
        f"the {summary['least_confident']} least confident: up to {summary['threshold']:.3f}",
    ]
    if theirs is not None:
        lines.append(f"published: FID {theirs.fid:.2f}, {theirs.rate:.1%} rated as distorted")
    network = load_run(row.run, root).network
    names = class_names(network.num_classes) if network else []
    captions = [
        f"{short_name(names[label])[:LETTERS]} {confidence:.2f}"
        for label, confidence in zip(chosen.labels[:shown], chosen.confidence[:shown], strict=True)
    ]
    return LowFidelity(lines, chosen.images[:shown], captions)


@style.styled
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
