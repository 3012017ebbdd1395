"""Many images in a fixed order: image i has label i mod classes and noise from (seed, i).

Neither depends on the batch size, so image i is the same however many are drawn at a time (up to
the rounding of matrix products, which may move a pixel by one of its 256 levels).
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimr import models
from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.randomness import noise_by_index, torch_generator
from dimr.settings import Network, SamplePhase
from dimr.weights.layout import read_model

Decode = Callable[[Tensor], NDArray[np.uint8]]
"""From solver output (B, C, h, w) to images (B, H, W, 3) uint8."""


def labels_in_order(count: int, classes: int) -> NDArray[np.int64]:
    """Labels (count,) of images 0, 1, ...: interleaved, so that any stretch is class-balanced."""
    return np.arange(count, dtype=np.int64) % classes


def load_network(folder: Path) -> tuple[models.Network, Network]:
    """The network of a run's ``model/`` folder, float32, in evaluation mode, and its sizes.

    Raises:
        DimrError: a missing or damaged file, or weights of another network (names the tensor).
    """
    network, sizes = read_model(folder)
    return network.float().eval(), sizes  # imported weights may be of half precision


def generate(
    network: nn.Module,
    sizes: Network,
    phase: SamplePhase,
    decode: Decode,
    *,
    batch: int,
    device: torch.device,
    indices: Sequence[int] | None = None,
    on_step: Callable[[], object] | None = None,
) -> Iterator[NDArray[np.uint8]]:
    """Draw the images of a sampling phase, batch by batch.

    Args:
        network: called as ``network(x, t, y)``.
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
    shape = (sizes.channels, sizes.input_size, sizes.input_size)
    labels = labels_in_order(phase.count, sizes.num_classes)
    indices = range(phase.count) if indices is None else indices
    for start in range(0, len(indices), batch):
        chunk = indices[start : start + batch]
        noise = noise_by_index(phase.seed, "sample", chunk, shape).to(device)
        denoise = wrap(
            network,
            torch.from_numpy(labels[chunk]).to(device),
            sizes.num_classes,
            **phase.guidance.model_dump(),
        )
        x = sample(
            denoise,
            noise,
            phase.steps,
            schedule=sizes.schedule,
            solver=phase.solver,
            generators=[torch_generator(phase.seed, "ancestral noise", i) for i in chunk],
            on_step=on_step,
        )
        yield decode(x)
