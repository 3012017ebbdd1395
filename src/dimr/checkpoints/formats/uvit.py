"""The authors' U-ViT checkpoints (their repository: baofff/U-ViT).

Their blocks are ``in_blocks``, ``mid_block`` and ``out_blocks``; ours are one list, in order.
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dimr.checkpoints.formats.names import (
    ConversionError,
    count_blocks,
    heads_of,
    input_side,
    likely_time_map,
    shape_of,
    swap_prefix,
)
from dimr.models.sizes import UViTSizes
from dimr.models.uvit import UViT

MARK = "in_blocks."
SIGNS = (MARK, "out_blocks.")
SIZES = UViTSizes
HEADS = {768: 12, 1024: 16, 1152: 16}

NAMES = {
    "patch.": "patch_embed.proj.",
    "label.": "label_emb.",
    "position": "pos_embed",
    "norm.": "norm.",
    "output.": "decoder_pred.",
    "conv.": "final_layer.",
    "stack.skips.{i}.": "out_blocks.{i}.skip_linear.",
}
BLOCK_NAMES = {
    "norm1.": "norm1.",
    "norm2.": "norm2.",
    "attention.qkv.": "attn.qkv.",
    "attention.out.": "attn.proj.",
    "feed_forward.": "mlp.",
}


def published_name(ours: str, network: UViT) -> str:
    """The authors' name of one of our tensors."""
    if network.sizes.time != "token":
        raise ConversionError(f"U-ViT with time by {network.sizes.time} is not the authors'")
    if not ours.startswith("stack.blocks."):
        return swap_prefix(ours, NAMES)
    _, _, number, rest = ours.split(".", 3)
    i, half = int(number), network.sizes.depth // 2
    if i == half:
        block = "mid_block"
    else:
        block = f"in_blocks.{i}" if i < half else f"out_blocks.{i - half - 1}"
    return f"{block}.{swap_prefix(rest, BLOCK_NAMES)}"


def read_sizes(
    weights: Mapping[str, Tensor],
    num_heads: int | None,
    time_map: str | None,
    input_size: int | None,  # noqa: ARG001  (the position embedding tells it)
) -> dict[str, Any]:
    """The network's sizes, read from names and shapes; KeyError: a tensor that is missing."""
    dim, channels, patch, _ = shape_of(weights, "patch_embed.proj.weight", 4)
    tokens = shape_of(weights, "pos_embed", 3)[1] - 2  # time and class have one each
    time_map = time_map or likely_time_map(channels)
    # No tensor tells: the authors' latent models have one label more than classes, their pixel
    # models have not.
    has_null_label = time_map == "latent"
    return {
        "depth": 2 * count_blocks(weights, "in_blocks.") + 1,
        "dim": dim,
        "heads": heads_of(dim, HEADS, num_heads),
        "patch": patch,
        "input_size": input_side(tokens, patch, "pos_embed"),
        "channels": channels,
        "num_classes": shape_of(weights, "label_emb.weight", 2)[0] - has_null_label,
        "has_null_label": has_null_label,
        "time_map": time_map,
        "final_conv": any(name.startswith("final_layer.") for name in weights),
    }


def to_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors need no change before they are matched by name."""
    return weights


def to_theirs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The position embedding (N, D) to (1, N, D)."""
    return {n: t[None] if n == "pos_embed" else t for n, t in weights.items()}
