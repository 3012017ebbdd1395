"""The centre crop against ADM's own results, bit for bit."""

import numpy as np
import pytest
from PIL import Image

from dimr.data.imagenet import center_crop


@pytest.mark.parametrize("number", range(4))
def test_center_crop(vectors, number):
    saved = vectors("center_crop")
    image, theirs = saved[f"image.{number}"].numpy(), saved[f"crop.{number}"].numpy()
    assert theirs.shape == (64, 64, 3)
    assert np.array_equal(center_crop(Image.fromarray(image), len(theirs)), theirs)
