"""The blocks that the networks are built of, and the U-shaped stack of blocks.

Shapes: B batch, N tokens, H height, W width, D width of a branch, h heads; of a text L tokens of
width D'. ``cond`` is how a block knows the time: tau, () or (B,), for time-dependent norms; an
embedding (B, D) or (1, D) for adaLN-Zero; None where time is a token. ``seen`` is what attention
may see where there is a text. Images inside a network are channels last, (B, H, W, D): linear
layers and norms act on the last dimension, and the depthwise convolution sees the memory of a
channels_last tensor.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dimr.models.base import Blocks
from dimr.models.conditioning import sinusoids
from dimr.models.depthwise import DepthwiseConvolution
from dimr.models.norms import Modulation, modulate

MakeLayer = Callable[[int], nn.Module]
"""From the width D to a norm or a feed-forward layer."""


class Seen(NamedTuple):
    """What attention may see where there is a text.

    Attributes:
        mask: (B, 1, 1, keys) bool, for all keys, those of ``text`` after the others.
        text: tokens (B, L, D') in addition to the N of attention's input, from which it makes
            further keys and values (DiMR); None: the text is among the N (U-ViT).
    """

    mask: Tensor
    text: Tensor | None = None


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention from (B, h, N, D / h) to keys and values (B, h, K, D / h).

    For up to 64 tokens on a CPU the plain formula is about 3 times as fast as the fused kernel.

    Args:
        q: queries.
        k: keys.
        v: values.
        mask: bool, broadcast to (B, h, N, K), true for a key that is seen; None: all are.
    """
    if q.device.type == "cpu" and q.shape[-2] <= 64:
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        return torch.softmax(scores, dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v, mask)


class Attention(nn.Module):
    """Multi-head self-attention: qkv without bias (DiT: with), output projection with bias.

    With ``text_dim`` the tokens of a text (B, L, text_dim) also give keys and values, by one Linear
    without bias, after those of the image: the "condition tokens" of DiMR's released code.
    """

    def __init__(
        self, dim: int, heads: int, qkv_bias: bool = False, text_dim: int | None = None
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"width {dim} cannot be split into {heads} heads")
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.out = nn.Linear(dim, dim)
        self.text = None if text_dim is None else nn.Linear(text_dim, 2 * dim, bias=False)

    def _split(self, x: Tensor, parts: int) -> Sequence[Tensor]:
        """(B, N, parts D) -> ``parts`` tensors (B, h, N, D / h)."""
        batch, tokens, values = x.shape
        x = x.view(batch, tokens, parts, self.heads, values // parts // self.heads)
        return x.permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, x: Tensor, seen: Seen | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        q, k, v = self._split(self.qkv(x), 3)
        if self.text is not None and seen is not None:
            text_k, text_v = self._split(self.text(seen.text), 2)
            k, v = torch.cat([k, text_k], dim=2), torch.cat([v, text_v], dim=2)
        found = attend(q, k, v, None if seen is None else seen.mask)
        return self.out(found.transpose(1, 2).reshape(x.shape))


class GLU(nn.Module):
    """Gated linear unit, w2(GELU(w0 x) * (w1 x)), of hidden width 2 D with the exact (erf) GELU."""

    def __init__(self, dim: int, ratio: int = 2) -> None:
        super().__init__()
        self.w0 = nn.Linear(dim, ratio * dim)
        self.w1 = nn.Linear(dim, ratio * dim)
        self.w2 = nn.Linear(ratio * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.w2(F.gelu(self.w0(x)) * self.w1(x))


class MLP(nn.Module):
    """Two linear layers with a GELU between, fc2(GELU(fc1 x)), of hidden width 4 D.

    ``approximate`` is the GELU's: ``none`` (erf; U-ViT) or ``tanh`` (DiT).
    """

    def __init__(self, dim: int, ratio: int = 4, approximate: str = "none") -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, ratio * dim)
        self.fc2 = nn.Linear(ratio * dim, dim)
        self.approximate = approximate

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate=self.approximate))


FEED_FORWARDS: dict[str, MakeLayer] = {"glu": GLU, "mlp": MLP}
"""The feed-forward layer by name: ``glu`` (DiMR) or ``mlp`` (U-ViT; 4/3 of the parameters)."""


