"""The authors' DiMR checkpoints (their repository: qihao067/DiMR).

They call a branch ``stages.r``, lowest first; ours are ``lowest`` and ``higher.{r-1}``. Position
embeddings are (h w, D) there and (h, w, D) here; every other tensor keeps its shape.
"""

import re
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
from dimr.models.dimr import DiMR
from dimr.models.sizes import DiMRSizes

MARK = "stages."
SIGNS = ("stages.0.input_layer.", "stages.0.class_embeds.")  # ConvNeXt has stages too
SIZES = DiMRSizes
HEADS = 16  # of every published size

# Our name within a branch -> the authors', as prefixes.
TRANSFORMER_NAMES = {
    "label.": "class_embeds.",
    "stack.blocks.{i}.norm1.": "blocks.{i}.block1.norm.",
    "stack.blocks.{i}.attention.qkv.": "blocks.{i}.block1.query_key_value.",
    "stack.blocks.{i}.attention.out.": "blocks.{i}.block1.dense.",
    "stack.blocks.{i}.norm2.": "blocks.{i}.block2.norm.",
    "stack.blocks.{i}.feed_forward.w": "blocks.{i}.block2.w",
}
CONVNEXT_NAMES = {
    "stack.blocks.{i}.depthwise.": "blocks.{i}.block1.1.",
    "stack.blocks.{i}.norm.": "blocks.{i}.block2.norm.",
    "stack.blocks.{i}.feed_forward.w": "blocks.{i}.block2.w",
    "cascade.norm_in.": "upsample.0.",
    "cascade.expand.": "upsample.1.kernel.",
    "cascade.norm_out.": "upsample.2.",
}
SHARED_NAMES = {
    "input.patch.": "input_layer.1.",
    "input.position": "input_layer.3.position_embeddings.weight",
    "stack.skips.{i}.": "skip_denses.{i}.",
    "output.norm.": "output_layer.0.",
    "output.conv.": "output_layer.2.",
}
PARAMETER_NAMES = {"p0": "param0", "p1": "param1", "w": "nodecay_weight", "b": "nodecay_bias"}


def published_name(ours: str, network: DiMR) -> str:
    """The authors' name of one of our tensors."""
    if network.sizes.outputs == "last":
        raise ConversionError("a DiMR whose last branch alone has an output is not the authors'")
    head, _, rest = ours.removeprefix("higher.").partition(".")
    stage = 0 if head == "lowest" else int(head) + 1
    name = swap_prefix(rest, {**SHARED_NAMES, **(CONVNEXT_NAMES if stage else TRANSFORMER_NAMES)})
    match = re.fullmatch(r"(.*)\.(scale|shift)\.(p0|p1|w|b)", name)
    if match:  # a layer norm has "weight" and "bias", an RMS norm (inside blocks) a "scale"
        rms = network.sizes.norm == "rms" and ".norm" in match[1]
        part = "scale" if rms else {"scale": "weight", "shift": "bias"}[match[2]]
        name = f"{match[1]}.{part}.{PARAMETER_NAMES[match[3]]}"
    return f"stages.{stage}.{name}"


def read_sizes(
    weights: Mapping[str, Tensor],
    num_heads: int | None,
    time_map: str | None,
    input_size: int | None,  # noqa: ARG001  (the position embedding tells it)
) -> dict[str, Any]:
    """The network's sizes, read from names and shapes; KeyError: a tensor that is missing."""
    stages = {int(m[1]) for n in weights if (m := re.match(r"stages\.(\d{1,4})\.", n))}
    branches = len(stages)
    if branches != 1 + max(stages, default=-1):
        raise ConversionError(f"branches (stages.R) are {sorted(stages)}, with a gap")
    patches = [shape_of(weights, f"stages.{r}.input_layer.1.weight", 4) for r in range(branches)]
    last = f"stages.{branches - 1}.input_layer.3.position_embeddings.weight"
    dims = [patch[0] for patch in patches]
    channels = patches[0][1]
    norms = "block2.norm.scale.param0"
    return {
        "layers": [count_blocks(weights, f"stages.{r}.blocks.") for r in range(branches)],
        "dims": dims,
        "heads": heads_of(dims[0], HEADS, num_heads),
        "input_size": input_side(shape_of(weights, last, 2)[0], patches[-1][-1], last),
        "channels": channels,
        "num_classes": shape_of(weights, "stages.0.class_embeds.weight", 2)[0] - 1,
        "norm": "rms" if any(n.endswith(norms) for n in weights) else "layer",
        "time_map": time_map or likely_time_map(channels),
    }


def to_ours(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The authors' tensors need no change before they are matched by name."""
    return weights


def to_theirs(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Position embeddings (h, w, D) to (h w, D)."""
    flat = "position_embeddings.weight"
    return {n: t.flatten(0, 1) if n.endswith(flat) else t for n, t in weights.items()}
