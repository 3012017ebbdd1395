"""DiMR: the multi-resolution diffusion network (section 3.2 of the paper).

R branches from the lowest resolution to the full one. The lowest is a Transformer on patches of the
input, the others are ConvNeXt blocks at twice the resolution of the one before. Each branch passes
the features of all its blocks to the next (the feature cascade) and predicts the noise at its own
resolution.

The paper's tables 2 and 3 compare this with other networks, which it names but does not describe,
so these are our readings, in each case the simplest:

- adaLN-Zero (table 2, row 3; ``norm``): in every block, Transformer or ConvNeXt, from a time
  embedding that each branch has of its own, as widths differ. It is that of U-ViT + adaLN-Zero
  (row 2), so that the two differ only in the branches, and as there the class stays a token: the
  rows differ only in how time enters. Norms of cascades and outputs are plain.
- ConvNeXt in the first branch (table 3a; ``first``): the same number of blocks of the same width.
  There is no place for a token, so the class embedding is added to every pixel.
- Cascade by concatenation (3b; ``cascade``): input and cascade side by side on channels, and a
  Linear back to D.
- Skip connections between branches (3c; ``branch_skips``): ``BranchSkips``, beside the cascade.

A text in place of the class works as in the authors' released code, which the paper does not
describe: each attention of the lowest branch has keys and values of the text's tokens after those
of the image's, and there is no class token.

Shapes: B batch, C channels, H = W image side, R branches, N layers and D width of a branch,
h = w = H / 2^(R-r) the side of branch r; cond, how norms and blocks know the time: the time
condition () or (B,), with adaLN-Zero the branch's embedding of it (1, D) or (B, D).
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dimr.models.base import Network, initialise, label_embedding
from dimr.models.blocks import (
    FEED_FORWARDS,
    AdaLNZeroBlock,
    AdaLNZeroConvNeXtBlock,
    ConvNeXtBlock,
    Seen,
    TimeEmbedding,
    TransformerBlock,
    UNetStack,
)
from dimr.models.conditioning import DIMR_CONDITIONS, UVIT_STEPS, Condition, labels_of, text_of
from dimr.models.norms import (
    BLOCK_NORMS,
    TimeDependentLayerNorm,
    UnconditionalLayerNorm,
    zero_modulations,
)
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

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        self.norm = _outer_norm(sizes, sizes.dims[branch])
        self.conv = nn.Conv2d(sizes.dims[branch], sizes.channels, 3, padding=1)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """(B, h, w, D) -> (B, C, h, w)."""
        return self.conv(self.norm(x, cond).permute(0, 3, 1, 2))


class Cascade(nn.Module):
    """Features of the branch below, brought to this one's resolution and width.

    TD-LN, Linear to 4 D channels, pixel shuffle x2, TD-LN. There is no stop-gradient.
    """

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        dim = sizes.dims[branch]
        features = sizes.dims[branch - 1] * (blocks_built(sizes.layers[branch - 1]) + 1)
        self.norm_in = _outer_norm(sizes, features)
        self.expand = nn.Linear(features, 4 * dim)
        self.norm_out = _outer_norm(sizes, dim)

    def forward(self, features: list[Tensor], cond: Tensor) -> Tensor:
        """Features (B, h, w, D') of every block below -> (B, 2h, 2w, D)."""
        x = self.norm_in(torch.cat(features, dim=-1), cond)  # (B, h, w, D' (blocks + 1))
        x = self.expand(x)  # (B, h, w, 4 D)
        batch, height, width, _ = x.shape
        # Pixel shuffle; the 4 D channels are (row, column, D), as in the authors' weights.
        x = x.view(batch, height, width, 2, 2, -1).transpose(2, 3)
        return self.norm_out(x.reshape(batch, 2 * height, 2 * width, -1), cond)


class BranchSkips(nn.Module):
    """Skip connections from the branch below (table 3c).

    To the input of every block is added the output of the block below at the same share of the
    depth: a Linear to this width, then each pixel four times.
    """

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        below, own = (blocks_built(layers) for layers in sizes.layers[branch - 1 : branch + 1])
        self.sources = [i * (below - 1) // max(own - 1, 1) for i in range(own)]
        width, dim = sizes.dims[branch - 1 : branch + 1]
        self.project = nn.ModuleList(nn.Linear(width, dim) for _ in range(own))

    def forward(self, features: list[Tensor], index: int, x: Tensor) -> Tensor:
        """Features below (B, h, w, D'), a block's number and input (B, 2h, 2w, D) -> the sum."""
        skip = self.project[index](features[1 + self.sources[index]])  # the first is of the input
        return x + skip.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def _outer_norm(sizes: DiMRSizes, dim: int) -> nn.Module:
    """The norm of cascades and outputs, of width D."""
    if sizes.norm == "adaln_zero":
        return UnconditionalLayerNorm(dim)
    return TimeDependentLayerNorm(dim)


def _stack(sizes: DiMRSizes, branch: int) -> UNetStack:
    """A branch's blocks."""
    dim, feed_forward = sizes.dims[branch], FEED_FORWARDS[sizes.feed_forward]
    attends = branch == 0 and sizes.first == "transformer"

    def block() -> nn.Module:
        if sizes.norm == "adaln_zero":
            if attends:
                return AdaLNZeroBlock(dim, sizes.heads, feed_forward, text_dim=sizes.text_dim)
            return AdaLNZeroConvNeXtBlock(dim, feed_forward)
        norm = BLOCK_NORMS[sizes.norm]
        if attends:
            return TransformerBlock(dim, sizes.heads, norm, feed_forward, sizes.text_dim)
        return ConvNeXtBlock(dim, norm, feed_forward)

    return UNetStack([block() for _ in range(blocks_built(sizes.layers[branch]))], dim)


def _embedding(sizes: DiMRSizes, branch: int) -> nn.Module:
    """From the time condition to a branch's cond."""
    return TimeEmbedding(sizes.dims[branch]) if sizes.norm == "adaln_zero" else nn.Identity()


class LowestBranch(nn.Module):
    """The lowest resolution: Transformer blocks on a class token and patches, or with a text."""

    def __init__(self, sizes: DiMRSizes) -> None:
        super().__init__()
        self.input = InputLayer(sizes, 0)
        self.label = None
        if sizes.text_dim is None:
            self.label = label_embedding(sizes.num_classes + 1, sizes.dims[0])
        self.has_token = sizes.first == "transformer"
        self.embedding = _embedding(sizes, 0)
        self.stack = _stack(sizes, 0)
        self.output = OutputLayer(sizes, 0)

    def forward(
        self, x: Tensor, time: Tensor, told: Tensor | tuple[Tensor, Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """(B, C, H, W) and labels (B,), or a text (``text_of``) -> prediction and features.

        Prediction: (B, C, h, w). Features: (B, h, w, D) of the input and of every block.
        """
        cond = self.embedding(time)
        image = self.input(x)  # (B, h, w, D)
        if self.label is None:
            text, mask = told
            tokens = image.flatten(1, 2)  # (B, hw, D)
            keys = F.pad(mask, (tokens.shape[1], 0), value=True)  # the image's are all seen
            seen = Seen(keys[:, None, None], text.to(image.dtype))
            features = [f.view(image.shape) for f in self.stack(tokens, cond, seen=seen)]
            return self.output(features[-1], cond), features
        label = self.label(told)[:, None]
        if self.has_token:
            tokens = torch.cat([label, image.flatten(1, 2)], dim=1)  # (B, 1 + hw, D)
            features = [f[:, 1:].view(image.shape) for f in self.stack(tokens, cond)]
        else:
            features = self.stack(image + label[:, None], cond)
        return self.output(features[-1], cond), features


class HigherBranch(nn.Module):
    """A higher resolution: ConvNeXt blocks on the input plus the cascade from the branch below."""

    def __init__(self, sizes: DiMRSizes, branch: int) -> None:
        super().__init__()
        dim = sizes.dims[branch]
        self.input = InputLayer(sizes, branch)
        self.cascade = Cascade(sizes, branch)
        self.merge = nn.Linear(2 * dim, dim) if sizes.cascade == "concat" else None
        self.skips = BranchSkips(sizes, branch) if sizes.branch_skips else None
        self.embedding = _embedding(sizes, branch)
        self.stack = _stack(sizes, branch)
        self.output = OutputLayer(sizes, branch)

    def forward(self, x: Tensor, below: list[Tensor], time: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, C, H, W), features below (B, h/2, w/2, D') -> prediction and features, as above."""
        cond = self.embedding(time)
        image, cascade = self.input(x), self.cascade(below, cond)
        if self.merge is None:
            image = image + cascade
        else:
            image = self.merge(torch.cat([image, cascade], dim=-1))
        joining = None if self.skips is None else partial(self.skips, below)
        features = self.stack(image, cond, joining)
        return self.output(features[-1], cond), features


class DiMR(Network):
    """DiMR with any number of branches; its sizes are ``DiMRSizes``."""

    family = "dimr"
    sizes: DiMRSizes

    def __init__(self, sizes: DiMRSizes | None = None, **arguments: Any) -> None:
        super().__init__(sizes, **arguments)
        sizes = self.sizes
        self.predictions, self.counted = len(sizes.layers), sizes.outputs
        self.time_condition = DIMR_CONDITIONS[sizes.time_map]
        if sizes.norm == "adaln_zero":
            self.time_condition = partial(torch.mul, other=UVIT_STEPS[sizes.time_map])
        self.lowest = LowestBranch(sizes)
        self.higher = nn.ModuleList(HigherBranch(sizes, r) for r in range(1, self.predictions))
        self.apply(initialise)
        zero_modulations(self)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: R predictions."""
        time, sizes = self.time_condition(t), self.sizes
        is_text = sizes.text_dim is not None
        told = text_of(condition, sizes) if is_text else labels_of(condition, sizes.num_classes)
        prediction, features = self.lowest(x, time, told)
        predictions = [prediction]
        for branch in self.higher:
            prediction, features = branch(x, features, time)
            predictions.append(prediction)
        return predictions
