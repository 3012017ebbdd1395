"""Labels of the images that are measured, and the order in which the Inception Score takes them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.npz import array_header, array_names, file_header, load_arrays
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import numpy_generator

ARRAY = "arr_1"
"""The labels in an ADM-style ``.npz``, beside the images."""
LIMIT = 2**31
"""Labels are below this."""
SEED = 0
"""Seed of the order in which the Inception Score takes images that are not interleaved."""


@dataclass(frozen=True)
class Labels:
    """Classes of a set of images.

    Attributes:
        values: (N,) integers from 0; None: unknown.
        origin: where they were read, or why they are unknown.
        classes: how many there are; None: as the values imply.
    """

    values: NDArray[np.int64] | None
    origin: str
    classes: int | None = None

    @property
    def interleaved(self) -> bool:
        """Whether label i is known to be i mod classes: any stretch has its share of each class."""
        if self.values is None:
            return False
        classes = self._count(self.values)
        if classes == 1 and self.classes is None:  # zeros are also written where nothing is known
            return False
        return bool((self.values == np.arange(len(self.values)) % classes).all())

    @property
    def note(self) -> str:
        """For a record: origin and order."""
        if self.values is None:
            return f"not known: {self.origin}"
        order = f"interleaved, i mod {self._count(self.values)}"
        return f"{self.origin}: {order if self.interleaved else 'not interleaved'}"

    @property
    def score_note(self) -> str:
        """The order of ``score_order`` in words."""
        turns = ", classes in turn" if self._balanced else ""
        return "as they are" if self.interleaved else f"random, seed {SEED}{turns}"

    def score_order(self, count: int) -> NDArray[np.int64] | None:
        """The order (count,) of ``count`` images for the Inception Score; None: as they are.

        Images that are not known to be interleaved are taken in a random but reproducible order. If
        all classes are known to have equally many images, they take turns in it, as in samples
        drawn here; else classes come at random, as in ADM's samples.
        """
        if self.interleaved:
            return None
        order = numpy_generator(SEED, "order of the Inception Score").permutation(count)
        if self.values is None or not self._balanced:
            return order
        shuffled = self.values[order]
        by_class = np.argsort(shuffled, kind="stable")
        _, starts, counts = np.unique(shuffled[by_class], return_index=True, return_counts=True)
        rank = np.empty(count, np.int64)  # of an image among those of its class
        rank[by_class] = np.arange(count) - np.repeat(starts, counts)
        return order[np.lexsort((shuffled, rank))]

    def _count(self, values: NDArray[np.int64]) -> int:
        return self.classes or int(values.max()) + 1

    @property
    def _balanced(self) -> bool:
        """Whether all classes are known to have the same number of images, to within one."""
        if self.values is None:
            return False
        return bool(np.ptp(np.unique(self.values, return_counts=True)[1]) <= 1)


def npz_labels(path: str | Path, count: int) -> Labels:
    """``arr_1`` of an ``.npz`` with ``count`` images; unknown if it is absent or of another kind.

    Raises:
        DimrError: another number of labels, or labels out of range.
    """
    if ARRAY not in array_names(path):
        return Labels(None, f"no {ARRAY}")
    shape, dtype = array_header(path, ARRAY)
    if dtype.kind not in "iu" or len(shape) != 1:
        return Labels(None, f"{ARRAY} is {dtype} {shape}, no labels")
    return _checked(load_arrays(path, [ARRAY])[0], count, f"{path}: {ARRAY}", ARRAY)


def file_labels(path: Path, count: int) -> Labels:
    """The labels of an ``.npy`` file; ``DimrError`` if it exists and does not hold labels."""
    if not os.path.lexists(path):
        return Labels(None, f"no {path.name}")
    shape, dtype = file_header(path)
    if dtype.kind not in "iu" or len(shape) != 1:
        raise DimrError(f"{path}: holds {dtype} {shape}; expected labels, integers ({count},)")
    return _checked(np.load(path, allow_pickle=False), count, str(path), path.name)


def _checked(values: NDArray[Any], count: int, where: str, origin: str) -> Labels:
    """Integers (n,) as labels of ``count`` images; ``DimrError`` begins with ``where``."""
    if len(values) != count:
        raise DimrError(f"{where}: {len(values)} labels for {count} images")
    if values.min() < 0 or values.max() >= LIMIT:
        raise DimrError(
            f"{where}: labels from {values.min()} to {values.max()}; allowed are 0 to {LIMIT - 1}"
        )
    return Labels(values.astype(np.int64), origin)
