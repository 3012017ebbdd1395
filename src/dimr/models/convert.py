"""The authors' checkpoints and ours: one table of names, read in both directions.

The authors (their repository: qihao067/DiMR) call a branch ``stages.r``, lowest first. Ours are
``lowest`` and ``higher.{r-1}``. Position embeddings are (h w, D) there and (h, w, D) here; every
other tensor keeps its shape.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from dimr.models.multires import MultiResolutionNetwork

PARAMETER_NAMES = {"param0": "p0", "param1": "p1", "nodecay_weight": "w", "nodecay_bias": "b"}

# Authors' name within a branch -> ours, as prefixes. Norms appear as (place, part of the norm).
TRANSFORMER_NAMES = {
    "class_embeds.": "label.",
    "blocks.{i}.block1.norm.": "stack.blocks.{i}.norm1.",
    "blocks.{i}.block1.query_key_value.": "stack.blocks.{i}.attention.qkv.",
    "blocks.{i}.block1.dense.": "stack.blocks.{i}.attention.out.",
    "blocks.{i}.block2.norm.": "stack.blocks.{i}.norm2.",
    "blocks.{i}.block2.": "stack.blocks.{i}.glu.",
}
CONVNEXT_NAMES = {
    "blocks.{i}.block1.1.": "stack.blocks.{i}.depthwise.",
    "blocks.{i}.block2.norm.": "stack.blocks.{i}.norm.",
    "blocks.{i}.block2.": "stack.blocks.{i}.glu.",
    "upsample.0.": "cascade.norm_in.",
    "upsample.1.kernel.": "cascade.expand.",
    "upsample.2.": "cascade.norm_out.",
}
SHARED_NAMES = {
    "input_layer.1.": "input.patch.",
    "input_layer.3.position_embeddings.weight": "input.position",
    "skip_denses.{i}.": "stack.skips.{i}.",
    "output_layer.0.": "output.norm.",
    "output_layer.2.": "output.conv.",
}


class ConversionError(ValueError):
    """Weights that are no network of ours; the message is one line and names a tensor."""


def _split_stage(name: str) -> tuple[int, str]:
    match = re.fullmatch(r"stages\.(\d+)\.(.+)", name)
    if match is None:
        raise ConversionError(f"tensor {name!r} is none of the authors' DiMR names (stages.R.*)")
    return int(match[1]), match[2]


def _swap_prefix(name: str, table: Mapping[str, str]) -> str | None:
    """Replace the longest prefix of ``table`` that fits; ``{i}`` stands for a number."""
    for old, new in sorted(table.items(), key=lambda pair: -len(pair[0])):
        pattern = re.escape(old).replace(re.escape("{i}"), r"(?P<i>\d+)")
        match = re.match(pattern, name)
        if match:
            index = match.groupdict().get("i", "")
            return new.replace("{i}", index) + name[match.end() :]
    return None


def _swap_norm(name: str) -> str:
    """``...norm.weight.param0`` -> ``...norm.scale.p0``; names of no norm pass unchanged."""
    match = re.fullmatch(r"(.*)\.(weight|bias|scale)\.(\w+)", name)
    if match is None or match[3] not in PARAMETER_NAMES:
        return name
    part = "shift" if match[2] == "bias" else "scale"
    return f"{match[1]}.{part}.{PARAMETER_NAMES[match[3]]}"


def our_name(name: str) -> str:
    """Our name of one of the authors' tensors; ``ConversionError`` if it is none of theirs."""
    stage, rest = _split_stage(name)
    table = {**SHARED_NAMES, **(CONVNEXT_NAMES if stage else TRANSFORMER_NAMES)}
    swapped = _swap_prefix(rest, table)
    if swapped is None:
        raise ConversionError(f"tensor {name!r} is none of the authors' DiMR names")
    branch = f"higher.{stage - 1}" if stage else "lowest"
    return f"{branch}.{_swap_norm(swapped)}"


