"""The authors' U-ViT checkpoints (repository baofff/U-ViT).

Their blocks are ``in_blocks``, ``mid_block`` and ``out_blocks``; ours are one list, in order.
"""

from typing import Any

from dimr.checkpoints.formats.base import ConversionError, Format, Shapes, renamed
from dimr.models.sizes import UViTSizes

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


def published_name(ours: str, sizes: UViTSizes) -> str:
    """The authors' name of one of our tensors."""
    if sizes.time != "token":
        raise ConversionError(f"U-ViT with time by {sizes.time} is not the authors'")
    if not ours.startswith("stack.blocks."):
        return renamed(ours, NAMES)
    _, _, number, rest = ours.split(".", 3)
    i, half = int(number), sizes.depth // 2
    if i == half:
        block = "mid_block"
    else:
        block = f"in_blocks.{i}" if i < half else f"out_blocks.{i - half - 1}"
    return f"{block}.{renamed(rest, BLOCK_NAMES)}"


def read_sizes(shapes: Shapes) -> dict[str, Any]:
    """The network's sizes, heads aside."""
    dim, channels, patch, _ = shapes.of("patch_embed.proj.weight", 4)
    tokens = shapes.of("pos_embed", 3)[1] - 2  # time and class have one each
    time_map = shapes.time_map(channels)
    # No tensor tells: the authors' latent models have one label more than classes, their pixel
    # models have not.
    has_null_label = time_map == "latent"
    return {
        "depth": 2 * shapes.count("in_blocks.") + 1,
        "dim": dim,
        "patch": patch,
        "input_size": shapes.side("pos_embed", tokens, patch),
        "channels": channels,
        "num_classes": shapes.of("label_emb.weight", 2)[0] - has_null_label,
        "has_null_label": has_null_label,
        "time_map": time_map,
        "final_conv": shapes.count("final_layer.") > 0,
    }


FORMATS = (
    Format(
        "uvit", UViTSizes, signs=("in_blocks.", "out_blocks."),
        heads={768: 12, 1024: 16, 1152: 16}.get,
        published_name=published_name, read_sizes=read_sizes,
    ),
)  # fmt: skip
