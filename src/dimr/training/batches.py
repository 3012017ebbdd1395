"""What a step is made of: images, noise, times and conditions, all a function of (seed, step)."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from dimr.diffusion.schedule import SCHEDULES, Schedule
from dimr.models.conditioning import Condition, as_condition
from dimr.runtime.async_io import prefetch
from dimr.runtime.randomness import torch_generator
from dimr.training.distributed import World
from dimr.training.train_state import Engine

if TYPE_CHECKING:
    from dimr.config.schema import TrainConfig


class BatchSource(Protocol):
    """Where images come from: a pure function of the step (``dimr.data.reader.ShardReader``)."""

    def batch(self, step: int) -> tuple[Tensor, Tensor | Condition]:
        """Images (B, C, H, W) float32 of a step and their labels (B,), or other conditions."""


@dataclass(frozen=True)
class Batch:
    """Clean images x (B, C, H, W), noise like x, times t (B,), conditions after dropout.

    Labels (B,) int64 are also a condition.
    """

    x: Tensor
    noise: Tensor
    t: Tensor
    condition: Condition | Tensor

    def __len__(self) -> int:
        return len(self.x)

    def map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        """The batch with a function applied to each tensor."""
        x, noise, t = map(function, (self.x, self.noise, self.t))
        condition = self.condition
        mapped = function(condition) if isinstance(condition, Tensor) else condition.map(function)
        return Batch(x, noise, t, mapped)

    def rows(self, rows: slice) -> "Batch":
        """A part of it."""
        return self.map(lambda tensor: tensor[rows])

    def microbatches(self, number: int) -> "Iterator[Batch]":
        """The batch in ``number`` parts whose sizes differ by at most one row."""
        edges = [len(self) * k // number for k in range(number + 1)]
        for start, end in itertools.pairwise(edges):
            if end > start:
                yield self.rows(slice(start, end))

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; from pinned memory the copy does not wait."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> "Batch":
        """The batch in pinned memory, from which a GPU copies asynchronously."""
        return self.map(Tensor.pin_memory)


@dataclass(frozen=True)
class Draws:
    """The randomness of steps.

    Attributes:
        seed: of the run.
        schedule: noise schedule, which says how times are drawn.
        label_dropout: share of images that are trained on without their condition.
        num_classes: of labels, if a source gives plain ones.
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


def make_batches(
    config: "TrainConfig", source: BatchSource, engine: Engine, world: World, first: int = 0
) -> Generator[Batch, None, None]:
    """The batches of a run from step ``first`` to its last; each process gets its own rows.

    Raises:
        DimrError: the batch cannot be divided into equal microbatches.
    """
    schedule = SCHEDULES[config.network.schedule]()
    draws = Draws(config.seed, schedule, config.train.label_dropout, config.network.num_classes)
    rows = world.rows(config.train.batch, engine.accumulate)
    steps = range(first, config.train.steps)
    return stream_batches(source, draws, rows, world.device, steps, engine.prefetch)


def stream_batches(
    source: BatchSource, draws: Draws, rows: slice, device: torch.device, steps: range, ahead: bool
) -> Generator[Batch, None, None]:
    """Batches of successive steps; close the generator to end its thread.

    Every process draws the whole batch and takes its own ``rows``: what a step learns from does not
    depend on how many processes there are.

    Args:
        source: the data.
        draws: the randomness.
        rows: this process's part of a batch.
        device: where batches are wanted.
        steps: of the batches.
        ahead: make each batch in a thread, during the step before.
    """

    def make(step: int) -> Batch:
        batch = draws.batch(*source.batch(step), step).rows(rows)
        return batch.pinned() if device.type == "cuda" else batch

    batches: Iterator[Batch] = map(make, steps)
    with contextlib.ExitStack() as stack:
        if ahead:
            batches = stack.enter_context(contextlib.closing(prefetch(batches, depth=1)))
        yield from (batch.to(device) for batch in batches)
