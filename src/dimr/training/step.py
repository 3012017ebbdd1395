"""One training step: noise, multi-scale loss, AdamW, EMA. Nothing here logs, saves or samples."""

import contextlib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimr.config.schema import Train
from dimr.diffusion.loss import branch_losses, weighted_sum
from dimr.diffusion.schedule import Schedule
from dimr.diffusion.variational import variational_bound
from dimr.models import Network
from dimr.training.batches import Batch
from dimr.training.distributed import whole
from dimr.training.engine import Engine, Forward, autocast, update_ema


@dataclass
class TrainState:
    """What training changes, and what it needs besides the batch.

    Attributes:
        network: the network being trained, float32.
        forward: the network, or its compiled or distributed form; all hold the same weights.
        ema: exponential moving average of the network's weights.
        optimizer: AdamW.
        schedule: noise schedule.
        settings: learning rate, clipping and so on.
        engine: how a step is computed.
        dtype: of matrix products.
    """

    network: Network
    forward: Forward
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    settings: Train
    engine: Engine = field(default_factory=Engine)
    dtype: torch.dtype = torch.float32


def make_optimizer(network: Network, settings: Train, fused: bool = True) -> torch.optim.AdamW:
    """AdamW in the paper's two groups: no weight decay where the network says so.

    ``fused``: one kernel for all tensors; else one after the other.
    """
    exempt = network.no_weight_decay()
    groups: dict[bool, list[nn.Parameter]] = {False: [], True: []}
    for name, parameter in network.named_parameters():
        groups[name in exempt].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups[False], "weight_decay": settings.weight_decay},
            {"params": groups[True], "weight_decay": 0.0},
        ],
        lr=settings.lr,
        betas=settings.betas,
        fused=fused,
        foreach=False,
    )


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """EMA of all parameters, updated in one call for all tensors."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))


def learning_rate(step: int, settings: Train) -> float:
    """Linear warm-up over ``warmup_steps``, then constant; ``step`` counts from 0."""
    return settings.lr * min(1.0, (step + 1) / max(1, settings.warmup_steps))


def train_step(trainee: TrainState, batch: Batch, step: int) -> Tensor:
    """Take one step on a batch, in ``engine.accumulate`` microbatches.

    Returns:
        (R + 2,) detached: the weighted loss, each branch's mean squared error, and the norm of the
        gradient before clipping. Means over this process's part of the batch.
    """
    microbatches = list(batch.microbatches(trainee.engine.accumulate))
    losses = torch.zeros(1 + trainee.network.predictions, device=batch.x.device)
    trainee.optimizer.zero_grad()
    for number, part in enumerate(microbatches):
        with synchronised(trainee.forward, number == len(microbatches) - 1):
            own = losses_of(trainee, part) * (len(part) / len(batch))
            own[0].backward()
            losses += own.detach()
    parameters = [p for p in trainee.network.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([p.grad for p in parameters])  # type: ignore[misc]
    if trainee.settings.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(parameters, trainee.settings.grad_clip, norm)
    for group in trainee.optimizer.param_groups:
        group["lr"] = learning_rate(step, trainee.settings)
    trainee.optimizer.step()
    if trainee.engine.fused or step == 0:
        trainee.ema.update_parameters(trainee.network)
    else:
        update_ema(trainee.ema.module, trainee.network, trainee.settings.ema_decay)
    return torch.cat([losses, whole(norm)[None].to(losses)])


def losses_of(trainee: TrainState, batch: Batch) -> Tensor:
    """(R + 1,): the weighted loss and each branch's, means over the images."""
    noisy = trainee.schedule.add_noise(batch.x, batch.noise, batch.t)
    with autocast(batch.x.device, trainee.dtype):
        predictions = trainee.forward(noisy, batch.t, batch.condition)
    predictions = [prediction.float() for prediction in predictions]
    branches = [loss.mean() for loss in branch_losses(predictions, batch.noise)]
    loss = weighted_sum(branches)
    if (
        trainee.settings.objective == "hybrid"
    ):  # experiment.py checked that the schedule is discrete
        bound = variational_bound(trainee.schedule, predictions[-1], batch.x, noisy, batch.t)  # type: ignore[arg-type]
        loss = loss + bound.mean()
    return torch.stack([loss, *branches])


def synchronised(forward: Forward, last: bool) -> contextlib.AbstractContextManager[None]:
    """Gradients of several processes are averaged only after the last microbatch."""
    if last or not hasattr(forward, "no_sync"):
        return contextlib.nullcontext()
    return forward.no_sync()
