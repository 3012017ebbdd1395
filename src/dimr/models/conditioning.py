"""From diffusion time t in (0, 1] to each network's own condition. B batch; t is (B,) or ()."""

import math

import torch
from torch import Tensor

VP_BETA_MIN, VP_BETA_MAX = 0.1, 20.0  # the VP SDE of the 64x64 models (facts: diffusion.pixel_64)


def vp_log_snr(t: Tensor) -> Tensor:
    """Log signal-to-noise ratio of the VP SDE, beta rising linearly from 0.1 to 20.

    With g(t), the integral of beta over (0, t), alpha_bar = exp(-g), and the ratio
    alpha_bar / (1 - alpha_bar) is 1 / (exp(g) - 1). ``expm1`` keeps small t exact.
    """
    integral = 0.5 * (VP_BETA_MAX - VP_BETA_MIN) * t**2 + VP_BETA_MIN * t
    return -torch.log(torch.expm1(integral))


def latent_time_condition(t: Tensor) -> Tensor:
    """Time condition of DiMR's latent models: 8 t - 4, in (-4, 4]. It grows with the noise."""
    return 8.0 * t - 4.0


DIMR_CONDITIONS = {"latent": latent_time_condition, "pixel": vp_log_snr}
"""DiMR's time condition (tau) by ``time_map``: ``latent`` or ``pixel``."""

UVIT_STEPS = {"latent": 1000.0, "pixel": 999.0}
"""U-ViT's time condition by ``time_map`` is t times this (the authors' latent and pixel models)."""


def dit_step(t: Tensor) -> Tensor:
    """DiT's time condition, the step counted from 0: 1000 t - 1."""
    return 1000.0 * t - 1.0


def sinusoids(position: Tensor, dim: int) -> Tensor:
    """Embed a real position, () or (B,): cosines, then sines of geometric frequencies.

    The frequencies fall from 1 to 1/10000. Float32 throughout, as in the authors' code.

    Returns:
        (B, dim), or (1, dim) for a position ().
    """
    half = dim // 2
    index = torch.arange(half, dtype=torch.float32, device=position.device)
    angles = position.float().reshape(-1, 1) * torch.exp(-math.log(10000) * index / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
