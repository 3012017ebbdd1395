"""Many images in a fixed order: image i has label i mod classes and noise from (seed, i).

Neither depends on the batch size, so image i is the same however many are drawn at a time (up to
the rounding of matrix products, which may move a pixel by one of its 256 levels).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr import models
from dimr.checkpoints.model_folder import read_model
from dimr.config.schema import NetworkConfig, SampleConfig
from dimr.diffusion import sample
from dimr.diffusion.guidance import Model, wrap
from dimr.models.conditioning import LabelCondition
from dimr.runtime.async_io import Waits, fetch, start_copy, to_device
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import noise_by_index, torch_generator

Decode = Callable[[Tensor], Tensor | NDArray[np.uint8]]
"""From solver output (B, C, h, w) to images (B, H, W, 3) uint8, best on its device."""


def labels_in_order(count: int, classes: int) -> NDArray[np.int64]:
    """Labels (count,) of images 0, 1, ...: interleaved, so that any stretch is class-balanced."""
    return np.arange(count, dtype=np.int64) % classes


def load_network(folder: Path) -> tuple[models.Network, NetworkConfig]:
    """The network of a run's ``model/`` folder, float32, in evaluation mode, and its sizes.

    Raises:
        DimrError: a missing or damaged file, or weights of another network (names the tensor).
    """
    network, sizes = read_model(folder)
    return network.float().eval(), sizes  # imported weights may be of half precision


@dataclass(frozen=True)
class Sampler:
    """Everything that decides the images of a sampling phase, ready to draw any of them.

    Attributes:
        network: called as ``network(x, t, condition)``: a plain one, or an
            ``dimr.sampling.engine.Evaluator``.
        sizes: its sizes.
        phase: seed, count, steps, solver and guidance.
        decode: from solver output to images.
        device: where the network is.
    """

    network: Model
    sizes: NetworkConfig
    phase: SampleConfig
    decode: Decode
    device: torch.device

    def draw(
        self,
        batches: Iterable[Sequence[int]],
        *,
        waits: Waits | None = None,
        on_step: Callable[[], object] | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """Draw batches of images, given by their numbers.

        Args:
            batches: numbers of images, all below the phase's count.
            waits: where the time is counted that copies from the device take.
            on_step: called after each evaluation of the network.

        Yields:
            uint8 (b, H, W, 3), in order; on CUDA a batch when the next one has been launched.

        Raises:
            DimrError: what the solver ends with is not finite.
        """
        finite: deque[Callable[[], NDArray[np.bool_]]] = deque()

        def decoded() -> Iterator[Tensor | NDArray[np.uint8]]:
            for numbers in batches:
                x = self.solve(numbers, on_step)
                finite.append(start_copy(torch.isfinite(x).all()))  # seen with the images
                yield self.decode(x)

        for images in fetch(decoded(), waits or Waits()):
            if not finite.popleft()():
                raise DimrError(
                    "the solver ends with NaN or infinity: are the weights damaged, or is the "
                    "guidance too strong?"
                )
            yield images

    def solve(self, numbers: Sequence[int], on_step: Callable[[], object] | None = None) -> Tensor:
        """What the solver ends with, (b, C, h, w), for the images of these numbers.

        ``on_step`` is called after each evaluation of the network.
        """
        sizes, phase = self.sizes, self.phase
        shape = (sizes.channels, sizes.input_size, sizes.input_size)
        noise = noise_by_index(phase.seed, "sample", numbers, shape)
        labels = torch.tensor([number % sizes.num_classes for number in numbers])
        condition = LabelCondition(to_device(labels, self.device), sizes.num_classes)
        denoise = wrap(self.network, condition, **phase.guidance.model_dump())
        return sample(
            denoise,
            to_device(noise, self.device),
            phase.steps,
            schedule=sizes.schedule,
            solver=phase.solver,
            generators=[torch_generator(phase.seed, "ancestral noise", i) for i in numbers],
            on_step=on_step,
        )


def in_batches(numbers: Sequence[int], batch: int) -> list[Sequence[int]]:
    """``numbers`` cut into batches; the last may be shorter."""
    return [numbers[start : start + batch] for start in range(0, len(numbers), batch)]


def generate(
    network: Model,
    sizes: NetworkConfig,
    phase: SampleConfig,
    decode: Decode,
    *,
    batch: int,
    device: torch.device,
    indices: Sequence[int] | None = None,
    on_step: Callable[[], object] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Draw the images of a sampling phase, batch by batch.

    Args:
        network: called as ``network(x, t, condition)``.
        sizes: its sizes.
        phase: seed, count, steps, solver and guidance.
        decode: from solver output to images.
        batch: images at a time; changes speed alone.
        device: where the network is.
        indices: which images, all below the phase's count; None: all of them.
        on_step: called after each evaluation of a batch, as for a progress bar.

    Yields:
        uint8 (b, H, W, 3), in order.
    """
    sampler = Sampler(network, sizes, phase, decode, device)
    batches = in_batches(range(phase.count) if indices is None else indices, batch)
    return sampler.draw(batches, on_step=on_step)
