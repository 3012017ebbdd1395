"""Images that a dataset already has, in the form of samples: what its sanity rows hold."""

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dimr.data.autoencoder import Autoencoder, reconstruct
from dimr.data.encode import usual_batch
from dimr.data.image_arrays import go_round
from dimr.data.imagenet import ImageStore
from dimr.runtime.async_io import Waits
from dimr.runtime.randomness import numpy_generator
from dimr.runtime.threads import in_threads


def in_turn(labels: NDArray[np.int64], count: int, shuffled: bool) -> NDArray[np.int64]:
    """Numbers (count,) of images, one of each class in turn.

    So image i is of class i mod K, like those that a network draws, until a class is used up.

    Args:
        labels: of all images, (N,).
        count: at most N.
        shuffled: draw them with a fixed seed, if images of a class are sorted, say; else a class's
            images come in order.
    """
    classes = []
    by_class = np.argsort(labels, kind="stable")
    ends = np.cumsum(np.bincount(labels))
    for label, members in enumerate(np.split(by_class, ends[:-1])):
        order = np.arange(len(members))
        if shuffled:
            order = numpy_generator(0, "sanity row", label).permutation(len(members))
        classes.append(members[order])
    return go_round(classes)[:count]


@dataclass(frozen=True)
class StoredImages:
    """Cropped images of a store, in a form that ``dimr.sampling.folder`` takes.

    Attributes:
        store: all images.
        numbers: which of them, (count,).
        size: side of the centre crop.
        vae: encodes and decodes them; None: they stay as they are.
    """

    store: ImageStore
    numbers: NDArray[np.int64]
    size: int
    vae: Autoencoder | None = None

    @property
    def batch(self) -> int:
        """Images at a time."""
        return usual_batch(self.size, self.vae is not None and self.vae.device.type == "cuda")

    def draw(
        self, batches: Iterable[Sequence[int]], *, waits: Waits
    ) -> Iterator[NDArray[np.uint8]]:
        """Each batch's images, uint8 (b, size, size, 3); ``batches`` count in ``numbers``.

        Threads read ahead. ``DimrError`` names an image that does not decode.
        """
        chosen = [self.numbers[np.asarray(places)].tolist() for places in batches]
        cropped = in_threads(lambda n: self.store.crop(n, self.size), itertools.chain(*chosen))
        with contextlib.closing(cropped):
            for numbers in chosen:
                with waits.on("data"):
                    taken = itertools.islice(cropped, len(numbers))
                    crops = np.stack([crop for _, crop in taken])
                yield crops if self.vae is None else reconstruct(self.vae, crops, len(crops))
