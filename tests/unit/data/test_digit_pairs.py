"""Pictures of two digits: what their captions say is what they show."""

import re
from collections import Counter

import numpy as np
import pytest

from dimr.config.schema import DigitPairs
from dimr.data.digit_pairs import (
    COMBINATIONS,
    MEANING,
    heldout_combinations,
    make_digit_pairs,
    places,
)
from dimr.data.digits import digit_images, split_indices
from dimr.data.image_arrays import load_images
from dimr.data.text.image_captions import read_image_captions

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def config_of(**changes):
    value = {
        "source": "digit-pairs", "image_size": 32, "train_per_class": 100, "train_each": 2,
        "heldout_each": 1, "heldout_combinations": 40, "split_seed": 0,
    }  # fmt: skip
    return DigitPairs.model_validate({**value, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("pairs") / "images"
    make_digit_pairs(out, config_of())
    return out


def read(caption):
    """(layout, first, second) of a caption, by the grammar of English."""
    one, relation, two = re.fullmatch(
        r"an? (\w+) (to the left of|to the right of|above|below) an? (\w+)", caption
    ).groups()
    digits = NUMBERS.index(one), NUMBERS.index(two)
    layout = "beside" if relation.startswith("to the") else "above"
    return layout, *(digits if relation in ("to the left of", "above") else digits[::-1])


def test_every_caption_means_one_combination():
    assert len(MEANING) == 2 * len(COMBINATIONS) == 400
    for caption, one in MEANING.items():
        assert read(caption) == (one.layout, one.first, one.second)
        words = caption.split()
        for article, noun in ((words[0], words[1]), (words[-2], words[-1])):
            assert article == ("an" if noun[0] in "aeiou" and noun != "one" else "a")
    assert [one.number for one in COMBINATIONS] == list(range(200))


def test_the_split_of_combinations():
    config = config_of()
    heldout = heldout_combinations(config)
    assert len(set(heldout)) == 40
    assert heldout == heldout_combinations(config)
    assert heldout != heldout_combinations(config_of(split_seed=1))
    for layout in ("beside", "above"):
        of_layout = [one for one in heldout if one.layout == layout]
        assert set(Counter(one.first for one in of_layout).values()) == {2}
        assert set(Counter(one.second for one in of_layout).values()) == {2}


@pytest.mark.parametrize("number", [1, 7, 100])
def test_every_digit_is_trained_on_at_every_place(number):
    heldout = set(heldout_combinations(config_of(heldout_combinations=number)))
    assert len(heldout) == number
    seen = [one for one in COMBINATIONS if one not in heldout]
    for layout in ("beside", "above"):
        assert {one.first for one in seen if one.layout == layout} == set(range(10))
        assert {one.second for one in seen if one.layout == layout} == set(range(10))


def test_pictures_are_of_the_digits_that_their_captions_name(folder):
    images, labels = digit_images(14)
    train, heldout = split_indices(labels, 100, 0)
    captions = read_image_captions(folder)
    for split, indices in (("train", train), ("heldout", heldout)):
        pictures, numbers = load_images(folder, split)
        told = getattr(captions, split)
        of_digit = [
            {image.tobytes() for image in images[indices][labels[indices] == digit]}
            for digit in range(10)
        ]
        for picture, number, texts in zip(pictures, numbers, told, strict=True):
            one = COMBINATIONS[number]
            assert {MEANING[text] for text in texts} == {one}
            assert len(set(texts)) == 2
            rest = picture.copy()
            for digit, place in zip((one.first, one.second), places(one.layout, 32), strict=True):
                assert picture[place][1:-1, 1:-1].tobytes() in of_digit[digit]
                rest[place] = 0
            assert not rest.any()  # there is nothing else


def test_numbers_of_pictures(folder):
    config = config_of()
    pictures, numbers = load_images(folder, "train")
    assert (len(pictures), len(load_images(folder, "heldout")[0])) == config.counts() == (320, 200)
    heldout = {one.number for one in heldout_combinations(config)}
    assert Counter(numbers.tolist()) == {n: 2 for n in range(200) if n not in heldout}
    assert np.array_equal(numbers[:160], numbers[160:])  # they go round
    prompts = read_image_captions(folder).prompts
    assert sorted(prompts) == sorted(MEANING)


def test_the_same_pictures_again(folder, tmp_path):
    make_digit_pairs(tmp_path / "again", config_of())
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    make_digit_pairs(tmp_path / "other", config_of(split_seed=1))
    one, other = (load_images(place, "train")[0] for place in (folder, tmp_path / "other"))
    assert not np.array_equal(one, other)
