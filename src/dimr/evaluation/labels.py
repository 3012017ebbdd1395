"""Classes of the images that are measured: where they are known from, and the order they make."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.npz import array_header, array_names, file_header, load_arrays
from dimr.evaluation.picture_files import LABELS
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import numpy_generator

ARRAY = "arr_1"
"""Of an ADM-style ``.npz``, beside the images."""
MOST = 2**31
"""Labels lie below."""
SEED = 0
"""Of the order in which the Inception Score takes images that are not interleaved."""


@dataclass(frozen=True)
class Labels:
    """Classes of a set of images.

    Attributes:
        values: (N,) integers from 0; None: not known.
        origin: where they are from, or why they are not known.
        classes: how many there are; None: as many as the values say.
    """

    values: NDArray[np.int64] | None
    origin: str
    classes: int | None = None

    @property
    def interleaved(self) -> bool:
        """Whether label i is known to be i mod classes: any stretch has its share of each class."""
        if self.values is None:
            return False
        classes = self.classes or int(self.values.max()) + 1
        if classes == 1 and self.classes is None:  # zeros are also written where nothing is known
            return False
        return bool((self.values == np.arange(len(self.values)) % classes).all())

    @property
    def note(self) -> str:
        """For a record: origin and order."""
        if self.values is None:
            return f"not known: {self.origin}"
        classes = self.classes or int(self.values.max()) + 1
        order = f"interleaved, i mod {classes}" if self.interleaved else "not interleaved"
        return f"{self.origin}: {order}"

    @property
    def _balanced(self) -> bool:
        """Whether there are known to be as many images of each class, or one more."""
        if self.values is None:
            return False
        return bool(np.ptp(np.unique(self.values, return_counts=True)[1]) <= 1)

    @property
    def score_note(self) -> str:
        """The order of ``score_order`` in words."""
        turns = ", classes in turn" if self._balanced else ""
        return "as they are" if self.interleaved else f"random, seed {SEED}{turns}"

    def score_order(self, count: int) -> NDArray[np.int64] | None:
        """The order (count,) of ``count`` images for the Inception Score; None: as they are.

        Images that are not known to be interleaved are taken in a random order, always the same. If
        they are known to have as many images of each class, classes take turns in it, as they do in
        samples that are made here; else classes come at random, as they do in ADM's samples.
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


def npz_labels(path: str | Path, count: int) -> Labels:
    """``arr_1`` of an ``.npz`` with ``count`` images; errors as for ``checked``."""
    if ARRAY not in array_names(path):
        return Labels(None, f"no {ARRAY}")
    shape, dtype = array_header(path, ARRAY)
    if dtype.kind not in "iu" or len(shape) != 1:
        return Labels(None, f"{ARRAY} is {dtype} {shape}, no labels")
    return checked(load_arrays(path, [ARRAY])[0], count, f"{path}: {ARRAY}", ARRAY)


def file_labels(path: Path, count: int) -> Labels:
    """The labels of an ``.npy`` file; ``DimrError`` if it is there and holds no labels."""
    if not os.path.lexists(path):
        return Labels(None, f"no {LABELS}")
    shape, dtype = file_header(path)
    if dtype.kind not in "iu" or len(shape) != 1:
        raise DimrError(f"{path}: holds {dtype} {shape}; expected labels, integers ({count},)")
    return checked(np.load(path, allow_pickle=False), count, str(path), path.name)


def checked(values: NDArray[Any], count: int, where: str, origin: str) -> Labels:
    """Integers (n,) as labels of ``count`` images; ``DimrError`` begins with ``where``."""
    if len(values) != count:
        raise DimrError(f"{where}: {len(values)} labels for {count} images")
    if values.min() < 0 or values.max() >= MOST:
        raise DimrError(f"{where}: labels from {values.min()} to {values.max()}; they begin at 0")
    return Labels(values.astype(np.int64), origin)
