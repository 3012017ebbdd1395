"""diffusers' DiT folders (``DiTTransformer2DModel``), read by way of DiT's own names.

Every diffusers block owns a copy of the time and class embedders, which DiT has once: they are
merged after checking that they are equal. Query, key and value are one matrix in DiT. The position
embedding is not in the file; it is a formula.

The network that comes of it is DiT's, which diffusers' own is not quite: the frequencies of its
time embedding fall to 1/10000 over 127 steps (``downscale_freq_shift=1``), DiT's over 128.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from dimr.checkpoints.formats import dit
from dimr.checkpoints.formats.dit import published_name, to_theirs
from dimr.checkpoints.formats.names import (
    MAX_INPUT,
    ConversionError,
    count_blocks,
    shape_of,
    swap_prefix,
)
from dimr.models.dit import position_sinusoids

__all__ = [
    "MARK",
    "SIGNS",
    "SIZES",
    "name_in_file",
    "published_name",
    "read_sizes",
    "to_ours",
    "to_theirs",
]

MARK = "transformer_blocks."
SIGNS = (MARK,)
SIZES = dit.SIZES
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
EMBEDDERS = ("timestep_embedder.", "class_embedder.")
EMBEDDER_PREFIX = "transformer_blocks.{}.norm1.emb."


def name_in_file(name: str) -> str:
    """What diffusers calls a tensor that DiT calls ``name``; of its copies or parts, the first."""
    try:
        theirs = swap_prefix(name, {new: old for old, new in NAMES.items()})
    except ConversionError:
        return name
    prefix = EMBEDDER_PREFIX.format(0) if theirs.startswith(EMBEDDERS) else ""
    return prefix + theirs.replace(".qkv.", ".to_q.")


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
    """One copy of the embedders for all blocks, each of which must have its own, equal one."""
    merged: dict[str, Tensor] = {}
    pattern = re.escape(EMBEDDER_PREFIX).replace(r"\{\}", r"\d+")
    for name, tensor in weights.items():
        shared = re.sub(f"^{pattern}", "", name)
        first = merged.setdefault(shared, tensor)
        if first is not tensor and not torch.equal(first, tensor):
            raise ConversionError(f"tensor {name!r} differs from that of block 0: not DiT's")
    for i in range(count_blocks(weights, MARK)):
        for shared in merged:
            copy = EMBEDDER_PREFIX.format(i) + shared
            if shared.startswith(EMBEDDERS) and copy not in weights:
                raise ConversionError(f"tensor {copy!r} is missing")
    return merged


def _join_qkv(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Query, key and value of each block as one tensor, in this order."""
    joined: dict[str, Tensor] = {}
    for name, tensor in weights.items():
        whole = re.sub(r"\.to_[qkv]\.", ".qkv.", name)
        if whole == name:
            joined[name] = tensor
        elif whole not in joined:
            parts = [whole.replace(".qkv.", f".to_{part}.") for part in "qkv"]
            missing = [part for part in parts if part not in weights]
            if missing:
                raise ConversionError(f"tensor {missing[0]!r} is missing")
            if len({weights[part].shape for part in parts}) > 1:
                shapes = ", ".join(str(tuple(weights[part].shape)) for part in parts)
                raise ConversionError(f"tensor {name!r}: q, k and v differ in shape ({shapes})")
            joined[whole] = torch.cat([weights[part] for part in parts])
    return joined


def read_sizes(
    weights: dict[str, Tensor],
    num_heads: int | None,
    time_map: str | None,
    input_size: int | None,
) -> dict[str, Any]:
    """As ``dit.read_sizes``; the position embedding is added to ``weights``."""
    size = input_size or DEFAULT_INPUT_SIZE
    try:
        dim, _, _, patch = shape_of(weights, "x_embedder.proj.weight", 4)
        if size % patch:
            raise ConversionError(f"input size {size} cannot be cut into patches of {patch}")
        if size > MAX_INPUT:
            raise ConversionError(f"input size {size} (at most {MAX_INPUT})")
        grid = position_sinusoids(size // patch, dim)[None]
        weights.setdefault("pos_embed", grid.to(weights["x_embedder.proj.weight"]))
        return dit.read_sizes(weights, num_heads, time_map, input_size)
    except ConversionError as error:
        named = re.sub(r"tensor '(.+?)'", lambda m: f"tensor {name_in_file(m[1])!r}", str(error))
        raise ConversionError(named) from None
