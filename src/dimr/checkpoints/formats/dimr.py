"""The authors' DiMR checkpoints (repository qihao067/DiMR).

They call a branch ``stages.r``, lowest first; ours are ``lowest`` and ``higher.{r-1}``. Position
embeddings are (h w, D) there and (h, w, D) here; every other tensor has the same shape.

A network of text has no ``class_embeds``, and a ``condition_key_value`` in each attention.
"""

import re
from typing import Any

from dimr.checkpoints.formats.base import ConversionError, Format, Shapes, renamed
from dimr.models.sizes import DiMRSizes

# Our name within a branch -> the authors', as prefixes.
TRANSFORMER_NAMES = {
    "label.": "class_embeds.",
    "stack.blocks.{i}.norm1.": "blocks.{i}.block1.norm.",
    "stack.blocks.{i}.attention.qkv.": "blocks.{i}.block1.query_key_value.",
    "stack.blocks.{i}.attention.text.": "blocks.{i}.block1.condition_key_value.",
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


def published_name(ours: str, sizes: DiMRSizes) -> str:
    """The authors' name of one of our tensors."""
    if sizes.outputs == "last":
        raise ConversionError("a DiMR whose loss counts its last branch only is not the authors'")
    head, _, rest = ours.removeprefix("higher.").partition(".")
    stage = 0 if head == "lowest" else int(head) + 1
    name = renamed(rest, {**SHARED_NAMES, **(CONVNEXT_NAMES if stage else TRANSFORMER_NAMES)})
    match = re.fullmatch(r"(.*)\.(scale|shift)\.(p0|p1|w|b)", name)
    if match:  # a layer norm has "weight" and "bias", an RMS norm (inside blocks) a "scale"
        rms = sizes.norm == "rms" and ".norm" in match[1]
        part = "scale" if rms else {"scale": "weight", "shift": "bias"}[match[2]]
        name = f"{match[1]}.{part}.{PARAMETER_NAMES[match[3]]}"
    return f"stages.{stage}.{name}"


def read_sizes(shapes: Shapes) -> dict[str, Any]:
    """The network's sizes, heads aside."""
    stages = {int(m[1]) for n in shapes.tensors if (m := re.match(r"stages\.(\d{1,4})\.", n))}
    branches = range(len(stages))
    if len(stages) != 1 + max(stages):
        raise ConversionError(f"branches (stages.R) are {sorted(stages)}, with a gap")
    patches = [shapes.of(f"stages.{r}.input_layer.1.weight", 4) for r in branches]
    last = f"stages.{branches[-1]}.input_layer.3.position_embeddings.weight"
    _, channels, patch, _ = patches[-1]
    if any(".condition_key_value." in name for name in shapes.tensors):
        text = "stages.0.blocks.0.block1.condition_key_value.weight"
        told = {"num_classes": 0, "text_dim": shapes.of(text, 2)[1]}
    else:
        told = {"num_classes": shapes.of("stages.0.class_embeds.weight", 2)[0] - 1}
    rms = any(name.endswith("block2.norm.scale.param0") for name in shapes.tensors)
    return {
        "layers": [shapes.count(f"stages.{r}.blocks.") for r in branches],
        "dims": [dim for dim, *_ in patches],
        "input_size": shapes.side(last, shapes.of(last, 2)[0], patch),
        "channels": channels,
        **told,
        "norm": "rms" if rms else "layer",
        "time_map": shapes.time_map(channels),
    }


FORMATS = (
    Format(
        "dimr", DiMRSizes,
        signs=("stages.0.input_layer.", "stages.0.class_embeds."),  # ConvNeXt has stages, too
        heads=lambda _: 16,
        published_name=published_name, read_sizes=read_sizes,
        publish_position=lambda position: position.flatten(0, 1),
    ),
)  # fmt: skip
