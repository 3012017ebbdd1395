"""DiT's own checkpoints (its repository: facebookresearch/DiT)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from dimr.checkpoints.formats.names import (
    count_blocks,
    heads_of,
    input_side,
    likely_time_map,
    shape_of,
    swap_prefix,
)
from dimr.models.base import Network
from dimr.models.sizes import DiTSizes

MARK = "x_embedder."
SIGNS = (MARK, "t_embedder.", "y_embedder.")
SIZES = DiTSizes
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}

NAMES = {
    "patch.": "x_embedder.proj.",
    "position": "pos_embed",
    "label.": "y_embedder.embedding_table.",
    "embedding.fc1.": "t_embedder.mlp.0.",
    "embedding.fc2.": "t_embedder.mlp.2.",
    "blocks.{i}.attention.qkv.": "blocks.{i}.attn.qkv.",
    "blocks.{i}.attention.out.": "blocks.{i}.attn.proj.",
    "blocks.{i}.feed_forward.": "blocks.{i}.mlp.",
    "blocks.{i}.modulation.linear.": "blocks.{i}.adaLN_modulation.1.",
    "modulation.linear.": "final_layer.adaLN_modulation.1.",
    "output.": "final_layer.linear.",
}


def published_name(ours: str, network: Network) -> str:  # noqa: ARG001
    """DiT's name of one of our tensors."""
    return swap_prefix(ours, NAMES)


def read_sizes(
    weights: Mapping[str, Tensor],
    num_heads: int | None,
    time_map: str | None,
    input_size: int | None,  # noqa: ARG001  (the position embedding tells it)
) -> dict[str, Any]:
    """The network's sizes, read from names and shapes; KeyError: a tensor that is missing."""
    dim, channels, patch, _ = shape_of(weights, "x_embedder.proj.weight", 4)
    outputs = shape_of(weights, "final_layer.linear.weight", 2)[0] // patch**2
    labels, _ = shape_of(weights, "y_embedder.embedding_table.weight", 2)
    return {
        "depth": count_blocks(weights, "blocks."),
        "dim": dim,
        "heads": heads_of(dim, HEADS, num_heads),
        "patch": patch,
        "input_size": input_side(shape_of(weights, "pos_embed", 3)[1], patch, "pos_embed"),
        "channels": channels,
        "num_classes": labels - 1,
        "learn_sigma": outputs == 2 * channels,
        "time_map": time_map or likely_time_map(channels),
    }


def to_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """DiT's tensors need no change before they are matched by name."""
    return weights


def to_theirs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The position embedding (N, D) to (1, N, D)."""
    return {n: t[None] if n == "pos_embed" else t for n, t in weights.items()}
