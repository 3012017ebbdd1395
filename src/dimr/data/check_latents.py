"""Whether stored latents match their images: a few are decoded and shown with the crops."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from dimr.data.autoencoder import Autoencoder, Images, decode
from dimr.data.shards import open_shards
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_png, write_json

log = logging.getLogger(__name__)

SHOWN = 24
DECODED_TOGETHER = 4
LOW_PSNR = 15.0
"""In dB. Autoencoders of latent diffusion reach 25; each image's mean colour gives 13, another
image 8: below 15 the latents belong to other images, or the weights are bad."""
COLUMNS, GAP, MARGIN, TOP = 12, 4, 110, 36
SMALLEST, LARGEST = 48, 256
"""Limits of a tile's side, in pixels: small images are enlarged, large ones reduced."""

Original = Callable[[int], Images]
"""The crop (H, W, 3) uint8 that belongs to sample j of the folder."""


def check_latents(folder: Path, original: Original, vae: Autoencoder | None) -> dict[str, Any]:
    """Compare 24 evenly spaced samples with their crops; write ``check.json`` and ``check.png``.

    Latents' means are decoded: the file holds their numbers and the PSNR (dB) of each, its mean and
    minimum. A mean below ``LOW_PSNR`` is a warning: weights that were never trained give it too.
    Without ``vae`` the samples are pixels, which must equal their crops in every bit: ``DimrError``
    names the first that does not.

    Returns:
        What the file holds.
    """
    shards = open_shards(folder)
    count = shards.manifest.count
    chosen = sorted({int(i) for i in np.linspace(0, count - 1, min(count, SHOWN))})
    stored, crops = shards.take(chosen), np.stack([original(number) for number in chosen])
    report: dict[str, Any]
    if vae is None:
        shown = np.broadcast_to(stored, crops.shape)  # grey ones have one channel
        for number, same in zip(chosen, (shown == crops).all(axis=(1, 2, 3)), strict=True):
            if not same:
                raise DimrError(f"{folder}: sample {number} does not equal its image")
        report = {"equal": True, "samples": chosen}
        title = "Images and what is stored of them: equal"
    else:
        shown = _decoded(vae, stored)
        psnr = [_psnr(a, b) for a, b in zip(crops, shown, strict=True)]
        mean = float(np.mean(psnr))
        report = {
            "psnr_mean": round(mean, 2),
            "psnr_min": round(min(psnr), 2),
            "latents": chosen,
            "psnr": [round(value, 2) for value in psnr],
        }
        title = f"Images and their decoded latents: PSNR {mean:.1f} dB"
        if mean < LOW_PSNR:
            log.warning(
                "check: latents decode to their images with %.1f dB only: the autoencoder's "
                "weights, or the latents, are not what they should be (see check.png)",
                mean,
            )
    save_png(comparison(crops, shown, title), folder / "check.png")
    write_json(folder / "check.json", report)
    return report


def _decoded(vae: Autoencoder, moments: NDArray[np.float16]) -> Images:
    """Images of the posteriors' means, a few at a time: this may run beside other work."""
    means = moments[:, : moments.shape[1] // 2].astype(np.float32) * vae.config.scaling_factor
    starts = range(0, len(means), DECODED_TOGETHER)
    return np.concatenate([decode(vae, means[i : i + DECODED_TOGETHER]) for i in starts])


def _psnr(a: Images, b: Images) -> float:
    """Peak signal-to-noise ratio of two images, in dB; 100 for equal ones."""
    error = np.square((a.astype(np.float64) - b) / 255).mean()
    return -10 * math.log10(max(error, 1e-10))


def comparison(originals: Images, decoded: Images, title: str) -> Image.Image:
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
