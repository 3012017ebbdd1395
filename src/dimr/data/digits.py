"""scikit-learn's handwritten digits as arrays of images, the stand-in for ImageNet."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from dimr.data.image_arrays import ImagesManifest, write_images
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of
from dimr.runtime.randomness import numpy_generator

CLASSES = 10
SOURCE_SIZE = 8


def make_digits(
    out: Path, size: int, train_per_class: int = 100, seed: int = 0, validation_per_class: int = 0
) -> ImagesManifest:
    """Write the digits as a folder ``out`` of (size, size, 3) images, and return its manifest.

    ``size`` is in pixels, 8 or more; ``train_per_class`` images of each class are drawn by
    ``seed`` for training and ``validation_per_class`` for trials; the others are held out: at least
    one of each class. ``DimrError`` for a size or number that is out of range.
    """
    if size < SOURCE_SIZE:
        raise DimrError(f"size: {size} is not allowed; the digits are enlarged to 8 pixels or more")
    images, labels = digit_images(size)
    train, heldout = split_indices(labels, train_per_class, seed)
    chosen, key = {"train": train, "heldout": heldout}, ["digits", size, train_per_class, seed]
    validation = ""
    if validation_per_class:
        both, rest = split_indices(labels, train_per_class + validation_per_class, seed)
        chosen = {"train": train, "heldout": rest, "validation": np.setdiff1d(both, train)}
        key.append(validation_per_class)
        validation = f"validation: {validation_per_class} of each class, likewise; "
    with atomic_directory(out) as folder:
        return write_images(
            folder,
            {split: images[indices] for split, indices in chosen.items()},
            {split: labels[indices] for split, indices in chosen.items()},
            dataset="digits",
            size=size,
            class_names=[str(digit) for digit in range(CLASSES)],
            split=(
                f"train: {train_per_class} images of each class, chosen with seed {seed}, "
                f"interleaved (image i has label i % {CLASSES}); {validation}heldout: all others, "
                "in the dataset's order"
            ),
            key=key_of(*key),
        )


def digit_images(size: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All digits (1797, size, size, 3) uint8 in 0..255, channels equal, and labels (1797,)."""
    source, labels = _load_source()
    return enlarge(source, size), labels


def split_indices(
    labels: NDArray[np.int64], train_per_class: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices (T,) of the training images, class-interleaved, and (N - T,) of the others.

    The others ascend; T = 10 * ``train_per_class``. ``DimrError`` if that leaves a class without
    a held-out image.
    """
    allowed = int(np.bincount(labels, minlength=CLASSES).min()) - 1
    if not 1 <= train_per_class <= allowed:
        raise DimrError(f"train_per_class: {train_per_class} is not allowed; use 1 to {allowed}")
    columns = []
    for digit in range(CLASSES):
        members = np.flatnonzero(labels == digit)
        order = numpy_generator(seed, "digits split", digit).permutation(len(members))
        columns.append(members[order[:train_per_class]])
    train = np.stack(columns, axis=1).reshape(-1)
    return train, np.setdiff1d(np.arange(len(labels)), train)


def enlarge(source: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Images (N, 8, 8) of values 0..16 to (N, size, size, 3) uint8 in 0..255, channels equal.

    Bicubic in floating point, then clipped and rounded once.
    """
    scaled = np.asarray(source, dtype=np.float32) * np.float32(255 / 16)
    bicubic = Image.Resampling.BICUBIC
    large = np.stack([np.asarray(Image.fromarray(i).resize((size, size), bicubic)) for i in scaled])
    grey = np.rint(np.clip(large, 0, 255)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def _load_source() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """scikit-learn's digits: images (1797, 8, 8) of values 0..16 and labels (1797,)."""
    from sklearn.datasets import load_digits  # slow to import

    digits = load_digits()
    return digits.images, digits.target.astype(np.int64)
