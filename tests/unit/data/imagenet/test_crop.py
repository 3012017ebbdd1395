"""What the centre crop must be; ADM's own results are compared in tests/parity."""

import numpy as np
import pytest
from PIL import Image

from dimr.data.imagenet import center_crop
from dimr.runtime.errors import DimrError


def image_of(width, height):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("size", [64, 256, 512])
@pytest.mark.parametrize("margin", [0, 1, 2, 7])
def test_no_scaling_where_the_shorter_side_fits(size, margin):
    wide = image_of(size + margin, size)
    left = margin // 2
    assert np.array_equal(center_crop(wide, size), np.asarray(wide)[:, left : left + size])
    tall = image_of(size, size + margin)
    assert np.array_equal(center_crop(tall, size), np.asarray(tall)[left : left + size])


@pytest.mark.parametrize("size", [64, 256, 512])
def test_halving_is_the_rounded_mean_of_two_by_two_pixels(size):
    """As Pillow's box filter rounds: along rows, then along columns."""
    image = image_of(2 * size + 4, 2 * size)
    pixels = np.asarray(image).astype(np.int64)
    rows = (pixels[:, ::2] + pixels[:, 1::2] + 1) // 2
    assert np.array_equal(center_crop(image, size), ((rows[::2] + rows[1::2] + 1) // 2)[:, 1:-1])


@pytest.mark.parametrize(("size", "halvings"), [(64, 2), (256, 0), (512, 0)])
def test_halving_comes_before_bicubic_scaling(size, halvings):
    image = image_of(400, 300)
    scaled = image
    for n in range(1, halvings + 1):
        scaled = scaled.resize((400 >> n, 300 >> n), Image.Resampling.BOX)
    width = round(scaled.width * (size / scaled.height))
    scaled = scaled.resize((width, size), Image.Resampling.BICUBIC)
    left = (width - size) // 2
    assert np.array_equal(center_crop(image, size), np.asarray(scaled)[:, left : left + size])


@pytest.mark.parametrize("sides", [(1, 1), (3, 1000), (999, 5), (127, 128), (129, 257)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK", "RGBA", "P", "1"])
def test_any_size_and_mode(sides, mode):
    image = image_of(*sides).convert(mode)
    cropped = center_crop(image, 64)
    assert cropped.shape == (64, 64, 3)
    assert cropped.dtype == np.uint8
    assert cropped.flags.writeable
    assert np.array_equal(cropped, center_crop(image.convert("RGB"), 64))


def test_an_image_that_would_be_scaled_to_gigabytes_is_refused():
    with pytest.raises(DimrError, match="60000x1 pixels are too narrow for a crop of 256"):
        center_crop(image_of(60_000, 1), 256)
