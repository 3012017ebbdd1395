"""Pictures of two of scikit-learn's digits with captions: small enough for a laptop, and checkable.

A combination is two digits and how they lie: ``a three to the left of a seven``, ``an eight above a
two``. Each digit has a square of half the picture's side, so that a classifier can read it at its
place (``places``). Every combination has two captions, one from each of its digits (``a seven to
the right of a three``): the order of the words alone does not tell which digit is where.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dimr.config.schema import DigitPairs
from dimr.data.digits import CLASSES, digit_images, split_indices
from dimr.data.image_arrays import ImagesManifest, write_images
from dimr.data.text.image_captions import ImageCaptions
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.files import key_of
from dimr.runtime.randomness import numpy_generator

DATASET = "digit-pairs"
WORDS = (
    "a zero", "a one", "a two", "a three", "a four", "a five", "a six", "a seven", "an eight",
    "a nine",
)  # fmt: skip
MARGIN = 1
"""Pixels left free around a digit on each side of its square."""
Layout = Literal["beside", "above"]
LAYOUTS: tuple[Layout, ...] = ("beside", "above")
RELATIONS = {"beside": ("to the left of", "to the right of"), "above": ("above", "below")}
"""Where the first digit of a combination is relative to the second, and vice versa."""


@dataclass(frozen=True, order=True)
class Combination:
    """The digit on the left (or above), the one on the right (or below), and which it is."""

    layout: Layout
    first: int
    second: int

    @property
    def number(self) -> int:
        """Its label: 0 to 199."""
        return (LAYOUTS.index(self.layout) * CLASSES + self.first) * CLASSES + self.second

    @property
    def captions(self) -> tuple[str, str]:
        """Its description, starting from its first digit and from its second."""
        there, back = RELATIONS[self.layout]
        first, second = WORDS[self.first], WORDS[self.second]
        return f"{first} {there} {second}", f"{second} {back} {first}"


COMBINATIONS = tuple(
    Combination(layout, first, second)
    for layout in LAYOUTS
    for first in range(CLASSES)
    for second in range(CLASSES)
)
"""All of them, by number."""
MEANING = {caption: one for one in COMBINATIONS for caption in one.captions}
"""What a caption says."""


def places(layout: Layout, size: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Rows and columns of the first digit and of the second, in pictures of a side."""
    half, quarter = size // 2, size // 4
    low, high, middle = slice(0, half), slice(half, size), slice(quarter, quarter + half)
    if layout == "beside":
        return (middle, low), (middle, high)
    return (low, middle), (high, middle)


def heldout_combinations(config: DigitPairs) -> list[Combination]:
    """Those that are in no training picture: drawn by ``split_seed``, of both layouts.

    They are drawn so that each digit is left out about equally often at each place, and occurs at
    every place in training.
    """
    generator = numpy_generator(config.split_seed, "held-out combinations")
    shifts = [generator.permutation(CLASSES) for _ in LAYOUTS]
    found = []
    for number in range(config.heldout_combinations):
        turn, first = divmod(number // len(LAYOUTS), CLASSES)
        which = number % len(LAYOUTS)
        second = int((first + shifts[which][turn]) % CLASSES)
        found.append(Combination(LAYOUTS[which], first, second))
    return sorted(found)


@dataclass(frozen=True)
class _Digits:
    """Digits of one split, (N, side, side, 3), by class."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @cached_property
    def members(self) -> list[NDArray[np.int64]]:
        return [np.flatnonzero(self.labels == digit) for digit in range(CLASSES)]

    def picture(self, one: Combination, number: int, split: str, seed: int) -> NDArray[np.uint8]:
        """Picture ``number`` of a combination: two digits, drawn at random."""
        generator = numpy_generator(seed, f"{split} pair", one.number, number)
        side = self.images.shape[1]
        picture = np.zeros((2 * (side + 2 * MARGIN),) * 2 + (3,), np.uint8)
        shown = zip((one.first, one.second), places(one.layout, len(picture)), strict=True)
        for digit, place in shown:
            chosen = self.images[generator.choice(self.members[digit])]
            picture[place][MARGIN:-MARGIN, MARGIN:-MARGIN] = chosen
        return picture


def make_digit_pairs(out: Path, config: DigitPairs) -> ImagesManifest:
    """Write the pictures as a folder ``out``, with their captions; return its manifest.

    Pictures cycle through their combinations. A label is the combination's number. Prompts are all
    captions in a random order, drawn once, so that the first ones are a varied selection.
    """
    images, labels = digit_images(config.image_size // 2 - 2 * MARGIN)
    splits = split_indices(labels, config.train_per_class, config.split_seed)
    heldout = heldout_combinations(config)
    shown = {
        "train": [one for one in COMBINATIONS if one not in heldout] * config.train_each,
        "heldout": list(COMBINATIONS) * config.heldout_each,
    }
    pictures, numbers = {}, {}
    for (split, order), indices in zip(shown.items(), splits, strict=True):
        digits = _Digits(images[indices], labels[indices])
        pictures[split] = [
            digits.picture(one, number, split, config.split_seed)
            for number, one in enumerate(order)
        ]
        numbers[split] = np.array([one.number for one in order], np.int64)
    captions = {split: [list(one.captions) for one in order] for split, order in shown.items()}
    turns = numpy_generator(config.split_seed, "prompts").permutation(len(MEANING))
    every = list(MEANING)
    prompts = [every[number] for number in turns]
    with atomic_directory(out) as folder:
        return write_images(
            folder,
            pictures,
            numbers,
            dataset=DATASET,
            size=config.image_size,
            class_names=[one.captions[0] for one in COMBINATIONS],
            split=(
                f"train: {config.train_each} pictures of each of "
                f"{len(COMBINATIONS) - len(heldout)} combinations, of {config.train_per_class} "
                f"digits of each class, chosen with seed {config.split_seed}; heldout: "
                f"{config.heldout_each} pictures of all {len(COMBINATIONS)} combinations, of the "
                "other digits"
            ),
            key=key_of(config.model_dump(mode="json")),
            captions=ImageCaptions(captions["train"], captions["heldout"], prompts),
        )
