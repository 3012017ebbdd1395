"""A grid of samples: one row per class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from dimr.data.shards import OpenShards

MARGIN, INDENT, GAP, FONT_SIZE = 24, 20, 2, 18  # pixels
COLUMNS = 12
ROWS = 20
"""Of an overview: of more classes it shows so many, evenly spaced."""
OVERVIEW_SIDE = 128
"""Pixels of an image's side in an overview at most."""


def class_grid(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    columns: int = COLUMNS,
    min_side: int = 48,
    max_side: int | None = None,
) -> Image.Image:
    """The first ``columns`` images of each class, uncurated, with the class name before the row.

    Args:
        images: uint8 (N, H, W, 3).
        labels: (N,).
        class_names: one row each.
        columns: images per row at most.
        min_side: small images are enlarged by a whole factor to at least this many pixels.
        max_side: large ones are reduced by a whole factor to at most so many; None: they are not.
    """
    zoom = max(1, -(-min_side // images.shape[1]))
    shrink = 1 if max_side is None else max(1, -(-images.shape[1] // max_side))
    height, width = (max(1, side // shrink) * zoom for side in images.shape[1:3])
    margin = max(MARGIN + 7 * max(map(len, class_names)), INDENT + _width(class_names))
    size = (margin + columns * (width + GAP), len(class_names) * (height + GAP))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(class_names):
        top = row * (height + GAP)
        place = (margin - INDENT // 2, top + height // 2)
        draw.text(place, name, fill="black", anchor="rm", font_size=FONT_SIZE)
        for column, index in enumerate(np.flatnonzero(labels == row)[:columns]):
            tile = Image.fromarray(images[index]).reduce(shrink)
            tile = tile.resize((width, height), Image.Resampling.NEAREST)
            picture.paste(tile, (margin + column * (width + GAP), top))
    return picture


def overview(shards: OpenShards, named: bool = True) -> Image.Image:
    """A grid of a folder of images by class name, small enough to be opened.

    It has ``ROWS`` rows at most, of evenly spaced classes, and reads no other images than it shows.
    ``named``: whether class names are shown (images that were drawn without a class have none).
    """
    present = np.unique(shards.labels)
    rows = min(ROWS, len(present))
    classes = [int(present[row * len(present) // rows]) for row in range(rows)]
    chosen = [np.flatnonzero(shards.labels == label)[:COLUMNS] for label in classes]
    counts = list(map(len, chosen))
    return class_grid(
        shards.take(np.concatenate(chosen), compare=False),
        np.repeat(np.arange(rows), counts),
        [shards.manifest.class_names[label] if named else "" for label in classes],
        columns=max(counts),
        max_side=OVERVIEW_SIDE,
    )


def _width(names: Sequence[str]) -> int:
    """Pixels of the widest name."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return round(max(draw.textlength(name, font_size=FONT_SIZE) for name in names))
