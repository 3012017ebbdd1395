"""U-ViT (Bao et al., CVPR 2023), the network that DiMR builds on, and two steps beyond it.

A Transformer with long skips on patches of the input, a class token and, as published, a time
token. The paper's ablation lets time enter by adaLN-Zero instead, then by TD-LN.

A text in place of the class works as in the authors' text-to-image code: its tokens, after one
Linear, are between the time's and the image's.

Shapes: B batch, C channels, H = W image side, N = (H / patch)^2 tokens, L those of a text, D width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dimr.models.base import Network, initialise, label_embedding, patches_to_image
from dimr.models.blocks import (
    MLP,
    AdaLNZeroBlock,
    Seen,
    TimeEmbedding,
    TransformerBlock,
    UNetStack,
)
from dimr.models.conditioning import (
    DIMR_CONDITIONS,
    UVIT_STEPS,
    Condition,
    labels_of,
    sinusoids,
    text_of,
)
from dimr.models.norms import (
    Modulation,
    TimeDependentLayerNorm,
    UnconditionalLayerNorm,
    modulate,
    zero_modulations,
)
from dimr.models.sizes import UViTSizes, ends_in_convolution


class UViT(Network):
    """U-ViT; its sizes are ``UViTSizes``."""

    family = "uvit"
    sizes: UViTSizes

    def __init__(self, sizes: UViTSizes | None = None, **arguments: Any) -> None:
        super().__init__(sizes, **arguments)
        sizes = self.sizes
        dim, heads, patch, channels = sizes.dim, sizes.heads, sizes.patch, sizes.channels
        # tokens that are not patches: of the time, and of the class or the text
        self.extras = (sizes.time == "token") + (sizes.text_tokens or 1)
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch)
        if sizes.text_dim is None:
            self.label = label_embedding(sizes.num_classes + sizes.has_null_label, dim)
        else:
            self.text = nn.Linear(sizes.text_dim, dim)
        patches = (sizes.input_size // patch) ** 2
        self.position = nn.Parameter(torch.zeros(patches + self.extras, dim))
        if sizes.time == "adaln_zero":
            self.embedding = TimeEmbedding(dim)
            self.modulation = Modulation(dim, 2)
            blocks: list[nn.Module] = [AdaLNZeroBlock(dim, heads, MLP) for _ in range(sizes.depth)]
        else:
            norm = {"token": UnconditionalLayerNorm, "td_ln": TimeDependentLayerNorm}[sizes.time]
            self.norm = norm(dim)
            blocks = [TransformerBlock(dim, heads, norm, MLP) for _ in range(sizes.depth)]
        self.stack = UNetStack(blocks, dim)
        self.output = nn.Linear(dim, patch**2 * channels)
        has_conv = ends_in_convolution(sizes.time_map, sizes.final_conv)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if has_conv else None
        self.apply(initialise)
        # As in the authors' code, which keeps torch's own: 50 times the scale of DiMR's labels.
        if sizes.text_dim is None and not self.label.weight.is_meta:
            nn.init.normal_(self.label.weight)
        nn.init.trunc_normal_(self.position, std=0.02)
        zero_modulations(self)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: one prediction."""
        tokens = self.patch(x).flatten(2).transpose(1, 2)  # (B, N, D)
        front, seen = [], None
        if self.sizes.text_dim is None:
            front.append(self.label(labels_of(condition, self.sizes.num_classes))[:, None])
        step = UVIT_STEPS[self.sizes.time_map] * t
        cond = None
        if self.sizes.time == "token":
            moment = sinusoids(step, tokens.shape[-1]).to(tokens.dtype)
            front.append(moment.expand(len(x), -1)[:, None])
        elif self.sizes.time == "adaln_zero":
            cond = self.embedding(step)
        else:
            cond = DIMR_CONDITIONS[self.sizes.time_map](t)
        if self.sizes.text_dim is not None:
            text, mask = text_of(condition, self.sizes)
            keys = F.pad(mask, (len(front), tokens.shape[1]), value=True)  # all but the text's
            seen = Seen(keys[:, None, None])
            front.append(self.text(text.to(tokens.dtype)))
        tokens = torch.cat([*front, tokens], dim=1) + self.position
        tokens = self.stack(tokens, cond, seen=seen)[-1]
        if self.sizes.time == "adaln_zero":
            tokens = modulate(tokens, *self.modulation(cond, tokens.ndim))
        else:
            tokens = self.norm(tokens, cond)
        image = patches_to_image(self.output(tokens)[:, self.extras :], self.sizes.patch)
        return [image if self.conv is None else self.conv(image)]
