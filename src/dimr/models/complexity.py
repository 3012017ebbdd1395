"""Parameters, multiply-accumulates and activation memory, counted on the meta device.

Nothing is computed and no memory is used, whatever the size of the network.
"""

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from dimr.models import build
from dimr.models.base import Network
from dimr.models.sizes import Sizes


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        parameters: number of learned values.
        macs: multiply-accumulates of one forward pass for one image, in matrix products, attention
            and convolutions. What the papers call "Gflops" is this number divided by 1e9.
        activation_bytes: what eager training in float32 keeps of one image for the backward pass,
            with no activation checkpointing (attention weights are recomputed).
    """

    parameters: int
    macs: int
    activation_bytes: int


def on_meta(sizes: Sizes) -> Network:
    """The network of these sizes, without memory."""
    with torch.device("meta"):
        return build(sizes).to("meta")


def count_parameters(network: nn.Module) -> int:
    """Number of learned values; fixed embeddings are none."""
    return sum(p.numel() for p in network.parameters())


@functools.cache
def complexity(sizes: Sizes) -> Complexity:
    """Count the network of these sizes, once in a process."""
    network = on_meta(sizes)
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, Tensor] = {}  # by storage: views of one tensor are kept once

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in own:
            kept[storage] = tensor
        return tensor

    with FlopCounterMode(display=False) as counter, saved_tensors_hooks(keep, lambda t: t):
        network(*network.example_inputs(1, "meta", one_time=True))
    macs = counter.get_total_flops() // 2
    memory = sum(t.untyped_storage().nbytes() for t in kept.values())
    return Complexity(count_parameters(network), macs, memory)
