"""Classifier-free guidance: from a network to the function denoise(x, t) that is integrated."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""denoise(x (B, C, H, W), t ()) -> predicted noise (B, C, H, W)."""


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


def unguided(model: torch.nn.Module, y: Tensor) -> Denoise:
    """The conditional prediction for labels y (B,)."""

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        return model(x, t, y)[-1]

    return denoise


def guided(
    model: torch.nn.Module, y: Tensor, null_label: int, weight: Callable[[float], float]
) -> Denoise:
    """uncond + w(t) (cond - uncond), both passes as one batch of 2 B.

    Args:
        model: network called as ``model(x, t, y)``; the last of its predictions counts.
        y: labels (B,).
        null_label: the label that means "no class".
        weight: w as a function of t.
    """
    both = torch.cat([y, torch.full_like(y, null_label)])

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        cond, uncond = model(torch.cat([x, x]), t, both)[-1].chunk(2)
        return torch.lerp(uncond, cond, weight(float(t)))

    return denoise


def wrap(
    model: torch.nn.Module,
    y: Tensor,
    null_label: int,
    kind: str = "none",
    scale: float = 0.0,
    power: float = 1.0,
) -> Denoise:
    """Guidance by name.

    Args:
        model: network called as ``model(x, t, y)``.
        y: labels (B,).
        null_label: the label that means "no class".
        kind: ``none``; ``constant``, eps = cond + scale (cond - uncond) (U-ViT's form); or
            ``power_cosine``, eps = uncond + w(t) (cond - uncond).
        scale: s of the two formulas.
        power: a of power-cosine.

    Raises:
        ValueError: another name.
    """
    if kind == "none":
        return unguided(model, y)
    if kind == "constant":
        return guided(model, y, null_label, lambda _: 1.0 + scale)
    if kind == "power_cosine":
        return guided(model, y, null_label, lambda t: power_cosine_scale(t, scale, power))
    raise ValueError(f"guidance {kind!r} is none of none, constant, power_cosine")
