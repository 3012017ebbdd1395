"""Generated images by class, uncurated: the first ones drawn of each class."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.project import Project
from dimr.config.runs import BASELINE_SETTING
from dimr.data.classes import evenly_spaced
from dimr.data.shards import OpenShards, open_shards
from dimr.paper.figures import style
from dimr.paper.figures.definitions import SampleBlock, SampleRow, SamplesFigure
from dimr.runtime.errors import DimrError
from dimr.sampling.grid import heading

GAP = 0.03
"""Gap between images, as a share of their side."""
MARGIN, BELOW = 0.95, 0.06
"""Inches for the rows' names to the left of the images, and below a block."""
LETTERS, LONG, LINES = 12, 16, 4
"""Letters per line of a class's heading; letters from which a word is broken; lines at most."""


@dataclass(frozen=True)
class Tiles:
    """A block of images.

    Attributes:
        title: of the block.
        rows: their names; all empty: there are no names beside the images.
        classes: likewise, above them; each has a column for every image of it in a row.
        images: uint8 (rows, classes, images, H, W, 3).
        below: whether the classes' names stand below the images.
    """

    title: str
    rows: Sequence[str]
    classes: Sequence[str]
    images: NDArray[np.uint8]
    below: bool = False


def make(definition: SamplesFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    return draw(load(definition, runs))


def load(definition: SamplesFigure, runs: Path) -> list[Tiles]:
    """Read the images of each block, and nothing else from the folders."""
    return [_load_block(block, definition.per_class, runs) for block in definition.blocks]


def _load_block(block: SampleBlock, per_class: int, runs: Path) -> Tiles:
    names, rows, classes = [], [], []
    for row in block.rows:
        folder = runs / row.run / "samples" / row.setting
        shards = open_shards(folder)
        labels = evenly_spaced(shards.manifest.classes, block.classes)
        classes = [heading(shards.manifest.class_names, label) for label in labels]
        names.append(row_name(row))
        rows.append([first_of_class(shards, label, per_class, folder) for label in labels])
    shapes = {images.shape for row in rows for images in row}
    if len({len(row) for row in rows}) > 1 or len(shapes) > 1:
        raise DimrError(f"{block.title}: rows of different classes or sizes: {sorted(shapes)}")
    return Tiles(block.title, names, classes, np.array(rows))


def row_name(row: SampleRow) -> str:
    """The text before a row: its name, with its setting below."""
    setting = "" if row.setting == BASELINE_SETTING else f"\n{row.setting.replace('_', '-')}"
    return row.name + setting


def first_of_class(shards: OpenShards, label: int, count: int, folder: Path) -> NDArray[np.uint8]:
    """The first images of a class, (count, H, W, 3), in the order in which they were drawn."""
    found = np.flatnonzero(shards.labels == label)[:count]
    if len(found) < count:
        raise DimrError(f"{folder}: {len(found)} images of class {label}, not {count}")
    return shards.take(found)


def draw(blocks: Sequence[Tiles]) -> Figure:
    """The blocks below each other; images fill the width."""
    canvases = [_canvas(block) for block in blocks]
    heights = [
        _heading(block) + _inches(block, canvas) + _footing(block) + BELOW
        for block, canvas in zip(blocks, canvases, strict=True)
    ]
    figure = Figure(figsize=(style.WIDTH, sum(heights)))
    top = sum(heights)
    for block, canvas, height in zip(blocks, canvases, heights, strict=True):
        _draw_block(figure, block, canvas, top)
        top -= height
    return figure


def _canvas(block: Tiles) -> NDArray[np.uint8]:
    """All images of a block in one image, on white; wider gaps between classes."""
    rows, classes, per_class, height, width = block.images.shape[:5]
    gap = max(1, round(GAP * width))
    apart = 3 * gap if per_class > 1 else 0
    canvas = np.full((rows, height + gap, classes, per_class * (width + gap) + apart, 3), 255,
                     np.uint8)  # fmt: skip
    for number in range(per_class):
        left = number * (width + gap)
        place = canvas[:, :height, :, left : left + width]
        place[:] = block.images[:, :, number].swapaxes(1, 2)
    return canvas.reshape(rows * (height + gap), -1, 3)


def _margin(block: Tiles) -> float:
    """Inches to the left of the images."""
    return MARGIN if any(block.rows) else 0.0


def _inches(block: Tiles, canvas: NDArray[np.uint8]) -> float:
    """Height of a canvas that fills the width beside the rows' names."""
    return (style.WIDTH - _margin(block)) * canvas.shape[0] / canvas.shape[1]


def _heading(block: Tiles) -> float:
    """Inches above the images: title, and the classes' names."""
    if block.below or not any(block.classes):
        return 0.18
    return 0.24 + 0.11 * _lines(block)


def _footing(block: Tiles) -> float:
    """Inches below the images: the classes' names."""
    return 0.06 + 0.11 * _lines(block) if block.below else 0.0


def _lines(block: Tiles) -> int:
    return max(name.count("\n") + 1 for name in _wrapped(block.classes))


def _wrapped(names: Sequence[str]) -> list[str]:
    return [style.words(_in_lines(name)) for name in names]


def _in_lines(name: str) -> str:
    """A name on at most ``LINES`` lines; a word that would run into a neighbour's is broken."""
    is_long = any(len(word) > LONG for word in name.split())
    lines = textwrap.wrap(name, LETTERS, break_long_words=is_long)
    if len(lines) > LINES:
        lines[LINES - 1 :] = [lines[LINES - 1][: LETTERS - 3] + "..."]
    return "\n".join(lines)


def _draw_block(figure: Figure, block: Tiles, canvas: NDArray[np.uint8], top: float) -> None:
    """Title, names and images, from ``top`` (inches from the figure's lower edge) down."""
    (width, total), height = figure.get_size_inches(), _inches(block, canvas)
    margin = _margin(block)
    figure.text(0.0, (top - 0.02) / total, block.title, va="top", fontsize=style.NORMAL)
    foot = top - _heading(block) - height
    axes = figure.add_axes((margin / width, foot / total, 1 - margin / width, height / total))
    # Pixels as they are, unless there are more than can be printed.
    large = canvas.shape[1] > (width - margin) * style.DPI
    axes.imshow(canvas, interpolation="antialiased" if large else "none", aspect="auto")
    rows, classes = block.images.shape[:2]
    across, down = canvas.shape[1] / classes, canvas.shape[0] / rows
    axes.set_xticks((np.arange(classes) + 0.5) * across - 0.5, _wrapped(block.classes))
    axes.set_yticks((np.arange(rows) + 0.5) * down - 0.5, block.rows, fontsize=6, linespacing=0.95)
    axes.tick_params(length=0, pad=2, top=False, labeltop=not block.below, labelbottom=block.below)
    axes.spines[:].set_visible(False)
