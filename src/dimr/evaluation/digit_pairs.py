"""Pictures of two digits (``dimr.data.digit_pairs``), measured digit by digit at their places.

Feature metrics are taken of the squares that the two digits fill. A picture shows what its caption
says if the classifier reads the right digit in both squares; if the digits lie elsewhere, it reads
parts of them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.digit_pairs import COMBINATIONS, MEANING, Combination, places
from dimr.data.image_arrays import load_images
from dimr.data.shards import open_shards
from dimr.evaluation.classifier import read_classes
from dimr.evaluation.image_sets import ImageSet
from dimr.runtime.errors import DimrError


class DigitSquares:
    """The squares of both digits of pictures as images (2N, S/2, S/2, 3).

    Those of picture i are 2i and 2i + 1.

    Args:
        pictures: (N, S, S, 3).
        shown: what each of them should show.
    """

    def __init__(self, pictures: ImageSet, shown: Sequence[Combination]) -> None:
        count, side, *_ = pictures.shape
        self.name, self.pictures, self.shown = f"digits of {pictures.name}", pictures, shown
        self.shape: tuple[int, ...] = (2 * count, side // 2, side // 2, 3)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The digit that should be in each square, (2N,)."""
        return _digits(self.shown)

    def batches(self, size: int) -> Iterator[NDArray[np.uint8]]:
        """As ``ImageSet.batches``; sizes are even."""
        first = 0
        for pictures in self.pictures.batches(max(1, size // 2)):
            shown = self.shown[first : first + len(pictures)]
            yield digit_squares(pictures, shown)
            first += len(pictures)


def digit_squares(pictures: NDArray[np.uint8], shown: Sequence[Combination]) -> NDArray[np.uint8]:
    """The squares (2N, S/2, S/2, 3) of pictures (N, S, S, 3)."""
    cut = [
        picture[place]
        for picture, one in zip(pictures, shown, strict=True)
        for place in places(one.layout, pictures.shape[1])
    ]
    return np.stack(cut)


def _digits(shown: Sequence[Combination]) -> NDArray[np.int64]:
    """The digit of each square, (2N,)."""
    return np.array([(one.first, one.second) for one in shown], np.int64).reshape(-1)


def of_split(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The digits (2N, S/2, S/2, 3) of a split of a dataset's pictures, and their labels (2N,)."""
    pictures, labels = load_images(folder, split)
    shown = [COMBINATIONS[label] for label in labels]
    return digit_squares(pictures, shown), _digits(shown)


def shown_by(samples: Path, labels: NDArray[np.int64] | None) -> list[Combination]:
    """What each sample should show: its label's name is a caption.

    Raises:
        DimrError: samples that are not a folder with captions, or have other captions.
    """
    if labels is None or not samples.is_dir():
        raise DimrError(f"{samples}: pairs of digits need a folder of samples with their captions")
    names = open_shards(samples).manifest.class_names
    unknown = next((name for name in names if name not in MEANING), None)
    if unknown is not None:
        raise DimrError(f"{samples}: {unknown[:60]!r} is no caption of a pair of digits")
    meant = [MEANING[name] for name in names]
    return [meant[label] for label in labels]


def caption_accuracy(classifier: Any, squares: DigitSquares, images: Path) -> dict[str, float]:
    """The share of pictures that show what their captions say.

    Args:
        classifier: of digits, as ``dimr.evaluation.classifier.class_accuracy`` takes it.
        squares: of the pictures.
        images: the dataset's folder, which tells the combinations that no training picture shows.

    Returns:
        ``caption_accuracy``, and separately ``..._seen`` and ``..._heldout``, if there are such
        pictures.
    """
    seen = set(load_images(images, "train")[1].tolist())
    right = (read_classes(classifier, squares) == squares.labels).reshape(-1, 2).all(axis=1)
    is_seen = np.array([one.number in seen for one in squares.shown])
    found = {"caption_accuracy": float(right.mean())}
    for name, chosen in (("seen", is_seen), ("heldout", ~is_seen)):
        if chosen.any():
            found[f"caption_accuracy_{name}"] = float(right[chosen].mean())
    return found
