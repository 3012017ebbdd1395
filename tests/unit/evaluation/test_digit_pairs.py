"""Pictures of two digits, read at their places, with a classifier that reads brightness."""

import numpy as np
import pytest
import torch
from torch import nn

from dimr.config.schema import DigitPairs
from dimr.data.digit_pairs import (
    COMBINATIONS,
    MEANING,
    heldout_combinations,
    make_digit_pairs,
    places,
)
from dimr.data.image_arrays import load_images
from dimr.evaluation.digit_pairs import (
    DigitSquares,
    caption_accuracy,
    digit_squares,
    of_split,
    shown_by,
)
from dimr.evaluation.image_sets import ArrayImages
from dimr.runtime.errors import DimrError
from dimr.sampling.folder import write_samples


class Brightness(nn.Module):
    """Square of brightness 20 d is the digit d."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        digit = (images.float().mean((1, 2, 3)) / 20).round().long().clamp(0, 9)
        return nn.functional.one_hot(digit, 10).float(), None


def painted(one, size=32):
    picture = np.zeros((size, size, 3), np.uint8)
    for digit, place in zip((one.first, one.second), places(one.layout, size), strict=True):
        picture[place] = 20 * digit
    return picture


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs") / "images"
    config = DigitPairs(
        source="digit-pairs", image_size=32, train_per_class=10, train_each=1, heldout_each=1,
        heldout_combinations=40, split_seed=0,
    )  # fmt: skip
    make_digit_pairs(out, config)
    return out, set(heldout_combinations(config))


def test_every_right_picture_counts_and_no_wrong_one(images):
    folder, heldout = images
    shown = list(COMBINATIONS)
    pictures = np.stack([painted(one) for one in shown])
    own = next(one for one in shown if one in heldout)
    wrong = {0, own.number}  # one seen, one held out: each shows another combination
    for number in wrong:
        pictures[number] = painted(COMBINATIONS[(number + 1) % 200])
    squares = DigitSquares(ArrayImages("pictures", [pictures]), shown)
    assert COMBINATIONS[0] not in heldout
    assert caption_accuracy(Brightness(), squares, folder) == {
        "caption_accuracy": 198 / 200,
        "caption_accuracy_seen": 159 / 160,
        "caption_accuracy_heldout": 39 / 40,
    }


def test_digits_swapped_or_laid_otherwise_are_wrong(images):
    shown = [one for one in COMBINATIONS if one.first != one.second]
    swapped = [MEANING_OF[(one.layout, one.second, one.first)] for one in shown]
    pictures = np.stack([painted(one) for one in swapped])
    squares = DigitSquares(ArrayImages("pictures", [pictures]), shown)
    assert caption_accuracy(Brightness(), squares, images[0])["caption_accuracy"] == 0.0


MEANING_OF = {(one.layout, one.first, one.second): one for one in COMBINATIONS}


def test_squares_in_any_batch():
    shown = list(COMBINATIONS)
    pictures = np.random.default_rng(0).integers(0, 256, (200, 32, 32, 3), np.uint8)
    squares = DigitSquares(ArrayImages("pictures", [pictures]), shown)
    whole = digit_squares(pictures, shown)
    assert squares.shape == whole.shape == (400, 16, 16, 3)
    for size in (1, 2, 7, 64, 1000):
        assert np.array_equal(np.concatenate(list(squares.batches(size))), whole)
    one = shown[137]
    for number, place in enumerate(places(one.layout, 32)):
        assert np.array_equal(whole[2 * 137 + number], pictures[137][place])
    assert squares.labels[274:276].tolist() == [one.first, one.second]


def test_digits_of_a_split_are_those_that_were_put_there(images):
    squares, labels = of_split(images[0], "train")
    _, numbers = load_images(images[0], "train")
    assert squares.shape == (320, 16, 16, 3)
    assert labels[:2].tolist() == [COMBINATIONS[numbers[0]].first, COMBINATIONS[numbers[0]].second]
    assert (squares.reshape(320, -1).max(axis=1) > 200).all()  # strokes, not black


def test_what_samples_should_show(tmp_path):
    captions = ["a three to the left of a seven", "a two below an eight"]
    pictures = np.zeros((4, 32, 32, 3), np.uint8)
    labels = np.array([0, 1, 0, 1])
    write_samples(tmp_path / "samples", pictures, labels, captions, "k")
    found = [(one.layout, one.first, one.second) for one in shown_by(tmp_path / "samples", labels)]
    assert found == [("beside", 3, 7), ("above", 8, 2)] * 2
    assert MEANING["a two below an eight"] is MEANING["an eight above a two"]
    write_samples(tmp_path / "other", pictures, labels, ["a cat", "a dog"], "k")
    with pytest.raises(DimrError, match="'a cat' is no caption of a pair of digits"):
        shown_by(tmp_path / "other", labels)
    with pytest.raises(DimrError, match="need a folder of samples with their captions"):
        shown_by(tmp_path / "samples", None)
