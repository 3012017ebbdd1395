"""A picture of samples: one row a class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

MARGIN, INDENT, GAP, FONT_SIZE = 24, 20, 2, 18  # pixels


def class_grid(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    columns: int = 12,
    min_side: int = 48,
) -> Image.Image:
    """The first ``columns`` images of each class, uncurated, with the class name before the row.

    Args:
        images: uint8 (N, H, W, 3).
        labels: (N,).
        class_names: one row each.
        columns: images a row at most.
        min_side: small images are enlarged by a whole factor to at least this many pixels.
    """
    zoom = max(1, -(-min_side // images.shape[1]))
    height, width = (side * zoom for side in images.shape[1:3])
    margin = max(MARGIN + 7 * max(map(len, class_names)), INDENT + _width(class_names))
    size = (margin + columns * (width + GAP), len(class_names) * (height + GAP))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, name in enumerate(class_names):
        top = row * (height + GAP)
        place = (margin - INDENT // 2, top + height // 2)
        draw.text(place, name, fill="black", anchor="rm", font_size=FONT_SIZE)
        for column, index in enumerate(np.flatnonzero(labels == row)[:columns]):
            tile = Image.fromarray(images[index]).resize((width, height), Image.Resampling.NEAREST)
            picture.paste(tile, (margin + column * (width + GAP), top))
    return picture


def _width(names: Sequence[str]) -> int:
    """Pixels of the widest name."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return round(max(draw.textlength(name, font_size=FONT_SIZE) for name in names))
