"""One training step: noise, multi-scale loss, AdamW, EMA. Nothing here logs, saves or samples."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dimr.diffusion.loss import branch_losses, weighted_sum
from dimr.diffusion.schedule import Schedule
from dimr.diffusion.variational import variational_bound
from dimr.models import Network
from dimr.randomness import torch_generator
from dimr.settings import Train


@dataclass
class Trainee:
    """What training changes, and what it needs besides the batch.

    Attributes:
        network: the network being trained, float32.
        forward: the network or its compiled form; both hold the same weights.
        ema: exponential moving average of the network's weights.
        optimizer: AdamW.
        schedule: noise schedule.
        settings: learning rate, dropout and so on.
        seed: of the run.
        null_label: the label that means "no class".
    """

    network: Network
    forward: Callable[[Tensor, Tensor, Tensor], list[Tensor]]
    ema: AveragedModel
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    settings: Train
    seed: int
    null_label: int


def make_optimizer(network: Network, settings: Train) -> torch.optim.AdamW:
    """AdamW in the paper's two groups: no weight decay where the network says so."""
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
        fused=True,
    )


def make_ema(network: nn.Module, decay: float) -> AveragedModel:
    """EMA of all parameters, updated in one call for all tensors."""
    return AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(decay))


def learning_rate(step: int, settings: Train) -> float:
    """Linear warm-up over ``warmup_steps``, then constant; ``step`` counts from 0."""
    return settings.lr * min(1.0, (step + 1) / max(1, settings.warmup_steps))


def train_step(trainee: Trainee, x: Tensor, y: Tensor, step: int) -> Tensor:
    """Take one step on clean images x (B, C, H, W) with labels y (B,).

    All randomness derives from (seed, "train", step), so a step does not depend on what ran before.

    Returns:
        (R + 1,) detached: the weighted loss, then each branch's mean squared error.
    """
    settings = trainee.settings
    generator = torch_generator(trainee.seed, "train", step)
    t = trainee.schedule.draw_times(len(x), generator).to(x.device)
    noise = torch.randn(x.shape, generator=generator).to(x.device)
    dropped = torch.rand(len(y), generator=generator).to(x.device) < settings.label_dropout
    y = torch.where(dropped, trainee.null_label, y)

    noisy = trainee.schedule.add_noise(x, noise, t)
    predictions = trainee.forward(noisy, t, y)
    branches = [loss.mean() for loss in branch_losses(predictions, noise)]
    loss = weighted_sum(branches)
    if settings.objective == "hybrid":  # experiment.py checked that the schedule is discrete
        loss = loss + variational_bound(trainee.schedule, predictions[-1], x, noisy, t).mean()  # type: ignore[arg-type]

    trainee.optimizer.zero_grad()
    loss.backward()
    if settings.grad_clip is not None:
        nn.utils.clip_grad_norm_(trainee.network.parameters(), settings.grad_clip)
    for group in trainee.optimizer.param_groups:
        group["lr"] = learning_rate(step, settings)
    trainee.optimizer.step()
    trainee.ema.update_parameters(trainee.network)
    return torch.stack([loss, *branches]).detach()
