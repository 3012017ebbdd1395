"""Training batches from a shard folder, as a pure function of (seed, step)."""

from collections.abc import Iterator
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.data.shards import ShardManifest, open_shards
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import numpy_generator, torch_generator


class ShardReader:
    """Endless shuffled batches of a shard folder; every sample is seen once per epoch.

    The stream's position p = step * batch_size + j holds sample ``permutation(seed, epoch)[p %
    count]`` of epoch p // count, so that batches may span epochs, none is short, and reading can
    start at any step. Shards stay on disk and are memory-mapped: memory is constant whatever their
    size.

    Attributes:
        manifest: of the folder.
        count: samples per epoch.
        classes: number of classes; labels lie in 0..classes-1.
        sample_shape: (C, h, w) of one sample of a batch.
    """

    def __init__(self, folder: Path, batch_size: int, seed: int) -> None:
        if batch_size < 1:
            raise DimrError(f"batch_size: {batch_size} is not allowed; use 1 or more")
        self._shards = open_shards(folder)
        self.manifest: ShardManifest = self._shards.manifest
        self.count, self.classes = self.manifest.count, self.manifest.classes
        self.batch_size, self.seed = batch_size, seed
        # a batch spans two epochs at most (unless it is longer than one), so two are kept
        self._permutation = lru_cache(maxsize=2)(partial(_permutation, seed, self.count))
        self._scale = self.manifest.scaling_factor
        first, second, third = self.manifest.shape
        self.sample_shape: tuple[int, int, int] = (
            (third, first, second) if self._scale is None else (first // 2, second, third)
        )

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples (B, C, h, w) float32 and labels (B,) int64 of step 0, 1, 2, ...

        Kind "posterior": scaling_factor * (mean + std * noise), with new noise for each
        (seed, step). Kind "pixels": values in [-1, 1].
        """
        indices = self.indices(step)
        raw = torch.from_numpy(self.stored(indices))
        labels = torch.from_numpy(self._shards.labels[indices])
        if self._scale is None:
            return (raw.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(), labels
        mean, std = raw.float().chunk(2, dim=1)
        noise = torch.randn(mean.shape, generator=torch_generator(self.seed, "posterior", step))
        return noise.mul_(std).add_(mean).mul_(self._scale), labels

    def indices(self, step: int) -> NDArray[np.int64]:
        """Which samples (B,) of the folder, counted over its shards, make up batch ``step``."""
        if step < 0:
            raise DimrError(f"step: {step} is not allowed; use 0 or more")
        start = step * self.batch_size
        return np.concatenate(list(self._pieces(start, start + self.batch_size)))

    def _pieces(self, start: int, stop: int) -> Iterator[NDArray[np.int64]]:
        """Positions start..stop-1 of the stream, one piece for each epoch that they touch."""
        while start < stop:
            epoch, first = divmod(start, self.count)
            piece = self._permutation(epoch)[first : first + stop - start]
            yield piece
            start += len(piece)

    def stored(self, indices: NDArray[np.int64]) -> NDArray[Any]:
        """Samples (B, *shape) by their numbers, as the shards hold them."""
        return self._shards.take(indices, compare=False)


def _permutation(seed: int, count: int, epoch: int) -> NDArray[np.int64]:
    """The order (count,) in which one epoch visits the samples."""
    return numpy_generator(seed, "epoch order", epoch).permutation(count)
