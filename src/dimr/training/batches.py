"""What a step is made of: images, noise, times and conditions, all a function of (seed, step)."""

import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from dimr.diffusion.schedule import Schedule
from dimr.models.conditioning import Condition, as_condition
from dimr.runtime.randomness import torch_generator


class Batches(Protocol):
    """Where images come from: a pure function of the step (``dimr.data.reader.ShardReader``)."""

    def batch(self, step: int) -> tuple[Tensor, Tensor | Condition]:
        """Images (B, C, H, W) float32 of a step and their labels (B,), or other conditions."""


@dataclass(frozen=True)
class Batch:
    """Clean images x (B, C, H, W), noise like x, times t (B,), conditions after dropping."""

    x: Tensor
    noise: Tensor
    t: Tensor
    condition: Condition

    def __len__(self) -> int:
        return len(self.x)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a function of each tensor."""
        x, noise, t = map(function, (self.x, self.noise, self.t))
        return Batch(x, noise, t, self.condition.map(function))

    def rows(self, rows: slice) -> "Batch":
        """A part of it."""
        return self.map(lambda tensor: tensor[rows])

    def microbatches(self, number: int) -> "Iterator[Batch]":
        """The batch in ``number`` parts that differ by one row at most."""
        edges = [len(self) * k // number for k in range(number + 1)]
        for start, end in itertools.pairwise(edges):
            if end > start:
                yield self.rows(slice(start, end))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; from pinned memory the copy does not wait."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The batch in memory that a GPU copies from by itself."""
        return self.map(Tensor.pin_memory)


@dataclass(frozen=True)
class Draws:
    """The randomness of steps.

    Attributes:
        seed: of the run.
        schedule: noise schedule, which says how times are drawn.
        label_dropout: share of images that are learned from without their condition.
        num_classes: of labels, where a source gives plain ones.
    """

    seed: int
    schedule: Schedule
    label_dropout: float
    num_classes: int

    def batch(self, x: Tensor, condition: Tensor | Condition, step: int) -> Batch:
        """Images and conditions of a step, some of them dropped, with its times and noise.

        All derives from (seed, "train", step), so a step does not depend on what ran before.
        """
        generator = torch_generator(self.seed, "train", step)
        t = self.schedule.draw_times(len(x), generator)
        noise = torch.randn(x.shape, generator=generator)
        dropped = torch.rand(len(x), generator=generator) < self.label_dropout
        return Batch(x, noise, t, as_condition(condition, self.num_classes).drop(dropped))


class Prefetch:
    """Batches of successive steps, each made while the step before is computed.

    Every process draws the whole batch and takes its own ``rows``: what a step learns from does not
    depend on how many there are.

    Args:
        source: the data.
        draws: the randomness.
        device: where batches are wanted.
        rows: this process's part of a batch.
        ahead: make the next batch in a thread.
    """

    def __init__(
        self, source: Batches, draws: Draws, device: torch.device, rows: slice, ahead: bool
    ) -> None:
        self.source, self.draws, self.device, self.rows = source, draws, device, rows
        self.pool = ThreadPoolExecutor(1, "batches") if ahead else None
        self.waiting: tuple[int, Future[Batch]] | None = None

    def get(self, step: int, last: int) -> Batch:
        """The batch of a step, on the device; the next is begun, up to step ``last``."""
        if self.pool is None:
            return self._make(step).to(self.device)
        if self.waiting is None or self.waiting[0] != step:
            self.waiting = (step, self.pool.submit(self._make, step))
        batch = self.waiting[1].result()
        self.waiting = None
        if step < last:
            self.waiting = (step + 1, self.pool.submit(self._make, step + 1))
        return batch.to(self.device)

    def close(self) -> None:
        """End the thread; what it makes is dropped."""
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def _make(self, step: int) -> Batch:
        batch = self.draws.batch(*self.source.batch(step), step).rows(self.rows)
        return batch.pinned() if self.device.type == "cuda" else batch
