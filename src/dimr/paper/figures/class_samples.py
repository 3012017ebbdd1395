"""Generated images of one class, uncurated: the first that were drawn of it."""

import textwrap
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dimr.config.project import Project
from dimr.data.shards import open_shards
from dimr.paper.figures import style
from dimr.paper.figures.definitions import ClassFigure
from dimr.paper.figures.samples import Tiles, draw, first_of_class
from dimr.sampling.grid import has_letters

LETTERS = 80
"""Most letters of the class's name with its synonyms."""


def make(definition: ClassFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    return draw([load(definition, runs)])


def load(definition: ClassFigure, runs: Path) -> Tiles:
    """Read the images, line by line in the order of drawing; the last line may be short."""
    folder, label = runs / definition.run / "samples" / definition.setting, definition.label
    columns, shards = definition.columns, open_shards(folder)
    count = min(definition.images, max(1, int((shards.labels == label).sum())))
    images = first_of_class(shards, label, count, folder)
    rows = -(-count // columns)
    tiles = np.full((rows * columns, 1, *images.shape[1:]), 255, np.uint8)
    tiles[:count, 0] = images
    full = shards.manifest.class_names[label]
    name = textwrap.shorten(full, LETTERS, placeholder=" ...")
    if name == "...":  # the name is one long word
        name = full[: LETTERS - 3] + "..."
    is_named = name != str(label) and has_letters(full)
    title = f"{style.words(name)} (class {label})" if is_named else f"Class {label}"
    return Tiles(title, [""] * rows, [""] * columns, tiles.reshape(rows, columns, *tiles.shape[1:]))
