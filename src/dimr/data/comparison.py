"""A picture of originals above what was decoded of them, for people to judge an autoencoder."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLUMNS, GAP, MARGIN, TOP = 12, 4, 110, 36
SMALLEST, LARGEST = 48, 256
"""Limits of a tile's side, in pixels: small images are enlarged, large ones reduced."""


def comparison(originals: NDArray[np.uint8], decoded: NDArray[np.uint8], title: str) -> Image.Image:
    """Rows of 12 originals (N, H, W, 3) uint8, each above its decoded counterpart."""
    height, width = _tile_size(*originals.shape[1:3])
    rows = -(-len(originals) // COLUMNS)
    pair = 2 * height + 4 * GAP
    size = (MARGIN + COLUMNS * (width + GAP), TOP + rows * pair)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=16)
    draw.text((MARGIN, 8), title, "black", font)
    for index, images in enumerate(zip(originals, decoded, strict=True)):
        row, column = divmod(index, COLUMNS)
        for line, image in enumerate(images):
            y = TOP + row * pair + line * (height + GAP)
            enlarged = height > len(image)
            how = Image.Resampling.NEAREST if enlarged else Image.Resampling.LANCZOS
            tile = Image.fromarray(image).resize((width, height), how)
            canvas.paste(tile, (MARGIN + column * (width + GAP), y))
            if column == 0:
                label = ("original", "decoded")[line]
                draw.text((8, y + height // 2 - 9), label, "black", font)
    return canvas


def _tile_size(height: int, width: int) -> tuple[int, int]:
    zoom = max(1, -(-SMALLEST // height))
    shrink = max(1, -(-height // LARGEST))
    return height * zoom // shrink, width * zoom // shrink
