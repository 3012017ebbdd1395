"""How steps are computed: precision, compiling, checkpointing, accumulation, fused updates.

All of it changes speed and memory. Precision also changes the rounding: bfloat16 autocast keeps
float32 weights, optimizer state and EMA; the losses of the first hundred steps stay within 2% of
float32's. Everything else agrees to float32 rounding: losses within 1e-5, relative.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dimr.models import Network
from dimr.models.conditioning import Condition
from dimr.runtime.compute import autocast, compile_or_not
from dimr.runtime.compute import resolve_precision as resolve_precision  # beside what it decides


@dataclass(frozen=True)
class Engine:
    """The options by name; the defaults are the fastest on each device.

    Attributes:
        compile: ``torch.compile`` of the network (its forward and backward pass).
        checkpointing: ``none``, or ``block``: activations inside blocks are computed again in the
            backward pass, for about 30% more time and a fraction of the memory.
        accumulate: pieces that a process cuts its batch into, one after the other.
        fused: AdamW in one kernel and the EMA in one call; else tensor by tensor.
        prefetch: batches are read and noise is drawn in a thread, one step ahead.
        sharding: of weights, EMA and optimizer state over several processes (FSDP2): ``none``,
            ``full``, or ``auto``: for large networks on GPUs (``World.shards``).
    """

    compile: bool = True
    checkpointing: Literal["none", "block"] = "none"
    accumulate: int = 1
    fused: bool = True
    prefetch: bool = True
    sharding: Literal["auto", "none", "full"] = "auto"

    @classmethod
    def plain(cls) -> "Engine":
        """The reference: eager, checkpointed, tensor by tensor, as the authors train."""
        return cls(compile=False, checkpointing="block", fused=False, prefetch=False)


Forward = Callable[[Tensor, Tensor, Condition], list[Tensor]]
"""The network, or its compiled or distributed form."""


def prepare_forward(
    network: Network, engine: Engine, wanted: bool, dtype: torch.dtype, rows: int
) -> Forward:
    """The network as it is called in steps: with checkpointing if asked, compiled if that works.

    Compiling, if it is ``wanted``, is tried on ``rows`` images; where the compiler fails, a warning
    says why and the network is used as it is.
    """
    network.set_checkpointing(engine.checkpointing == "block")
    if not wanted:
        return network
    device = next(network.parameters()).device
    example = network.example_inputs(rows, device)

    def attempt(candidate: Any) -> None:
        with autocast(device, dtype):
            predictions = candidate(*example)
        sum(p.float().square().mean() for p in predictions).backward()

    forward = compile_or_not(network, attempt, "training")
    network.zero_grad(set_to_none=True)
    return forward


def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """The EMA tensor by tensor: the plain path."""
    with torch.no_grad():
        for average, value in zip(ema.parameters(), network.parameters(), strict=True):
            average.mul_(decay).add_(value, alpha=1 - decay)