def _sizes(weights: Mapping[str, Tensor], num_heads: int | None, time_map: str | None) -> dict:
    """The network's sizes, read from names and shapes."""
    branches = 1 + max(_split_stage(name)[0] for name in weights)
    try:
        patches = [weights[f"stages.{r}.input_layer.1.weight"] for r in range(branches)]
        labels = weights["stages.0.class_embeds.weight"]
        last = weights[f"stages.{branches - 1}.input_layer.3.position_embeddings.weight"]
    except KeyError as error:
        raise ConversionError(f"tensor {error} is missing") from None
    dims = [patch.shape[0] for patch in patches]
    channels = patches[0].shape[1]
    heads = 16 if num_heads is None else num_heads
    if dims[0] % heads:
        raise ConversionError(
            f"width {dims[0]} cannot be split into {heads} heads: give num_heads "
            "(the shapes do not tell it; the published networks have 16)"
        )
    blocks = [
        len({n.split(".")[3] for n in weights if n.startswith(f"stages.{r}.blocks.")})
        for r in range(branches)
    ]
    return {
        "layers": blocks,
        "dims": dims,
        "heads": heads,
        "input_size": math.isqrt(last.shape[0]) * patches[-1].shape[-1],
        "channels": channels,
        "num_classes": labels.shape[0] - 1,
        "norm": "rms" if any(n.endswith("block2.norm.scale.param0") for n in weights) else "layer",
        "time_map": time_map or {3: "pixel"}.get(channels, "latent"),
    }


def from_published(
    state_dict: Mapping[str, Tensor], num_heads: int | None = None, time_map: str | None = None
) -> MultiResolutionNetwork:
    """Build the network that a published state dict holds, with its weights.

    Args:
        state_dict: tensors under the authors' DiMR names. All sizes are read from them.
        num_heads: heads of the lowest branch, which no shape tells; None: 16, as published.
        time_map: ``latent`` or ``pixel``; None: pixel for 3 channels, else latent.

    Raises:
        ConversionError: a name, a missing tensor or a shape that does not fit. Nothing is loaded.
    """
    if not state_dict:
        raise ConversionError("no tensors at all")
    renamed = {our_name(name): tensor for name, tensor in state_dict.items()}
    with torch.device("meta"):
        network = MultiResolutionNetwork(**_sizes(state_dict, num_heads, time_map))
    expected = network.state_dict()
    for name in expected.keys() - renamed.keys():
        raise ConversionError(f"tensor {name!r} (our name) is missing")
    for name in renamed.keys() - expected.keys():
        raise ConversionError(f"tensor {name!r} (our name) is one too many")
    for name, tensor in renamed.items():
        if name.endswith("input.position") and tensor.ndim == 2:
            side = math.isqrt(tensor.shape[0])
            renamed[name] = tensor = tensor.reshape(side, -1, tensor.shape[1])
        if tensor.shape != expected[name].shape:
            shapes = f"{tuple(tensor.shape)}, not {tuple(expected[name].shape)}"
            raise ConversionError(f"tensor {name!r} has shape {shapes}")
    network.load_state_dict(renamed, assign=True)
    return network.requires_grad_()


def to_published(network: MultiResolutionNetwork) -> dict[str, Tensor]:
    """The network's weights under the authors' names: the inverse of ``from_published``."""
    names = {our_name(name): name for name in _published_names(network)}
    weights = {}
    for ours, tensor in network.state_dict().items():
        flat = ours.endswith("input.position")
        weights[names[ours]] = tensor.flatten(0, 1) if flat else tensor
    return weights


def _published_names(network: MultiResolutionNetwork) -> list[str]:
    """The authors' names of this network's tensors, by the tables above read backwards."""
    parameter = {ours: theirs for theirs, ours in PARAMETER_NAMES.items()}
    names = []
    for ours in network.state_dict():
        head, _, rest = ours.removeprefix("higher.").partition(".")
        stage = 0 if head == "lowest" else int(head) + 1
        table = {**SHARED_NAMES, **(CONVNEXT_NAMES if stage else TRANSFORMER_NAMES)}
        name = _swap_prefix(rest, {new: old for old, new in table.items()})
        if name is None:
            raise ConversionError(f"tensor {ours!r} is none of this network's names")
        match = re.fullmatch(r"(.*)\.(scale|shift)\.(p0|p1|w|b)", name)
        if match:
            rms = network.config["norm"] == "rms" and ".norm" in match[1]
            part = "scale" if rms else {"scale": "weight", "shift": "bias"}[match[2]]
            name = f"{match[1]}.{part}.{parameter[match[3]]}"
        names.append(f"stages.{stage}.{name}")
    return names
