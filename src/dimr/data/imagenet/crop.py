"""The square that a network sees of an image: ADM's centre crop, bit for bit."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dimr.data.pictures import as_rgb
from dimr.runtime.errors import DimrError

LARGEST = 1 << 28
"""Pixels of an image that is scaled for its crop."""


def center_crop(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """The middle square of an image, scaled so that its shorter side is ``size`` pixels.

    1. The image is converted to RGB, and turned upright if its EXIF says how
       (``dimr.data.pictures.as_rgb``; ADM does not look at EXIF, and images of a store that is to
       ignore it arrive without it).
    2. While its shorter side is at least twice ``size``, it is halved by box filter, each side
       rounded down.
    3. It is scaled by bicubic filter so that its shorter side is ``size``, the longer one rounded
       to even; small images are enlarged in this step.
    4. The middle is cut out; where the margin is odd, the smaller half is at the left or top.

    Source: ``guided_diffusion/image_datasets.py`` of ADM (Dhariwal and Nichol, 2021), which made
    the reference batches; results are compared in tests/parity.

    Args:
        image: of any size and mode.
        size: in pixels, 1 or more.

    Returns:
        (size, size, 3) uint8, a copy.

    Raises:
        DimrError: an image that is so narrow that it would be scaled to gigabytes.
    """
    image = as_rgb(image)
    while min(image.size) >= 2 * size:
        halved = (image.width // 2, image.height // 2)
        image = image.resize(halved, Image.Resampling.BOX)
    factor = size / min(image.size)
    scaled = (round(image.width * factor), round(image.height * factor))
    if scaled[0] * scaled[1] > LARGEST:
        raise DimrError(f"{image.width}x{image.height} pixels are too narrow for a crop of {size}")
    image = image.resize(scaled, Image.Resampling.BICUBIC)
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return np.array(image.crop((left, top, left + size, top + size)))
