"""Time-dependent layer norm (TD-LN, section 3.3 of the paper) and its RMS form.

Shapes: B batch, D width; tau is the time condition, () for one time shared by the batch or (B,).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeDependentParameter(nn.Module):
    """A vector that moves between two learned ends as time passes.

    p(tau) = p1 + sigmoid((w + 1) * tau / 4 + b) * (p0 - p1), elementwise: four vectors of width D
    take the place of adaLN-Zero's MLP on a time embedding.

    Args:
        dim: D.
        initial: where both ends start: 1 for a scale, 0 for a shift. w and b start at 0.
    """

    def __init__(self, dim: int, initial: float) -> None:
        super().__init__()
        self.p0 = nn.Parameter(torch.full((dim,), initial))
        self.p1 = nn.Parameter(torch.full((dim,), initial))
        self.w = nn.Parameter(torch.zeros(dim))
        self.b = nn.Parameter(torch.zeros(dim))

    def forward(self, tau: Tensor, ndim: int) -> Tensor:
        """(D,) for a shared tau; for tau (B,) shaped (B, 1, ..., 1, D) with ``ndim`` dimensions."""
        if tau.ndim == 1:
            tau = tau.view(-1, *[1] * (ndim - 1))
        share = torch.sigmoid((self.w + 1) * (tau / 4) + self.b)
        return torch.lerp(self.p1, self.p0, share)


class TimeDependentLayerNorm(nn.Module):
    """TD-LN: layer norm over the last dimension whose scale and shift depend on time."""

    eps = 1e-5

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = TimeDependentParameter(dim, 1.0)
        self.shift = TimeDependentParameter(dim, 0.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """x (B, ..., D) and tau () or (B,) -> (B, ..., D)."""
        normal = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        return normal * self.scale(tau, x.ndim) + self.shift(tau, x.ndim)


class TimeDependentRMSNorm(nn.Module):
    """TD-RMS norm: x / (rms(x) + 1e-8) times a scale that depends on time (the released models)."""

    eps = 1e-8

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.scale = TimeDependentParameter(dim, 1.0)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """x (B, ..., D) and tau () or (B,) -> (B, ..., D)."""
        # vector_norm has gradient 0 at x = 0, where the root of a mean of squares would give NaN.
        rms = torch.linalg.vector_norm(x, dim=-1, keepdim=True) * x.shape[-1] ** -0.5
        return x / (rms + self.eps) * self.scale(tau, x.ndim)


BLOCK_NORMS = {"layer": TimeDependentLayerNorm, "rms": TimeDependentRMSNorm}
"""The norm inside blocks by name: ``layer`` (the paper's text) or ``rms`` (the released models)."""
