"""What a training is at a step: tensors by name, plain facts, and back from a checkpoint."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from dimr.runtime.errors import DimrError
from dimr.training.checkpoint import Saved
from dimr.training.distributed import World, local
from dimr.training.step import TrainState
from dimr.training.tensors import open_pieces

MOMENTS = ("exp_avg", "exp_avg_sq")
EMA = "ema/"


@dataclass
class Progress:
    """Where training is: what a checkpoint holds besides tensors of the network.

    Attributes:
        step: steps taken.
        seconds: time spent training, over all the sessions it took.
        sums: (R + 2,) sums of the losses and gradient norms since the last line of the log; of this
            process's rows.
        summed: how many steps they are of.
        sessions: the provenance of each session, in order.
        codes: fingerprints of the code that took these steps, without repetition.
    """

    step: int
    seconds: float
    sums: Tensor
    summed: int
    sessions: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)

    def facts(self, world: World) -> dict[str, Any]:
        """Plain values; the sums are the means over all processes, so every process must ask."""
        return {
            "seconds": self.seconds,
            "sums": world.mean(self.sums).tolist(),  # float32 as decimals, exact
            "summed": self.summed,
            "sessions": list(self.sessions),
            "codes": list(self.codes),
        }

    @classmethod
    def of(cls, saved: Saved, device: torch.device) -> "Progress":
        """The progress of a checkpoint."""
        facts = saved.facts
        sums = torch.tensor(facts["sums"], dtype=torch.float32, device=device)
        known = {name: facts[name] for name in ("seconds", "summed", "sessions", "codes")}
        return cls(step=saved.step, sums=sums, **known)


def state_tensors(trainee: TrainState, finished: bool = False) -> dict[str, Tensor]:
    """The tensors of a training by name; of a ``finished`` one only those that the export needs.

    ``ema/...``, ``network/...``, and AdamW's ``step/...``, ``exp_avg/...``, ``exp_avg_sq/...`` of
    each parameter.
    """
    tensors = {f"{EMA}{name}": t for name, t in trainee.ema.module.state_dict().items()}
    if finished:
        return tensors
    tensors |= {f"network/{name}": t for name, t in trainee.network.state_dict().items()}
    for name, parameter in trainee.network.named_parameters():
        for kind, value in trainee.optimizer.state[parameter].items():
            tensors[f"{kind}/{name}"] = value.detach()
    return tensors


def restore(trainee: TrainState, saved: Saved, finished: bool, world: World) -> None:
    """Put a checkpoint's tensors in their places, however many processes wrote them.

    Args:
        trainee: whose tensors are filled.
        saved: the checkpoint.
        finished: whether only what the export needs is read.
        world: the processes that read together.

    Raises:
        DimrError: a checkpoint of another network; the first tensor that does not fit is named.
    """
    if not finished:
        _allocate_optimizer(trainee.optimizer)
    targets = state_tensors(trainee, finished)
    with open_pieces(saved.parts) as pieces, torch.no_grad():
        stored = pieces.shapes.items()
        _check({n: s for n, s in stored if n.startswith(EMA) or not finished}, targets, saved)
        for name, target in targets.items():
            pieces.read(name, local(target), world.rows_of(target))
    trainee.ema.n_averaged.fill_(saved.step)  # its next update is no first one


def _allocate_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """The state that AdamW makes in its first step, to be filled."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            device = parameter.device if group["fused"] else "cpu"  # where AdamW itself has it
            moments = {name: torch.zeros_like(parameter).detach() for name in MOMENTS}
            step = torch.zeros((), dtype=torch.float32, device=device)
            optimizer.state[parameter] = {"step": step, **moments}


def _check(stored: dict[str, tuple[int, ...]], wanted: dict[str, Tensor], saved: Saved) -> None:
    for name in [*wanted, *stored]:
        shape = tuple(wanted[name].shape) if name in wanted else None
        if stored.get(name) != shape:
            raise DimrError(
                f"{saved.parts[0].parent}: checkpoint of another network ({name}: "
                f"{_said(stored.get(name))} in it, {_said(shape)} wanted)"
            )


def _said(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"shape {list(shape)}"
