"""DiMR: the multi-resolution diffusion network (section 3.2 of the paper).

R branches from the lowest resolution to the full one. The lowest is a Transformer on patches of the
input, the others are ConvNeXt blocks at twice the resolution of the one before. Each branch passes
the features of all its blocks to the next (the feature cascade) and predicts the noise at its own
resolution.

Shapes: B batch, C channels, H = W image side, R branches, N layers and D width of a branch,
h = w = H / 2^(R-r) the side of branch r, tau time condition () or (B,).
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dimr.models.base import Network, initialise, label_embedding
from dimr.models.blocks import FEED_FORWARDS, ConvNeXtBlock, TransformerBlock, UNetStack
from dimr.models.conditioning import DIMR_CONDITIONS, Condition, labels_of
from dimr.models.norms import BLOCK_NORMS, TimeDependentLayerNorm


class InputLayer(nn.Module):
    """The image as tokens: convolution with kernel = stride = patch, plus a learned position."""

    def __init__(self, channels: int, dim: int, patch: int, side: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(side, side, dim))
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h, w, D)."""
        # the layout of x would go on through the whole branch
        return self.patch(x).permute(0, 2, 3, 1).contiguous() + self.position


class OutputLayer(nn.Module):
    """TD-LN and a 3x3 convolution to the noise at this branch's resolution."""

    def __init__(self, dim: int, channels: int) -> None:
        super().__init__()
        self.norm = TimeDependentLayerNorm(dim)
        self.conv = nn.Conv2d(dim, channels, 3, padding=1)

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, C, h, w)."""
        return self.conv(self.norm(x, tau).permute(0, 3, 1, 2))


class Cascade(nn.Module):
    """Features of the branch below, brought to this one's resolution and width.

    TD-LN, Linear to 4 D channels, pixel shuffle x2, TD-LN. There is no stop-gradient.
    """

    def __init__(self, features: int, dim: int) -> None:
        super().__init__()
        self.norm_in = TimeDependentLayerNorm(features)
        self.expand = nn.Linear(features, 4 * dim)
        self.norm_out = TimeDependentLayerNorm(dim)

    def forward(self, features: list[Tensor], tau: Tensor) -> Tensor:
        """Features (B, h, w, D') of every block below -> (B, 2h, 2w, D)."""
        x = self.norm_in(torch.cat(features, dim=-1), tau)  # (B, h, w, D' (blocks + 1))
        x = self.expand(x)  # (B, h, w, 4 D)
        batch, height, width, _ = x.shape
        # Pixel shuffle; the 4 D channels are (row, column, D), as in the authors' weights.
        x = x.view(batch, height, width, 2, 2, -1).transpose(2, 3)
        return self.norm_out(x.reshape(batch, 2 * height, 2 * width, -1), tau)


def blocks_built(layers: int) -> int:
    """How many blocks a branch of N layers has: N // 2 in, 1 mid, N // 2 out."""
    return 2 * (layers // 2) + 1


class TransformerBranch(nn.Module):
    """The lowest resolution: Transformer blocks on tokens behind one class token."""

    def __init__(
        self,
        *,
        channels: int,
        dim: int,
        layers: int,
        patch: int,
        side: int,
        heads: int,
        labels: int,
        norm: str,
        feed_forward: str,
        has_output: bool,
    ) -> None:
        super().__init__()
        self.input = InputLayer(channels, dim, patch, side)
        self.label = label_embedding(labels, dim)
        parts = BLOCK_NORMS[norm], FEED_FORWARDS[feed_forward]
        blocks = [TransformerBlock(dim, heads, *parts) for _ in range(blocks_built(layers))]
        self.stack = UNetStack(blocks, dim)
        self.output = OutputLayer(dim, channels) if has_output else None

    def forward(self, x: Tensor, tau: Tensor, labels: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """(B, C, H, W) and labels (B,) -> predictions and features.

        Predictions: one (B, C, h, w), or none. Features: (B, h, w, D) of the input, every block.
        """
        image = self.input(x)  # (B, h, w, D)
        label = self.label(labels)[:, None]
        tokens = torch.cat([label, image.flatten(1, 2)], dim=1)  # (B, 1 + hw, D)
        features = [f[:, 1:].view(image.shape) for f in self.stack(tokens, tau)]
        return [self.output(features[-1], tau)] if self.output else [], features


class ConvNeXtBranch(nn.Module):
    """A higher resolution: ConvNeXt blocks on the input plus the cascade from the branch below."""

    def __init__(
        self,
        *,
        channels: int,
        dim: int,
        layers: int,
        patch: int,
        side: int,
        features: int,
        norm: str,
        feed_forward: str,
        has_output: bool,
    ) -> None:
        super().__init__()
        self.input = InputLayer(channels, dim, patch, side)
        self.cascade = Cascade(features, dim)
        parts = BLOCK_NORMS[norm], FEED_FORWARDS[feed_forward]
        blocks = [ConvNeXtBlock(dim, *parts) for _ in range(blocks_built(layers))]
        self.stack = UNetStack(blocks, dim)
        self.output = OutputLayer(dim, channels) if has_output else None

    def forward(
        self, x: Tensor, below: list[Tensor], tau: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(B, C, H, W), features below (B, h/2, w/2, D') -> predictions and features, as above."""
        features = self.stack(self.input(x) + self.cascade(below, tau), tau)
        return [self.output(features[-1], tau)] if self.output else [], features


class MultiResolutionNetwork(Network):
    """DiMR with any number of branches.

    Args:
        layers: N of each branch, lowest resolution first (an even N builds N + 1 blocks, as the
            authors' network does and the published counts say).
        dims: D of each branch.
        heads: attention heads of the lowest branch.
        input_size: H = W of the input; must divide by 2^(R-1).
        channels: C.
        num_classes: labels 0..num_classes-1; the label ``num_classes`` means "no class".
        norm: norm inside blocks, ``rms`` (released models) or ``layer`` (the paper's text).
        feed_forward: ``glu``, or ``mlp`` as in U-ViT (ablation).
        outputs: ``all`` branches predict noise (the multi-scale loss), or only the ``last`` one,
            whose prediction is then all that the loss sees (ablation).
        time_map: how t becomes tau, ``latent`` (8 t - 4) or ``pixel`` (log SNR of the VP SDE).

    Raises:
        ValueError: sizes that do not fit together.
    """

    family = "dimr"

    def __init__(
        self,
        *,
        layers: Sequence[int],
        dims: Sequence[int],
        heads: int,
        input_size: int,
        channels: int,
        num_classes: int,
        norm: str = "rms",
        feed_forward: str = "glu",
        outputs: str = "all",
        time_map: str = "latent",
    ) -> None:
        super().__init__()
        branches = len(layers)
        if branches == 0 or len(dims) != branches:
            raise ValueError(f"layers {list(layers)} and dims {list(dims)} differ in length")
        if input_size % 2 ** (branches - 1):
            raise ValueError(f"input size {input_size} cannot be halved {branches - 1} times")
        self.sizes = {
            "layers": list(layers),
            "dims": list(dims),
            "heads": heads,
            "input_size": input_size,
            "channels": channels,
            "num_classes": num_classes,
            "norm": norm,
            "feed_forward": feed_forward,
            "outputs": outputs,
            "time_map": time_map,
        }
        self.predictions = branches if outputs == "all" else 1
        self.num_classes = num_classes
        self.time_condition = DIMR_CONDITIONS[time_map]

        def branch_sizes(r: int) -> dict[str, Any]:
            patch = 2 ** (branches - 1 - r)
            return {
                "channels": channels,
                "dim": dims[r],
                "layers": layers[r],
                "patch": patch,
                "side": input_size // patch,
                "norm": norm,
                "feed_forward": feed_forward,
                "has_output": outputs == "all" or r == branches - 1,
            }

        self.lowest = TransformerBranch(**branch_sizes(0), heads=heads, labels=num_classes + 1)
        self.higher = nn.ModuleList(
            ConvNeXtBranch(
                **branch_sizes(r), features=dims[r - 1] * (blocks_built(layers[r - 1]) + 1)
            )
            for r in range(1, branches)
        )
        self.apply(initialise)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: R predictions, or one where ``outputs`` is ``last``."""
        tau = self.time_condition(t)
        predictions, features = self.lowest(x, tau, labels_of(condition, self.num_classes))
        for branch in self.higher:
            own, features = branch(x, features, tau)
            predictions += own
        return predictions
