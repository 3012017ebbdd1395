"""How time enters a norm: TD-LN (section 3.3 of the paper), its RMS form, adaLN-Zero, or not.

Shapes: B batch, N tokens, D width; tau is the time condition, () for one time shared by the batch
or (B,).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TimeDependentParameter(nn.Module):
    """A vector that moves between two learned ends as time passes.

    p(tau) = p1 + sigmoid((w + 1) * tau / 4 + b) * (p0 - p1), elementwise: four vectors of width D
    replace adaLN-Zero's MLP on a time embedding.

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
    """TD-LN: layer norm over the last dimension with time-dependent scale and shift."""

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


class UnconditionalLayerNorm(nn.LayerNorm):
    """Layer norm with a learned scale and shift, where time enters elsewhere: U-ViT's token."""

    def forward(self, x: Tensor, cond: Any = None) -> Tensor:  # noqa: ARG002
        """(B, ..., D) -> (B, ..., D); ``cond`` is ignored."""
        return super().forward(x)


class Modulation(nn.Module):
    """How adaLN-Zero's condition enters a block: SiLU, then Linear to ``parts`` vectors.

    As in DiT, one matrix per block after an embedding that all blocks share. (The ablation's second
    row is printed with 202.4M parameters, ours has 193.1M: a second matrix in each block and no
    embedding would give 202.40M, but no source says so, and its third row has 217.9M in our form.)
    Its weights start at 0 (see ``zero_modulations``), so that every block starts as the identity.
    """

    def __init__(self, dim: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, parts * dim)
        self.parts = parts

    def forward(self, cond: Tensor, ndim: int) -> tuple[Tensor, ...]:
        """(B, D) -> ``parts`` tensors shaped (B, 1, ..., 1, D) with ``ndim`` dimensions."""
        vectors = self.linear(F.silu(cond))
        return vectors.view(len(cond), *[1] * (ndim - 2), -1).chunk(self.parts, dim=-1)


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """layer_norm(x) (1 + scale) + shift of x (B, ..., D), eps 1e-6; the norm learns nothing."""
    return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def zero_modulations(network: nn.Module) -> None:
    """Set every ``Modulation`` of a network to 0, as adaLN-Zero starts."""
    for module in network.modules():
        if isinstance(module, Modulation):
            nn.init.zeros_(module.linear.weight)
            nn.init.zeros_(module.linear.bias)


BLOCK_NORMS = {"layer": TimeDependentLayerNorm, "rms": TimeDependentRMSNorm}
"""The norm inside blocks by name: ``layer`` (the paper's text) or ``rms`` (the released models)."""