class TransformerBlock(nn.Module):
    """x + attention(norm(x)), then x + feed_forward(norm(x))."""

    def __init__(
        self,
        dim: int,
        heads: int,
        norm: MakeLayer,
        feed_forward: MakeLayer,
        text_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = norm(dim)
        self.attention = Attention(dim, heads, text_dim=text_dim)
        self.norm2 = norm(dim)
        self.feed_forward = feed_forward(dim)

    def forward(self, x: Tensor, cond: Any, seen: Seen | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = x + self.attention(self.norm1(x, cond), seen)
        return x + self.feed_forward(self.norm2(x, cond))


class ConvNeXtBlock(nn.Module):
    """x + depthwise7x7(x) with no norm before it, then x + feed_forward(norm(x))."""

    def __init__(self, dim: int, norm: MakeLayer, feed_forward: MakeLayer) -> None:
        super().__init__()
        self.depthwise = DepthwiseConvolution(dim)
        self.norm = norm(dim)
        self.feed_forward = feed_forward(dim)

    def forward(self, x: Tensor, cond: Any) -> Tensor:
        """(B, H, W, D) -> (B, H, W, D)."""
        x = x + self.depthwise(x)
        return x + self.feed_forward(self.norm(x, cond))


class AdaLNZeroBlock(nn.Module):
    """DiT's block: shift, scale and gate of both halves come from an MLP on the condition.

    x + gate * f(modulate(layer_norm(x), shift, scale)) for f = attention, then the feed-forward
    layer. The MLP's 6 D^2 parameters per block are what TD-LN replaces by vectors.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        feed_forward: MakeLayer,
        *,
        qkv_bias: bool = False,
        text_dim: int | None = None,
    ) -> None:
        super().__init__()
        self.attention = Attention(dim, heads, qkv_bias, text_dim)
        self.feed_forward = feed_forward(dim)
        self.modulation = Modulation(dim, 6)

    def forward(self, x: Tensor, cond: Tensor, seen: Seen | None = None) -> Tensor:
        """(B, N, D) and cond (B, D) or (1, D) -> (B, N, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond, x.ndim)
        x = x + gate1 * self.attention(modulate(x, shift1, scale1), seen)
        return x + gate2 * self.feed_forward(modulate(x, shift2, scale2))


class AdaLNZeroConvNeXtBlock(nn.Module):
    """A ConvNeXt block whose halves both have adaLN-Zero (ablation).

    x + gate * f(modulate(layer_norm(x), shift, scale)) for f = depthwise7x7, then the feed-forward
    layer. Unlike ``ConvNeXtBlock`` it has a norm before the convolution too: something that shift
    and scale act on. With 6 D^2 in each block of either kind, DiMR-M/3R has the 217.9M parameters
    that the paper prints; with 3 D^2 here it would have 212.9M.
    """

    def __init__(self, dim: int, feed_forward: MakeLayer) -> None:
        super().__init__()
        self.depthwise = DepthwiseConvolution(dim)
        self.feed_forward = feed_forward(dim)
        self.modulation = Modulation(dim, 6)

    def forward(self, x: Tensor, cond: Tensor) -> Tensor:
        """(B, H, W, D) and cond (B, D) or (1, D) -> (B, H, W, D)."""
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(cond, x.ndim)
        x = x + gate1 * self.depthwise(modulate(x, shift1, scale1))
        return x + gate2 * self.feed_forward(modulate(x, shift2, scale2))


class TimeEmbedding(nn.Module):
    """adaLN-Zero's condition: 256 sinusoids of the step, Linear, SiLU, Linear."""

    width = 256

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(self.width, dim)
        self.fc2 = nn.Linear(dim, dim)

    def forward(self, step: Tensor) -> Tensor:
        """() or (B,) -> (1, D) or (B, D)."""
        waves = sinusoids(step, self.width).to(self.fc1.weight.dtype)
        return self.fc2(F.silu(self.fc1(waves)))


class UNetStack(nn.Module):
    """N // 2 "in" blocks, one "mid", N // 2 "out" blocks with long skips from the former.

    Raises:
        ValueError: an even number of blocks.
    """

    def __init__(self, blocks: Sequence[nn.Module], dim: int) -> None:
        super().__init__()
        if len(blocks) % 2 == 0:
            raise ValueError(f"a U-shaped stack takes an odd number of blocks, not {len(blocks)}")
        self.blocks = Blocks(blocks)
        self.depth = len(blocks) // 2
        self.skips = nn.ModuleList(nn.Linear(2 * dim, dim) for _ in range(self.depth))

    def forward(
        self,
        x: Tensor,
        cond: Any,
        joining: Callable[[int, Tensor], Tensor] | None = None,
        seen: Seen | None = None,
    ) -> list[Tensor]:
        """(B, ..., D) -> the input and the output of every block, in order.

        ``joining``: from the number of a block and its input to what the block takes instead.
        ``seen``: for blocks with attention; None: no text.
        """
        others = (cond,) if seen is None else (cond, seen)
        features: list[Tensor] = [x]
        waiting: list[Tensor] = []
        for i in range(len(self.blocks)):
            if i > self.depth:
                x = self.skips[i - self.depth - 1](torch.cat([x, waiting.pop()], dim=-1))
            if joining is not None:
                x = joining(i, x)
            x = self.blocks.run(i, x, *others)
            if i < self.depth:
                waiting.append(x)
            features.append(x)
        return features
