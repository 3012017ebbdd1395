"""Whether stored latents are those of their images: a few are decoded and laid beside the crops."""

import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.autoencoder import Autoencoder, Images, decode
from dimr.data.comparison import comparison
from dimr.data.shards import open_shards
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_png, write_json

log = logging.getLogger(__name__)

SHOWN = 24
DECODED_TOGETHER = 4
LOW_PSNR = 15.0
"""In dB. Autoencoders of latent diffusion reach 25; each picture's mean colour gives 13, another
picture 8: below 15 the latents are of other images, or the weights no good."""

Original = Callable[[int], Images]
"""The crop (H, W, 3) uint8 that sample j of the folder is of."""


def check_latents(folder: Path, original: Original, vae: Autoencoder) -> dict[str, Any]:
    """Decode the mean of 24 evenly spaced latents; write ``check.json`` and ``check.png`` beside.

    Returns what the file holds: numbers of the latents and the PSNR (dB) of each, its mean and
    minimum. A mean below ``LOW_PSNR`` is a warning: weights that were never trained give it too.
    """
    chosen, stored = _chosen(folder)
    crops = np.stack([original(number) for number in chosen])
    means = stored[:, : stored.shape[1] // 2].astype(np.float32) * vae.config.scaling_factor
    starts = range(0, len(means), DECODED_TOGETHER)
    decoded = np.concatenate([decode(vae, means[i : i + DECODED_TOGETHER]) for i in starts])
    psnr = [_psnr(a, b) for a, b in zip(crops, decoded, strict=True)]
    mean = float(np.mean(psnr))
    report = {
        "psnr_mean": round(mean, 2),
        "psnr_min": round(min(psnr), 2),
        "latents": chosen,
        "psnr": [round(value, 2) for value in psnr],
    }
    title = f"Images and their decoded latents: PSNR {mean:.1f} dB"
    save_png(comparison(crops, decoded, title), folder / "check.png")
    write_json(folder / "check.json", report)
    if mean < LOW_PSNR:
        log.warning(
            "check: latents decode to their images with %.1f dB only: the autoencoder's weights, "
            "or the latents, are not what they should be (see check.png)",
            mean,
        )
    return report


def check_pixels(folder: Path, original: Original) -> dict[str, Any]:
    """Compare 24 evenly spaced samples with their crops, which they must equal in every bit.

    ``DimrError`` names the first that differs. Writes ``check.json`` and ``check.png``.
    """
    chosen, stored = _chosen(folder)
    crops = np.stack([original(number) for number in chosen])
    shown = np.broadcast_to(stored, crops.shape)  # grey ones have one channel
    for number, same in zip(chosen, (shown == crops).all(axis=(1, 2, 3)), strict=True):
        if not same:
            raise DimrError(f"{folder}: sample {number} is not the image that it should be of")
    report = {"equal": True, "samples": chosen}
    title = "Images and what is stored of them: equal"
    save_png(comparison(crops, shown, title), folder / "check.png")
    write_json(folder / "check.json", report)
    return report


def _chosen(folder: Path) -> tuple[list[int], NDArray[Any]]:
    """Numbers of evenly spaced samples of a shard folder, and the samples."""
    shards = open_shards(folder)
    count = shards.manifest["count"]
    chosen = sorted({int(i) for i in np.linspace(0, count - 1, min(count, SHOWN))})
    return chosen, shards.take(chosen)


def _psnr(a: Images, b: Images) -> float:
    """Peak signal-to-noise ratio of two images, in dB; 100 for equal ones."""
    error = np.square((a.astype(np.float64) - b) / 255).mean()
    return -10 * math.log10(max(error, 1e-10))
