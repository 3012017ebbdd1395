"""The multi-scale loss: every branch is compared with the noise at its own scale (section 3.4)."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F


def noise_at_scale(noise: Tensor, scale: int) -> Tensor:
    """Noise (B, C, H, W) summed over scale x scale cells and divided by ``scale``.

    That is average pooling times ``scale``: white noise keeps its unit variance.
    """
    return noise if scale == 1 else F.avg_pool2d(noise, scale) * scale


def branch_losses(predictions: Sequence[Tensor], noise: Tensor) -> list[Tensor]:
    """Mean squared error (B,) of each branch against the noise at its scale, unweighted."""
    losses = []
    for prediction in predictions:
        scale = noise.shape[-1] // prediction.shape[-1]
        prediction = prediction[:, : noise.shape[1]]  # after it, a learned variance
        error = prediction.float() - noise_at_scale(noise, scale)
        losses.append(error.square().flatten(1).mean(1))
    return losses


def branch_weights(branches: int, counted: Literal["all", "last"] = "all") -> list[float]:
    """c_r = 1 / s^2 for a branch at 1/s of the full resolution: [1/4, 1] for 2R, [1/16, 1/4, 1].

    ``counted``: with ``last`` the other branches have weight 0 (ablation: no multi-scale loss).
    """
    below = 0.25 if counted == "all" else 0.0
    return [below ** (branches - 1 - r) for r in range(branches)]


def weighted_sum(losses: Sequence[Tensor], counted: Literal["all", "last"] = "all") -> Tensor:
    """Sum over branches of c_r times the branch's loss; any shape, like the losses."""
    weights = branch_weights(len(losses), counted)
    weighted = [c * loss for c, loss in zip(weights, losses, strict=True)]
    return torch.stack(weighted).sum(0)


def multi_scale_loss(predictions: Sequence[Tensor], noise: Tensor) -> Tensor:
    """Loss of each sample.

    Args:
        predictions: R tensors (B, C, h, w), lowest resolution first, h = H / 2^(R-r).
        noise: the noise that was added, (B, C, H, W).

    Returns:
        (B,): the sum over branches of c_r * mean((prediction_r - noise_r)^2).
    """
    return weighted_sum(branch_losses(predictions, noise))
