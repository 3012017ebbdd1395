"""Classifier-free guidance: from a network to the function denoise(x, t) that is integrated."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dimr.models.conditioning import Condition

Denoise = Callable[[Tensor, Tensor], Tensor]
"""denoise(x (B, C, H, W), t ()) -> predicted noise (B, C, H, W), or (B, 2 C, H, W) for a network
that learns its variance: the noise, then the variance. t is on the CPU, wherever x is, so that
decisions by time need not wait for the device."""

Model = Callable[[Tensor, Tensor, Condition], list[Tensor]]
"""A network, called as ``model(x, t, condition)``; the last of its predictions counts."""

Interval = tuple[float, float]
"""Diffusion times from low to high, both included (up to the rounding of float32)."""
ROUNDING = 1e-6  # of a time


def power_cosine_scale(t: Any, scale: float, power: float) -> Any:
    """Weight of the power-cosine guidance, w(t) = 1 + (s - 1) (1 - cos(pi (1 - t)^a)) / 2.

    Args:
        t: diffusion time n / 1000 in [0, 1], a number or a tensor.
        scale: s >= 1, the weight at t = 0 (at t = 1 it is 1).
        power: a > 0; the larger, the later guidance sets in.
    """
    angle = math.pi * (1.0 - t) ** power
    cosine = torch.cos(angle) if isinstance(angle, Tensor) else math.cos(angle)
    return 1.0 + (scale - 1.0) * (1.0 - cosine) / 2.0


def wrap(
    model: Model,
    condition: Condition,
    kind: str = "none",
    scale: float = 0.0,
    power: float = 1.0,
    channels: int | None = None,
    interval: Interval | None = None,
) -> Denoise:
    """Guidance by name.

    Where it guides, both passes are one batch of 2 B; elsewhere there is only the conditional one,
    half the work.

    Args:
        model: network called as ``model(x, t, condition)``.
        condition: of the B images; ``condition.null()`` is the one without.
        kind: ``none``; ``unconditional``, the prediction without a condition; ``constant``,
            eps = cond + scale (cond - uncond) (U-ViT's form); or ``power_cosine``,
            eps = uncond + w(t) (cond - uncond).
        scale: s of the two formulas.
        power: a of power-cosine.
        channels: how many of the noise's channels are guided, the first ones; None: all (DiT's
            default is 3 of 4). The others, and a learned variance, are those of the conditional
            pass.
        interval: the times that are guided; None: all.

    Raises:
        ValueError: another name.
    """
    if kind == "none":
        return _unguided(model, condition)
    if kind == "unconditional":
        return _unguided(model, condition.null())
    if kind == "constant":
        return _guided(model, condition, lambda _: 1.0 + scale, channels, interval)
    if kind == "power_cosine":
        weight = functools.partial(power_cosine_scale, scale=scale, power=power)
        return _guided(model, condition, weight, channels, interval)
    raise ValueError(f"guidance {kind!r} is none of none, unconditional, constant, power_cosine")


def _unguided(model: Model, condition: Condition) -> Denoise:
    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return model(x, _beside(t, x), condition)[-1]

    return denoise


def _guided(
    model: Model,
    condition: Condition,
    weight: Callable[[float], float],
    channels: int | None,
    interval: Interval | None,
) -> Denoise:
    """uncond + w(t) (cond - uncond) in the interval, cond outside it."""
    both = Condition.cat([condition, condition.null()])
    low, high = interval or (0.0, 1.0)
    outside = _unguided(model, condition)

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        now = float(t)
        if not low - ROUNDING <= now <= high + ROUNDING:
            return outside(x, t)
        cond, uncond = model(torch.cat([x, x]), _beside(t, x), both)[-1].chunk(2)
        count = x.shape[1] if channels is None else channels
        mixed = torch.lerp(uncond[:, :count], cond[:, :count], weight(now))
        return mixed if count == cond.shape[1] else torch.cat([mixed, cond[:, count:]], dim=1)

    return denoise


def _beside(t: Tensor, x: Tensor) -> Tensor:
    """A time () from the CPU on the device of x: passed as a kernel's argument, not copied."""
    if t.device == x.device:
        return t
    return torch.full((), float(t), dtype=t.dtype, device=x.device)
