"""The authors' U-ViT checkpoints (repository baofff/U-ViT).

Their blocks are ``in_blocks``, ``mid_block`` and ``out_blocks``; ours are one list, in order. The
networks of text (``uvit_t2i``: the MS-COCO models) have a ``context_embed`` in place of labels.
"""

from typing import Any

from dimr.checkpoints.formats.base import ConversionError, Format, Shapes, renamed
from dimr.models.sizes import UViTSizes

NAMES = {
    "patch.": "patch_embed.proj.",
    "label.": "label_emb.",
    "text.": "context_embed.",
    "position": "pos_embed",
    "norm.": "norm.",
    "output.": "decoder_pred.",
    "conv.": "final_layer.",
    "stack.skips.{i}.": "out_blocks.{i}.skip_linear.",
}
CLIP_TOKENS = 77
"""Of a text, as published."""
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
    tokens = shapes.of("pos_embed", 3)[1] - 1  # the time has one
    time_map = shapes.time_map(channels)
    common = {
        "depth": 2 * shapes.count("in_blocks.") + 1,
        "dim": dim,
        "patch": patch,
        "channels": channels,
        "time_map": time_map,
        "final_conv": shapes.count("final_layer.") > 0,
    }
    if any(name.startswith("context_embed.") for name in shapes.tensors):
        patches = _patches_beside_text(tokens, patch, shapes.told_input_size)
        return {
            **common,
            "input_size": shapes.side("pos_embed", patches, patch),
            "num_classes": 0,
            "text_dim": shapes.of("context_embed.weight", 2)[1],
            "text_tokens": tokens - patches,
        }
    # No tensor tells: the authors' latent models have one label more than classes, their pixel
    # models have not.
    has_null_label = time_map == "latent"
    return {
        **common,
        "input_size": shapes.side("pos_embed", tokens - 1, patch),  # the class has one
        "num_classes": shapes.of("label_emb.weight", 2)[0] - has_null_label,
        "has_null_label": has_null_label,
    }


def _patches_beside_text(positions: int, patch: int, input_size: int | None) -> int:
    """How many of the positions are of patches; the others are of a text's tokens.

    No tensor tells the split. If ``input_size`` is None, a text has 77 tokens, as published, or
    there are as many patches as fit, a power of 4.
    """
    if input_size is not None:
        patches = (input_size // patch) ** 2
    elif positions > CLIP_TOKENS + 4 and _is_power_of_4(positions - CLIP_TOKENS):
        patches = positions - CLIP_TOKENS
    else:
        patches = 4 ** (max(positions - 1, 1).bit_length() - 1 >> 1)
    if not 0 < patches < positions:
        raise ConversionError(
            f"tensor 'pos_embed': {positions + 1} positions are not those of the time, a text and "
            f"{patches} patches"
        )
    return patches


def _is_power_of_4(number: int) -> bool:
    return number == 4 ** (number.bit_length() - 1 >> 1)


FORMATS = (
    Format(
        "uvit", UViTSizes, signs=("in_blocks.", "out_blocks."),
        heads={512: 8, 768: 12, 1024: 16, 1152: 16}.get,
        published_name=published_name, read_sizes=read_sizes,
    ),
)  # fmt: skip
