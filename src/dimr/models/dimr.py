"""DiMR: the multi-resolution diffusion network (section 3.2 of the paper).

R branches from the lowest resolution to the full one. The lowest is a Transformer on patches of the
input, the others are ConvNeXt blocks at twice the resolution of the one before. Each branch passes
the features of all its blocks to the next (the feature cascade) and predicts the noise at its own
resolution.

Shapes: B batch, C channels, H = W image side, R branches, N layers and D width of a branch,
h = w = H / 2^(R-r) the side of branch r, tau time condition () or (B,).
"""

from typing import Any

import torch
from torch import Tensor, nn

from dimr.models.base import Network, initialise, label_embedding
from dimr.models.blocks import (
    FEED_FORWARDS,
    ConvNeXtBlock,
    MakeLayer,
    TransformerBlock,
    UNetStack,
)
from dimr.models.conditioning import DIMR_CONDITIONS, Condition, labels_of
from dimr.models.norms import BLOCK_NORMS, TimeDependentLayerNorm
from dimr.models.sizes import DiMRSizes, blocks_built


class InputLayer(nn.Module):
    """The image as tokens: convolution with kernel = stride = patch, plus a learned position."""

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        dim, patch = sizes.dims[branch], 2 ** (len(sizes.dims) - 1 - branch)
        side = sizes.input_size // patch
        self.patch = nn.Conv2d(sizes.channels, dim, patch, stride=patch)
        self.position = nn.Parameter(torch.zeros(side, side, dim))
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h, w, D)."""
        # the layout of x would otherwise persist through the whole branch
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


def _block_parts(sizes: DiMRSizes) -> tuple[MakeLayer, MakeLayer]:
    """Norm and feed-forward layer of every block."""
    return BLOCK_NORMS[sizes.norm], FEED_FORWARDS[sizes.feed_forward]


def _output_layer(sizes: DiMRSizes, branch: int) -> OutputLayer | None:
    """That of a branch, if it predicts."""
    predicts = sizes.outputs == "all" or branch == len(sizes.dims) - 1
    return OutputLayer(sizes.dims[branch], sizes.channels) if predicts else None


class TransformerBranch(nn.Module):
    """The lowest resolution: Transformer blocks on tokens behind one class token."""

    def __init__(self, sizes: DiMRSizes) -> None:
        super().__init__()
        dim, (norm, feed_forward) = sizes.dims[0], _block_parts(sizes)
        self.input = InputLayer(sizes, 0)
        self.label = label_embedding(sizes.num_classes + 1, dim)
        blocks = [
            TransformerBlock(dim, sizes.heads, norm, feed_forward)
            for _ in range(blocks_built(sizes.layers[0]))
        ]
        self.stack = UNetStack(blocks, dim)
        self.output = _output_layer(sizes, 0)

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

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        dim, (norm, feed_forward) = sizes.dims[branch], _block_parts(sizes)
        below = sizes.dims[branch - 1] * (blocks_built(sizes.layers[branch - 1]) + 1)
        self.input = InputLayer(sizes, branch)
        self.cascade = Cascade(below, dim)
        blocks = [
            ConvNeXtBlock(dim, norm, feed_forward)
            for _ in range(blocks_built(sizes.layers[branch]))
        ]
        self.stack = UNetStack(blocks, dim)
        self.output = _output_layer(sizes, branch)

    def forward(
        self, x: Tensor, below: list[Tensor], tau: Tensor
    ) -> tuple[list[Tensor], list[Tensor]]:
        """(B, C, H, W), features below (B, h/2, w/2, D') -> predictions and features, as above."""
        features = self.stack(self.input(x) + self.cascade(below, tau), tau)
        return [self.output(features[-1], tau)] if self.output else [], features


class DiMR(Network):
    """DiMR with any number of branches; its sizes are ``DiMRSizes``."""

    family = "dimr"
    sizes: DiMRSizes

    def __init__(self, sizes: DiMRSizes | None = None, **arguments: Any) -> None:
        super().__init__(sizes, **arguments)
        sizes = self.sizes
        branches = len(sizes.layers)
        self.predictions = branches if sizes.outputs == "all" else 1
        self.time_condition = DIMR_CONDITIONS[sizes.time_map]
        self.lowest = TransformerBranch(sizes)
        self.higher = nn.ModuleList(ConvNeXtBranch(sizes, r) for r in range(1, branches))
        self.apply(initialise)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: R predictions, or one where ``outputs`` is ``last``."""
        tau = self.time_condition(t)
        predictions, features = self.lowest(x, tau, labels_of(condition, self.sizes.num_classes))
        for branch in self.higher:
            own, features = branch(x, features, tau)
            predictions += own
        return predictions
