"""Pictures that stand beside tables."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from dimr.data.shards import open_shards
from dimr.paper.tables.runs import RunsTable
from dimr.runtime.files import save_png

ZOOM, GAP, PER_CLASS = 2, 2, 2
LINE = 18  # pixels of a heading


def table_picture(table: RunsTable, runs: Path, out: Path) -> None:
    """The first two images of each class for every line of a table, uncurated, one block a line."""
    blocks = []
    for line in table.lines:
        run, setting = line.cells[0]
        shards = open_shards(runs / run / "samples" / setting)
        classes = shards.manifest.classes
        images = shards.take(range(min(PER_CLASS * classes, len(shards.labels))))
        blocks.append((f"{line.title}, {setting}", _block(images, classes)))
    width = max(block.width for _, block in blocks)
    height = sum(block.height + LINE + 3 * GAP for _, block in blocks)
    picture = Image.new("RGB", (width + 2 * GAP, height + GAP), "white")
    draw, top = ImageDraw.Draw(picture), GAP
    for title, block in blocks:
        draw.text((GAP, top), title, fill="black", font_size=13)
        picture.paste(block, (GAP, top + LINE))
        top += block.height + LINE + 3 * GAP
    save_png(picture, out)


def _block(images: np.ndarray, columns: int) -> Image.Image:
    """Images (N, H, W, 3) side by side, ``columns`` a line."""
    height, width = (side * ZOOM + GAP for side in images.shape[1:3])
    rows = -(-len(images) // columns)
    block = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for i, pixels in enumerate(images):
        tile = Image.fromarray(pixels).resize((width - GAP, height - GAP), Image.Resampling.NEAREST)
        block.paste(tile, (i % columns * width, i // columns * height))
    return block
