"""Images by their numbers: image i has label i mod classes and noise from (seed, i).

If a network draws texts, its prompts replace classes.

Neither label nor noise depends on the batch size, so image i is the same however many are drawn at
a time (up to the rounding of matrix products, which may move a pixel by one of its 256 levels).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.config.schema import NetworkConfig, SampleConfig
from dimr.diffusion import sample
from dimr.diffusion.guidance import Model, wrap
from dimr.models.conditioning import Condition, LabelCondition, TextCondition
from dimr.runtime.async_io import Waits, fetch, start_copy, to_device
from dimr.runtime.errors import DimrError
from dimr.runtime.randomness import noise_by_index, torch_generator
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.sampling.model import load_network, open_decoder


class Prompts(Protocol):
    """What a network of text should draw, P of them: a ``TextCondition``, or one read on demand."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any) -> TextCondition:
        """The condition of some rows: a slice, or numbers (n,) int64."""


Decode = Callable[[Tensor], Tensor | NDArray[np.uint8]]
"""From solver output (B, C, h, w) to images (B, H, W, 3) uint8, best on its device."""


def labels_in_order(count: int, classes: int) -> NDArray[np.int64]:
    """Labels (count,) of images 0, 1, ...: interleaved, so that any stretch is class-balanced."""
    return np.arange(count, dtype=np.int64) % classes


def in_batches(numbers: Sequence[int], batch: int) -> list[Sequence[int]]:
    """``numbers`` in batches; the last may be shorter."""
    return [numbers[start : start + batch] for start in range(0, len(numbers), batch)]


@dataclass(frozen=True)
class Sampler:
    """Everything that decides a sampling configuration's images, ready to draw any of them.

    Attributes:
        network: called as ``network(x, t, condition)``: a plain one, or an ``Evaluator``.
        config: its configuration.
        sampling: seed, count, steps, solver and guidance.
        decode: from solver output to images.
        device: where the network is.
        prompts: what a network of text draws; None: it is one of classes.
    """

    network: Model
    config: NetworkConfig
    sampling: SampleConfig
    decode: Decode
    device: torch.device
    prompts: Prompts | None = None

    def draw(
        self,
        batches: Iterable[Sequence[int]],
        *,
        waits: Waits | None = None,
        on_step: Callable[[], object] | None = None,
    ) -> Iterator[NDArray[np.uint8]]:
        """Draw batches of images by their numbers, as from ``in_batches``.

        Args:
            batches: numbers of images, all below the count.
            waits: counts the time that copies from the device take.
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
        config, sampling = self.config, self.sampling
        shape = (config.channels, config.input_size, config.input_size)
        noise = noise_by_index(sampling.seed, "sample", numbers, shape)
        condition = self.condition(numbers)
        return sample(
            wrap(self.network, condition, **sampling.guidance.model_dump()),
            to_device(noise, self.device),
            sampling.steps,
            schedule=config.schedule,
            solver=sampling.solver,
            generators=[torch_generator(sampling.seed, "ancestral noise", i) for i in numbers],
            on_step=on_step,
        )

    def condition(self, numbers: Sequence[int]) -> Condition:
        """What the images of these numbers should show."""
        prompts, classes = self.prompts, self.config.num_classes
        of = len(prompts) if prompts is not None else classes
        labels = torch.tensor([number % of for number in numbers])
        if prompts is not None:
            return prompts[labels].map(lambda tensor: to_device(tensor, self.device))
        return LabelCondition(to_device(labels, self.device), classes)


def open_sampler(
    model: Path,
    sampling: SampleConfig,
    *,
    autoencoder: str | Path | None,
    engine: SamplingEngine,
    batch: int,
    device: torch.device,
    count: int | None = None,
    prompts: Prompts | None = None,
) -> tuple[Sampler, Evaluator]:
    """The sampler of a run's model folder, and its network in the engine's form.

    Args:
        model: the folder.
        sampling: seed, count, steps, solver and guidance.
        autoencoder: folder or hub name; None: that of the run's dataset, if it is found.
        engine: how the network is evaluated.
        batch: images at a time.
        device: where to compute.
        count: how many images will be drawn; None: ``sampling.count``.
        prompts: for a network of text, on the CPU.

    Raises:
        DimrError: a missing or damaged file, or an autoencoder for other latents.
    """
    network, config = load_network(model)
    decoder = open_decoder(model, config, autoencoder, str(device))
    drawn = sampling if count is None else sampling.model_copy(update={"count": count})
    resolved = engine.resolved(config, drawn, device)
    guided = sampling.guidance.passes > 1
    evaluator = Evaluator(network.to(device), resolved, batch, guided)
    return Sampler(evaluator, config, sampling, decoder, device, prompts), evaluator
