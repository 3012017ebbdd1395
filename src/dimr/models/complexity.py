"""Parameters, multiply-accumulates and activation memory, counted on the meta device.

Nothing is computed and no memory is used, whatever the size of the network.
"""

import functools
import json
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from dimr.models.base import Network


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


def on_meta(family: type[Network], sizes: dict[str, Any]) -> Network:
    """The network that ``family(**sizes)`` would build, without memory."""
    with torch.device("meta"):
        return family(**sizes).to("meta")


def count_parameters(network: nn.Module) -> int:
    """Number of learned values; fixed embeddings are none."""
    return sum(p.numel() for p in network.parameters())


def least_parameters(family: str, sizes: dict[str, Any]) -> int:
    """Fewer values than ``family`` has with ``sizes``, and not by much, from a formula.

    To build a network of a thousand layers, only to count and refuse it, takes minutes. Counted are
    the matrices of blocks, skips and cascades, positions and labels.
    """
    if family == "dimr":
        dims, blocks = sizes["dims"], [n // 2 * 2 + 1 for n in sizes["layers"]]
        patches = [2**r for r in reversed(range(len(dims)))]
        each = [10, *[6] * (len(dims) - 1)]  # attention 4 D^2; the feed-forward layer 6, or 8
    else:
        dims, blocks, patches = [sizes["dim"]], [sizes["depth"]], [sizes["patch"]]
        each = [18 if family == "dit" else 12]
    skips = family != "dit"
    count = sizes["num_classes"] * dims[0]
    for n, dim, patch, squares in zip(blocks, dims, patches, each, strict=True):
        count += (n * squares + skips * (n - 1)) * dim**2
        count += (sizes["input_size"] // patch) ** 2 * dim
    steps = zip(dims, blocks, dims[1:], strict=False)
    return count + sum(4 * below * (n + 1) * dim for below, n, dim in steps)


def complexity(family: type[Network], sizes: dict[str, Any]) -> Complexity:
    """Count the network that ``family(**sizes)`` would build, once in a process."""
    return _complexity(cast(Any, family), json.dumps(sizes))


@functools.cache
def _complexity(family: Any, arguments: str) -> Complexity:
    sizes = json.loads(arguments)
    network = on_meta(family, sizes)
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
