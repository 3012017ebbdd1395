"""U-ViT (Bao et al., CVPR 2023), the network that DiMR starts from, and two steps from it.

A Transformer with long skips on patches of the input, a class token and, as published, a time
token. The paper's ablation lets time enter by adaLN-Zero instead, then by TD-LN.

Shapes: B batch, C channels, H = W image side, N = (H / patch)^2 tokens, D width.
"""

import torch
from torch import Tensor, nn

from dimr.models.base import Network, initialise, label_embedding, patches_to_image
from dimr.models.blocks import MLP, AdaLNZeroBlock, TimeEmbedding, TransformerBlock, UNetStack
from dimr.models.conditioning import (
    DIMR_CONDITIONS,
    UVIT_STEPS,
    Condition,
    labels_of,
    sinusoids,
)
from dimr.models.norms import (
    Modulation,
    TimeDependentLayerNorm,
    TimeDependentRMSNorm,
    UnconditionalLayerNorm,
    modulate,
    zero_modulations,
)


def ends_in_convolution(time_map: str, final_conv: bool | None = None) -> bool:
    """Whether a U-ViT of these arguments ends in a 3x3 convolution: as said, else as published."""
    return time_map == "pixel" if final_conv is None else final_conv


class UViT(Network):
    """U-ViT.

    Args:
        depth: number of blocks, odd: half before the middle one, half after it with long skips.
        dim: D.
        heads: attention heads.
        patch: side of a patch; must divide ``input_size``.
        input_size: H = W of the input.
        channels: C.
        num_classes: labels 0..num_classes-1; the label ``num_classes`` means "no class".
        time: ``token`` (as published), ``adaln_zero`` or ``td_norm`` (ablation; TD-RMS norm in the
            blocks as in the released DiMR, TD-LN before the output).
        has_null_label: whether there is a label for "no class" (the authors' pixel models have
            none).
        time_map: ``latent`` or ``pixel``.
        final_conv: whether a 3x3 convolution ends it; None: as published, in pixel models only.

    Raises:
        ValueError: sizes that do not fit together.
    """

    family = "uvit"

    def __init__(
        self,
        *,
        depth: int,
        dim: int,
        heads: int,
        patch: int,
        input_size: int,
        channels: int,
        num_classes: int,
        time: str = "token",
        has_null_label: bool = True,
        time_map: str = "latent",
        final_conv: bool | None = None,
    ) -> None:
        super().__init__()
        if input_size % patch:
            raise ValueError(f"input size {input_size} cannot be cut into patches of {patch}")
        self.sizes = {
            "depth": depth,
            "dim": dim,
            "heads": heads,
            "patch": patch,
            "input_size": input_size,
            "channels": channels,
            "num_classes": num_classes,
            "time": time,
            "has_null_label": has_null_label,
            "time_map": time_map,
        }
        has_conv = ends_in_convolution(time_map, final_conv)
        if has_conv != ends_in_convolution(time_map):  # what is as published needs no such size
            self.sizes["final_conv"] = has_conv
        self.time, self.time_map, self.patch_size = time, time_map, patch
        self.num_classes = num_classes
        self.extras = 2 if time == "token" else 1  # tokens that are not patches
        self.patch = nn.Conv2d(channels, dim, patch, stride=patch)
        self.label = label_embedding(num_classes + has_null_label, dim)
        self.position = nn.Parameter(torch.zeros((input_size // patch) ** 2 + self.extras, dim))
        if time == "adaln_zero":
            self.embedding = TimeEmbedding(dim)
            self.modulation = Modulation(dim, 2)
            blocks: list[nn.Module] = [AdaLNZeroBlock(dim, heads) for _ in range(depth)]
        else:
            norm, last = {
                "token": (UnconditionalLayerNorm, UnconditionalLayerNorm),
                "td_norm": (TimeDependentRMSNorm, TimeDependentLayerNorm),
            }[time]
            self.norm = last(dim)
            blocks = [TransformerBlock(dim, heads, norm, MLP) for _ in range(depth)]
        self.stack = UNetStack(blocks, dim)
        self.output = nn.Linear(dim, patch**2 * channels)
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if has_conv else None
        self.apply(initialise)
        # As in the authors' code, which leaves torch's own: 50 times what DiMR's labels start at.
        if not self.label.weight.is_meta:
            nn.init.normal_(self.label.weight)
        nn.init.trunc_normal_(self.position, std=0.02)
        zero_modulations(self)

    def forward(self, x: Tensor, t: Tensor, condition: Condition | Tensor) -> list[Tensor]:
        """As ``Network.forward``: one prediction."""
        tokens = self.patch(x).flatten(2).transpose(1, 2)  # (B, N, D)
        front = [self.label(labels_of(condition, self.num_classes))[:, None]]
        step = UVIT_STEPS[self.time_map] * t
        cond = None
        if self.time == "token":
            moment = sinusoids(step, tokens.shape[-1]).to(tokens.dtype)
            front.append(moment.expand(len(x), -1)[:, None])
        elif self.time == "adaln_zero":
            cond = self.embedding(step)
        else:
            cond = DIMR_CONDITIONS[self.time_map](t)
        tokens = torch.cat([*front, tokens], dim=1) + self.position
        tokens = self.stack(tokens, cond)[-1]
        if self.time == "adaln_zero":
            tokens = modulate(tokens, *self.modulation(cond))
        else:
            tokens = self.norm(tokens, cond)
        image = patches_to_image(self.output(tokens)[:, self.extras :], self.patch_size)
        return [image if self.conv is None else self.conv(image)]
