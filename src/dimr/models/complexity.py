"""Parameters and multiply-accumulates, counted on the meta device: no memory, no computation."""

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from dimr.models.multires import MultiResolutionNetwork


@dataclass(frozen=True)
class Complexity:
    """Size and cost of a network.

    Attributes:
        parameters: number of learned values.
        macs: multiply-accumulates of one forward pass for one image, in matrix products, attention
            and convolutions. What the paper calls "Gflops" is this number divided by 1e9.
    """

    parameters: int
    macs: int


def complexity(family: type[MultiResolutionNetwork], sizes: dict[str, Any]) -> Complexity:
    """Count the network that ``family(**sizes)`` would build."""
    with torch.device("meta"):
        network = family(**sizes)
        x = torch.empty(1, sizes["channels"], sizes["input_size"], sizes["input_size"])
        t, y = torch.empty(()), torch.empty(1, dtype=torch.long)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(x, t, y)
    return Complexity(sum(p.numel() for p in network.parameters()), counter.get_total_flops() // 2)
