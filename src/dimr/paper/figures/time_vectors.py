"""The vectors with which time scales and shifts a trained network's features.

Shapes: T times, D width. Only the few layers that time passes through are computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.config.schema import NetworkConfig, SampleConfig
from dimr.models import DiMR, DiT, Network, UViT
from dimr.models.blocks import AdaLNZeroBlock
from dimr.models.conditioning import UVIT_STEPS, Condition, dit_step, labels_of
from dimr.runtime.errors import DimrError
from dimr.sampling.sampler import Sampler

Vectors = NDArray[np.float64]
"""(T, D)."""


@dataclass(frozen=True)
class NormVectors:
    """What time does in one norm.

    Attributes:
        block: its number from 0; None: the norm before an output.
        part: ``attention`` or ``MLP``, whose input is normalised, or ``output``.
        scale: (T, D), by which the normalised features are multiplied (adaLN-Zero's 1 + scale).
        shift: (T, D), which is added; None: this norm has none (TD-RMS norm).
    """

    block: int | None
    part: str
    scale: Vectors
    shift: Vectors | None


def diffusion_times(count: int = 1000) -> Tensor:
    """The time steps n / count, n = 1..count, (count,): all of the paper's for 1,000."""
    return torch.arange(1, count + 1) / count


def sampled_conditions(
    config: NetworkConfig, sampling: SampleConfig, images: int
) -> tuple[Tensor, Tensor]:
    """Times and labels that a network is given while its sampler draws the first ``images``.

    The sampler runs with a stand-in for the network, as neither depends on what is predicted.

    Returns:
        Times (T,) and labels (T,) of all evaluations, one of each for every image; where it is
        guided, also for "no class".
    """
    times, labels = [], []

    def stand_in(x: Tensor, t: Tensor, condition: Condition) -> list[Tensor]:
        times.append(t.expand(len(x)))
        labels.append(labels_of(condition, config.num_classes))
        return [torch.cat([x, x], 1) if config.sizes.learns_variance else x]

    sampler = Sampler(stand_in, config, sampling, lambda x: x, torch.device("cpu"))
    sampler.solve(range(images))
    return torch.cat(times), torch.cat(labels)


@torch.no_grad()
def adaln_zero_condition(network: Network, times: Tensor, labels: Tensor | None = None) -> Tensor:
    """adaLN-Zero's condition (T, D) at the given times (T,).

    DiT adds a class to it: ``labels`` (T,), or None for "no class". U-ViT's class is a token.

    Raises:
        DimrError: a network without adaLN-Zero.
    """
    if isinstance(network, DiT):
        if labels is None:
            labels = torch.full(times.shape, network.sizes.num_classes)
        return network.embedding(dit_step(times)) + network.label(labels)
    if isinstance(network, UViT) and network.sizes.time == "adaln_zero":
        return network.embedding(UVIT_STEPS[network.sizes.time_map] * times)
    raise DimrError(f"a network of family {network.family!r} without adaLN-Zero")


@torch.no_grad()
def adaln_zero_vectors(
    network: Network, times: Tensor, labels: Tensor | None = None
) -> Iterator[NormVectors]:
    """Vectors of every layer norm under adaLN-Zero: two per block, and the one before the output.

    They are yielded one by one: for a large network they take gigabytes together.
    """
    condition = adaln_zero_condition(network, times, labels)
    blocks = [module for module in network.modules() if isinstance(module, AdaLNZeroBlock)]
    for number, block in enumerate(blocks):
        shift1, scale1, _, shift2, scale2, _ = block.modulation(condition, condition.ndim)
        yield NormVectors(number, "attention", 1 + _array(scale1), _array(shift1))
        yield NormVectors(number, "MLP", 1 + _array(scale2), _array(shift2))
    shift, scale = network.modulation(condition, condition.ndim)  # type: ignore[operator]
    yield NormVectors(None, "output", 1 + _array(scale), _array(shift))


@torch.no_grad()
def td_norm_vectors(network: DiMR, times: Tensor) -> list[NormVectors]:
    """TD-LN's vectors: of norms before attention in the lowest branch, and before every output."""
    tau = network.time_condition(times)
    branches: list[Any] = [network.lowest, *network.higher]
    norms = [
        *((n, "attention", block.norm1) for n, block in enumerate(network.lowest.stack.blocks)),
        *((None, "output", branch.output.norm) for branch in branches),
    ]
    return [
        NormVectors(
            block,
            part,
            _array(norm.scale(tau, 2)),
            _array(norm.shift(tau, 2)) if hasattr(norm, "shift") else None,
        )
        for block, part, norm in norms
    ]


def _array(vectors: Tensor) -> Vectors:
    """(T, D) of (T, D) or (T, 1, D)."""
    return vectors.reshape(len(vectors), vectors.shape[-1]).double().numpy()
