"""Images that a dataset already has, in the form of samples: what its sanity rows hold."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.data.autoencoder import Autoencoder, reconstruct
from dimr.data.encode import usual_batch
from dimr.data.image_arrays import go_round
from dimr.data.imagenet import ImageStore
from dimr.runtime.async_io import Waits
from dimr.runtime.randomness import numpy_generator

AHEAD = 2
"""Batches that are read while one is used."""


def in_turn(labels: NDArray[np.int64], count: int, shuffled: bool) -> NDArray[np.int64]:
    """Numbers (count,) of images, one of each class in turn.

    So image i is of class i mod K, as those that a network draws, as long as no class is used up.

    Args:
        labels: of all images, (N,).
        count: N at most.
        shuffled: draw them by a fixed seed, as where images of a class are sorted; else a class's
            images come in their order.
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
    """Images of a store, cropped, that ``dimr.sampling.folder`` takes as they were drawn.

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

        Threads read the next ones meanwhile. ``DimrError`` names an image that does not decode.
        """
        with ThreadPoolExecutor(torch.get_num_threads(), "crop") as pool:
            waiting: deque[list[Future[Any]]] = deque()

            def taken() -> NDArray[np.uint8]:
                with waits.on("data"):
                    crops = np.stack([one.result() for one in waiting.popleft()])
                return crops if self.vae is None else reconstruct(self.vae, crops, len(crops))

            try:
                for places in batches:
                    numbers = self.numbers[np.asarray(places)].tolist()
                    waiting.append([pool.submit(self.store.crop, n, self.size) for n in numbers])
                    if len(waiting) > AHEAD:
                        yield taken()
                while waiting:
                    yield taken()
            finally:
                for one in (one for batch in waiting for one in batch):
                    one.cancel()
