"""A grid of samples: one row per class, its name before it.

The letters are those of fonts that come with Pillow and matplotlib: the same grid has the same
bytes on every machine.
"""

import functools
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dimr.data.classes import evenly_spaced, short_name
from dimr.data.shards import OpenShards

MARGIN, INDENT, GAP, FONT_SIZE = 24, 20, 2, 18  # pixels
WIDEST, LINE = 260, 22
"""Pixels: a wider name is broken into lines of such a height, as many as a row has; then cut."""
COLUMNS = 12
ROWS = 20
"""Of an overview: of more classes it shows so many, evenly spaced."""
OVERVIEW_SIDE = 128
"""Pixels of an image's side in an overview at most."""
CUT = "..."


def class_grid(
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    headings: Sequence[str],
    *,
    columns: int = COLUMNS,
    min_side: int = 48,
    max_side: int | None = None,
) -> Image.Image:
    """The first ``columns`` images of each class, uncurated, with the class name before the row.

    Args:
        images: uint8 (N, H, W, 3).
        labels: the row of each, (N,).
        headings: one for each row, as from ``heading``; long ones are broken into lines.
        columns: images per row at most.
        min_side: small images are enlarged by a whole factor to at least this many pixels.
        max_side: large ones are reduced by a whole factor to at most so many; None: they are not.
    """
    zoom = max(1, -(-min_side // images.shape[1]))
    shrink = 1 if max_side is None else max(1, -(-images.shape[1] // max_side))
    height, width = (max(1, side // shrink) * zoom for side in images.shape[1:3])
    texts = [_broken(name, max(1, height // LINE)) for name in headings]
    lines = [line for text in texts for line in text]
    margin = max(MARGIN + 7 * max(map(len, lines)), INDENT + max(map(_width, lines)))
    size = (margin + columns * (width + GAP), len(headings) * (height + GAP))
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for row, text in enumerate(texts):
        top = row * (height + GAP)
        for number, line in enumerate(text):
            middle = top + height // 2 + (2 * number + 1 - len(text)) * LINE // 2
            place = (margin - INDENT // 2, middle)
            draw.text(place, line, fill="black", anchor="rm", font=_font(line))
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
    present, names = np.unique(shards.labels), shards.manifest.class_names
    classes = [int(present[row]) for row in evenly_spaced(len(present), ROWS)]
    chosen = [np.flatnonzero(shards.labels == label)[:COLUMNS] for label in classes]
    counts = list(map(len, chosen))
    return class_grid(
        shards.take(np.concatenate(chosen), compare=False),
        np.repeat(np.arange(len(classes)), counts),
        [heading(names, label) if named else "" for label in classes],
        columns=max(counts),
        max_side=OVERVIEW_SIDE,
    )


def heading(names: Sequence[str], label: int) -> str:
    """What stands before a class's row: its name, or its number if there are no letters for it."""
    name = short_name(names[label])
    return name if has_letters(name) else f"class {label}"


def has_letters(name: str) -> bool:
    """Whether the fonts have all letters of a name."""
    return name.isascii() or all(ord(letter) in _wide() for letter in name)


def _broken(name: str, most: int) -> list[str]:
    """A name in lines of the width that is allowed, ``most`` at most, the last one perhaps cut."""
    lines: list[str] = []
    rest = name
    while rest and len(lines) < most:
        end = _fitting(rest)
        if end < len(rest) and len(lines) + 1 == most:
            end = _fitting(rest, CUT)
            return [*lines, rest[:end].rstrip() + CUT]
        if end < len(rest) and " " in rest[: end + 1].strip():
            end = rest.rindex(" ", 0, end + 1)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines or [""]


def _fitting(text: str, more: str = "") -> int:
    """How many letters of a text, one or more, fit in a line with ``more`` behind them."""
    return next((n for n in range(len(text), 1, -1) if _width(text[:n] + more) <= WIDEST), 1)


def _width(text: str) -> int:
    """Pixels of a line."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return round(draw.textlength(text, font=_font(text)))


def _font(text: str) -> Any:
    return _fonts()[0 if text.isascii() else 1]


@functools.cache
def _fonts() -> tuple[Any, Any]:
    """Pillow's own font, which has ASCII only, and the one of figures."""
    return ImageFont.load_default(FONT_SIZE), ImageFont.truetype(_dejavu(), FONT_SIZE - 2)


@functools.cache
def _wide() -> Container[int]:
    """The code points that the second font has letters for."""
    from matplotlib.ft2font import FT2Font  # slow to import

    return FT2Font(str(_dejavu())).get_charmap()


def _dejavu() -> Path:
    import matplotlib  # slow to import

    return Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
