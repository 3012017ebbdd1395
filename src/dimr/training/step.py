"""One training step: noise, multi-scale loss, AdamW, EMA. Nothing here logs, saves or samples."""

import contextlib
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from dimr.diffusion.loss import branch_losses, weighted_sum
from dimr.diffusion.variational import variational_bound
from dimr.runtime.compute import autocast
from dimr.runtime.schedules import linear_warmup
from dimr.training.batches import Batch
from dimr.training.distributed import whole
from dimr.training.train_state import Forward, TrainState

if TYPE_CHECKING:
    from dimr.config.schema import Train  # needs pydantic, which a step does not


def learning_rate(step: int, settings: "Train") -> float:
    """Linear warm-up over ``warmup_steps``, then constant; ``step`` counts from 0."""
    return settings.lr * linear_warmup(step, settings.warmup_steps)


def train_step(state: TrainState, batch: Batch, step: int) -> Tensor:
    """Take one step on a batch, in ``engine.accumulate`` microbatches.

    Returns:
        (R + 2,) detached: the weighted loss, each branch's mean squared error, and the norm of the
        gradient before clipping. Means over this process's part of the batch.
    """
    microbatches = list(batch.microbatches(state.engine.accumulate))
    losses = torch.zeros(1 + state.network.predictions, device=batch.x.device)
    state.optimizer.zero_grad()
    for number, microbatch in enumerate(microbatches):
        with _synchronised(state.forward, number == len(microbatches) - 1):
            own = losses_of(state, microbatch) * (len(microbatch) / len(batch))
            own[0].backward()
            losses += own.detach()
    parameters = [p for p in state.network.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters])  # type: ignore[misc]
    if state.settings.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, state.settings.grad_clip, norm)
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(step, state.settings)
    state.optimizer.step()
    if state.engine.fused:
        _update_ema_at_once(state.ema, state.network)
    else:
        _update_ema(state.ema.module, state.network, state.settings.ema_decay)
    return torch.cat([losses, whole(norm)[None].to(losses)])


def losses_of(state: TrainState, batch: Batch) -> Tensor:
    """(R + 1,): the weighted loss and each branch's, means over the images."""
    noisy = state.schedule.add_noise(batch.x, batch.noise, batch.t)
    with autocast(batch.x.device, state.dtype):
        predictions = state.forward(noisy, batch.t, batch.condition)
    predictions = [prediction.float() for prediction in predictions]
    branches = [loss.mean() for loss in branch_losses(predictions, batch.noise)]
    loss = weighted_sum(branches, state.network.counted)
    if state.settings.objective == "hybrid":  # config checks that the schedule is discrete
        bound = variational_bound(state.schedule, predictions[-1], batch.x, noisy, batch.t)  # type: ignore[arg-type]
        loss = loss + bound.mean()
    return torch.stack([loss, *branches])


def _synchronised(forward: Forward, last: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients of several processes are averaged only after the last microbatch."""
    if last or not hasattr(forward, "no_sync"):
        return contextlib.nullcontext()
    return forward.no_sync()


def _update_ema_at_once(ema: AveragedModel, network: nn.Module) -> None:
    """The EMA in one call. ``update_parameters`` copies its counter to the GPU and waits."""
    assert ema.multi_avg_fn
    averages = [average.detach() for average in ema.module.parameters()]
    values = [value.detach() for value in network.parameters()]
    ema.multi_avg_fn(averages, values, ema.n_averaged)
    ema.n_averaged += 1


def _update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """The EMA tensor by tensor: the plain path."""
    with torch.no_grad():
        for average, value in zip(ema.parameters(), network.parameters(), strict=True):
            average.mul_(decay).add_(value, alpha=1 - decay)
