"""diffusers' DiT folders (``DiTTransformer2DModel``), read by way of DiT's own names.

Every diffusers block owns a copy of the time and class embedders, which DiT has once: they are
merged after checking that they are equal. Query, key and value are one matrix in DiT. The position
embedding is not in the file; it is a formula.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dimr.models.convert import dit
from dimr.models.convert.dit import published_name, to_theirs
from dimr.models.convert.names import ConversionError, swap_prefix
from dimr.models.dit import position_sinusoids

__all__ = ["FAMILY", "MARK", "published_name", "read_sizes", "to_ours", "to_theirs"]

MARK = "transformer_blocks."
FAMILY = dit.FAMILY
DEFAULT_INPUT_SIZE = 32  # the models for images of 256 x 256

NAMES = {
    "pos_embed.proj.": "x_embedder.proj.",
    "pos_embed.pos_embed": "pos_embed",
    "transformer_blocks.{i}.norm1.linear.": "blocks.{i}.adaLN_modulation.1.",
    "transformer_blocks.{i}.attn1.to_out.0.": "blocks.{i}.attn.proj.",
    "transformer_blocks.{i}.attn1.qkv.": "blocks.{i}.attn.qkv.",
    "transformer_blocks.{i}.ff.net.0.proj.": "blocks.{i}.mlp.fc1.",
    "transformer_blocks.{i}.ff.net.2.": "blocks.{i}.mlp.fc2.",
    "proj_out_1.": "final_layer.adaLN_modulation.1.",
    "proj_out_2.": "final_layer.linear.",
    "timestep_embedder.linear_1.": "t_embedder.mlp.0.",
    "timestep_embedder.linear_2.": "t_embedder.mlp.2.",
    "class_embedder.": "y_embedder.",
}


def to_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under DiT's own names."""
    joined = _join_qkv(_merge_embedders(weights))
    try:
        return {swap_prefix(name, NAMES): tensor for name, tensor in joined.items()}
    except ConversionError as error:
        raise ConversionError(
            str(error).split(" has no")[0] + " is not of diffusers' DiT"
        ) from None


def _merge_embedders(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """One copy of the embedders for all blocks."""
    merged: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        shared = re.sub(r"^transformer_blocks\.\d+\.norm1\.emb\.", "", name)
        first = merged.setdefault(shared, tensor)
        if first is not tensor and not torch.equal(first, tensor):
            raise ConversionError(f"tensor {name!r} differs from that of block 0: not DiT's")
    return merged


def _join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    joined: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        if ".to_q." in name:
            try:
                parts = [weights[name.replace(".to_q.", f".to_{p}.")] for p in "qkv"]
            except KeyError as error:
                raise ConversionError(f"tensor {error} is missing") from None
            joined[name.replace(".to_q.", ".qkv.")] = torch.cat(parts)
        elif not re.search(r"\.to_[kv]\.", name):
            joined[name] = tensor
    return joined


def read_sizes(
    weights: dict[str, Tensor],
    num_heads: int | None,
    time_map: str | None,
    input_size: int | None,
) -> dict[str, Any]:
    """As ``dit.read_sizes``; the position embedding is added to ``weights``."""
    patch_weight = weights["x_embedder.proj.weight"]
    side = (input_size or DEFAULT_INPUT_SIZE) // patch_weight.shape[-1]
    grid = position_sinusoids(side, len(patch_weight))[None]
    weights.setdefault("pos_embed", grid.to(patch_weight))
    return dit.read_sizes(weights, num_heads, time_map, input_size)
