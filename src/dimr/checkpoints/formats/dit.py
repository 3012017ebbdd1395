"""DiT's checkpoints as the authors name them (facebookresearch/DiT), and diffusers' DiT folders.

In diffusers (``DiTTransformer2DModel``) every block has a copy of the time and class embedders,
which DiT has once: they are merged after checking that they are equal. Query, key and value are one
matrix in DiT. The position embedding is not in the file; it is a formula.

The result is DiT's network, from which diffusers' own differs slightly: the frequencies of its
time embedding fall to 1/10000 over 127 steps (``downscale_freq_shift=1``), DiT's over 128.
"""

import re
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from dimr.checkpoints.formats.base import (
    ConversionError,
    Format,
    Shapes,
    Tensors,
    count_numbered,
    renamed,
)
from dimr.models.sizes import DiTSizes

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
DIFFUSERS_NAMES = {
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
EMBEDDER_COPY = re.compile(r"^transformer_blocks\.\d+\.norm1\.emb\.")
HEADS = {384: 6, 768: 12, 1024: 16, 1152: 16}
DEFAULT_INPUT_SIZE = 32  # the models for images of 256 x 256


def published_name(ours: str, sizes: DiTSizes) -> str:  # noqa: ARG001
    """DiT's name of one of our tensors."""
    return renamed(ours, NAMES)


def read_sizes(shapes: Shapes, input_size: int | None = None) -> dict[str, Any]:
    """The network's sizes, heads aside; the input's from the position embedding if not given."""
    dim, channels, patch, _ = shapes.of("x_embedder.proj.weight", 4)
    labels, _ = shapes.of("y_embedder.embedding_table.weight", 2)
    outputs = shapes.of("final_layer.linear.weight", 2)[0] // patch**2
    if input_size is None:
        input_size = shapes.side("pos_embed", shapes.of("pos_embed", 3)[1], patch)
    return {
        "depth": shapes.count("blocks."),
        "dim": dim,
        "patch": patch,
        "input_size": input_size,
        "channels": channels,
        "num_classes": labels - 1,
        "learn_sigma": outputs == 2 * channels,
        "time_map": shapes.time_map(channels),
    }


def read_diffusers_sizes(shapes: Shapes) -> dict[str, Any]:
    """As ``read_sizes``, of decoded tensors; files rarely hold the position embedding."""
    given = shapes.told_input_size or DEFAULT_INPUT_SIZE
    return read_sizes(shapes, None if "pos_embed" in shapes.tensors else given)


def diffusers_name(name: str) -> str:
    """What diffusers calls a tensor that DiT calls ``name``; of its copies or parts, the first."""
    try:
        theirs = renamed(name, {dit: diffusers for diffusers, dit in DIFFUSERS_NAMES.items()})
    except ConversionError:
        return name
    copy = "transformer_blocks.0.norm1.emb." if theirs.startswith(EMBEDDERS) else ""
    return copy + theirs.replace(".qkv.", ".to_q.")


def decode_diffusers(tensors: Tensors) -> Tensors:
    """diffusers' tensors under DiT's names: one copy of the embedders; q, k and v as one."""
    merged: Tensors = {}
    for name, tensor in tensors.items():
        first = merged.setdefault(EMBEDDER_COPY.sub("", name), tensor)
        if first is not tensor and not torch.equal(first, tensor):
            raise ConversionError(f"tensor {name!r} differs from that of block 0: not DiT's")
    for i in range(count_numbered(tensors, "transformer_blocks.")):
        for name in filter(lambda n: n.startswith(EMBEDDERS), merged):
            if (copy := f"transformer_blocks.{i}.norm1.emb.{name}") not in tensors:
                raise ConversionError(f"tensor {copy!r} is missing")
    parts: dict[str, Tensors] = defaultdict(dict)
    for name, tensor in merged.items():
        parts[re.sub(r"\.to_[qkv]\.", ".qkv.", name)][name] = tensor
    return {_dit_name(whole): _join(whole, part) for whole, part in parts.items()}


def _dit_name(name: str) -> str:
    try:
        return renamed(name, DIFFUSERS_NAMES)
    except ConversionError:
        raise ConversionError(f"tensor {name!r} is not of diffusers' DiT") from None


def _join(name: str, parts: Tensors) -> Tensor:
    """Query, key and value below one another; any other tensor as it is."""
    if name in parts:
        return parts[name]
    names = [name.replace(".qkv.", f".to_{part}.") for part in "qkv"]
    if missing := [part for part in names if part not in parts]:
        raise ConversionError(f"tensor {missing[0]!r} is missing")
    if len({parts[part].shape for part in names}) > 1:
        shapes = ", ".join(str(tuple(parts[part].shape)) for part in names)
        raise ConversionError(f"tensor {name!r}: q, k and v differ in shape ({shapes})")
    return torch.cat([parts[part] for part in names])


FORMATS = (
    Format(
        "dit", DiTSizes, signs=("x_embedder.", "t_embedder.", "y_embedder."), heads=HEADS.get,
        published_name=published_name, read_sizes=read_sizes,
    ),
    Format(
        "diffusers-dit", DiTSizes, signs=("transformer_blocks.",), heads=HEADS.get,
        published_name=published_name, read_sizes=read_diffusers_sizes,
        decode=decode_diffusers, name_in_file=diffusers_name, computed=("pos_embed",),
    ),
)  # fmt: skip
