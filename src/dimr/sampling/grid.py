"""Grids of samples: one row per class, after its name; or captions below the images.

The fonts come with Pillow and matplotlib: the same grid has the same bytes on every machine.
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
from dimr.runtime.files import single_line

MARGIN, INDENT, GAP, FONT_SIZE = 24, 20, 2, 18  # pixels
WIDEST, LINE = 260, 22
"""Pixels: a wider name is broken into lines of this height, as many as fit in a row; then cut."""
COLUMNS = 12
ROWS = 20
"""Most rows of an overview: of more classes it shows this many, evenly spaced."""
OVERVIEW_SIDE = 128
"""Most pixels of an image's side in an overview."""
CUT = "..."
CAPTION_SIZE, CAPTION_LINE, CAPTION_LINES = 14, 17, 5
"""Pixels of a caption's letters and lines; most lines below an image."""
BESIDE = 12
"""Pixels between images with captions, so that captions do not run into each other."""
CAPTIONED, CAPTION_COLUMNS = 40, 8
"""Most images with captions in an overview, and how many of them per row."""


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
        columns: most images per row.
        min_side: small images are enlarged by a whole factor to at least this many pixels.
        max_side: large ones are reduced by a whole factor to at most this; None: they are not.
    """
    height, width, shrink = _tile(images, min_side, max_side)
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
            tile = _scaled(images[index], (width, height), shrink)
            picture.paste(tile, (margin + column * (width + GAP), top))
    return picture


def caption_grid(
    images: NDArray[np.uint8],
    captions: Sequence[str],
    *,
    columns: int = CAPTION_COLUMNS,
    min_side: int = 128,
    max_side: int | None = None,
) -> Image.Image:
    """Images in rows from left to right, each with its caption below it.

    Args:
        images: uint8 (N, H, W, 3).
        captions: one for each image, as from ``heading``; broken into ``CAPTION_LINES`` lines at
            most, then cut.
        columns: images per row.
        min_side: small images are enlarged by a whole factor to at least this many pixels.
        max_side: large ones are reduced by a whole factor to at most this; None: they are not.
    """
    height, width, shrink = _tile(images, min_side, max_side)
    texts = [_broken(text, CAPTION_LINES, width, CAPTION_SIZE) for text in captions]
    rows = [range(n, min(n + columns, len(images))) for n in range(0, len(images), columns)]
    below = [max(len(texts[n]) for n in row) * CAPTION_LINE + BESIDE for row in rows]
    size = (columns * (width + BESIDE), len(rows) * (height + GAP) + sum(below))
    picture, top = Image.new("RGB", size, "white"), 0
    draw = ImageDraw.Draw(picture)
    for row, space in zip(rows, below, strict=True):
        for column, index in enumerate(row):
            left = BESIDE // 2 + column * (width + BESIDE)
            picture.paste(_scaled(images[index], (width, height), shrink), (left, top))
            for number, line in enumerate(texts[index]):
                middle = top + height + GAP + (2 * number + 1) * CAPTION_LINE // 2
                place = (left + width // 2, middle)
                draw.text(place, line, fill="black", anchor="mm", font=_font(line, CAPTION_SIZE))
        top += height + GAP + space
    return picture


def _tile(images: NDArray[np.uint8], min_side: int, max_side: int | None) -> tuple[int, int, int]:
    """Height and width of images in a grid, and the whole factor by which they are reduced."""
    zoom = max(1, -(-min_side // images.shape[1]))
    shrink = 1 if max_side is None else max(1, -(-images.shape[1] // max_side))
    height, width = (max(1, side // shrink) * zoom for side in images.shape[1:3])
    return height, width, shrink


def _scaled(image: NDArray[np.uint8], size: tuple[int, int], shrink: int) -> Image.Image:
    return Image.fromarray(image).reduce(shrink).resize(size, Image.Resampling.NEAREST)


def overview(shards: OpenShards, named: bool = True, captioned: bool = False) -> Image.Image:
    """A grid of a folder of images by class name, small enough to open.

    It has at most ``ROWS`` rows, of evenly spaced classes, and reads only the images that it shows.

    Args:
        shards: the folder.
        named: whether class names are shown (images that were drawn without a class have none).
        captioned: whether they are prompts, which are then shown below the images, at most
            ``CAPTIONED``.
    """
    if captioned and named:
        return _captioned_overview(shards)
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


def _captioned_overview(shards: OpenShards) -> Image.Image:
    """The first images of evenly spaced prompts."""
    prompts = evenly_spaced(len(shards.manifest.class_names), CAPTIONED)
    each = max(1, CAPTIONED // len(prompts))
    chosen = np.concatenate([np.flatnonzero(shards.labels == n)[:each] for n in prompts])
    return caption_grid(
        shards.take(chosen, compare=False),
        [heading(shards.manifest.class_names, n, "text") for n in shards.labels[chosen]],
        columns=min(CAPTION_COLUMNS, len(chosen)),
        max_side=2 * OVERVIEW_SIDE,
    )


def heading(names: Sequence[str], label: int, what: str = "class") -> str:
    """The heading of a class's row: its name, or its number if the fonts lack its letters.

    ``what`` the names are: a ``class``, of which only the first synonym is shown, or a ``text``.
    """
    name = short_name(names[label]) if what == "class" else single_line(names[label])
    return name if has_letters(name) else f"{what} {label}"


def has_letters(name: str) -> bool:
    """Whether the fonts have all letters of a name."""
    return name.isascii() or all(ord(letter) in _wide() for letter in name)


def _broken(name: str, most: int, widest: int = WIDEST, size: int = FONT_SIZE) -> list[str]:
    """A name in at most ``most`` lines of the allowed width, the last one perhaps cut."""
    lines: list[str] = []
    rest = name
    while rest and len(lines) < most:
        end = _fitting(rest, widest, size)
        if end < len(rest) and len(lines) + 1 == most:
            end = _fitting(rest, widest, size, CUT)
            return [*lines, rest[:end].rstrip() + CUT]
        if end < len(rest) and " " in rest[: end + 1].strip():
            end = rest.rindex(" ", 0, end + 1)
        lines.append(rest[:end].rstrip())
        rest = rest[end:].lstrip()
    return lines or [""]


def _fitting(text: str, widest: int, size: int, more: str = "") -> int:
    """How many letters of a text, at least one, fit in a line with ``more`` after them."""
    lengths = range(min(len(text), widest), 1, -1)  # a letter is at least a pixel wide
    return next((n for n in lengths if _width(text[:n] + more, size) <= widest), 1)


def _width(text: str, size: int = FONT_SIZE) -> int:
    """Pixels of a line."""
    draw = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    return round(draw.textlength(text, font=_font(text, size)))


def _font(text: str, size: int = FONT_SIZE) -> Any:
    return _fonts(size)[0 if text.isascii() else 1]


@functools.cache
def _fonts(size: int) -> tuple[Any, Any]:
    """Pillow's own font, which has ASCII only, and the one of figures."""
    return ImageFont.load_default(size), ImageFont.truetype(_dejavu(), size - 2)


@functools.cache
def _wide() -> Container[int]:
    """The code points for which the second font has letters."""
    from matplotlib.ft2font import FT2Font  # slow to import

    return FT2Font(str(_dejavu())).get_charmap()


def _dejavu() -> Path:
    import matplotlib  # slow to import

    return Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
