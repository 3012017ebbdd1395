"""A network as it is built: branches, their blocks and widths, and what passes between them.

Every number is read from the network, built on the meta device: nothing is typed by hand, and
nothing is computed. ``architecture_drawing`` draws what is found here.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from dimr.config.project import Project
from dimr.config.recipes import ROOT
from dimr.config.runs import Variant, find_variant
from dimr.diffusion.loss import branch_weights
from dimr.models import DiMR, DiT, Sizes, UViT
from dimr.models.blocks import GLU, AdaLNZeroBlock, ConvNeXtBlock, TransformerBlock, UNetStack
from dimr.models.complexity import complexity, count_parameters, on_meta
from dimr.models.dimr import ConvNeXtBranch, OutputLayer, TransformerBranch
from dimr.models.norms import (
    TimeDependentLayerNorm,
    TimeDependentRMSNorm,
    UnconditionalLayerNorm,
)
from dimr.paper.tables.counts import counting_input

NORMS: dict[type[nn.Module], str] = {
    TimeDependentRMSNorm: "TD-RMS norm",
    TimeDependentLayerNorm: "TD-LN",
    UnconditionalLayerNorm: "layer norm",
}
TAU = {"latent": r"$\tau = 8t - 4$", "pixel": r"$\tau = \log\,\mathrm{SNR}(t)$"}
"""DiMR's time condition by ``time_map``, as ``dimr.models.conditioning`` computes it."""


@dataclass(frozen=True)
class Branch:
    """A branch, or the whole of a network of one resolution.

    Attributes:
        kind: of its blocks: ``Transformer`` or ``ConvNeXt``.
        side: h = w of its features.
        dim: their width D.
        patch: side of the patch of the input that becomes one of them.
        tokens: what is added to them as tokens.
        parts: numbers of blocks: in, mid, out with long skips between; or one, without.
        block: what a block does, a line each.
        cascade: how many features of which width come from the branch below: of its input and
            every block; None: there is no branch below.
        head: the layers before the output; empty: it has none.
        output: (C, h, w) that it predicts; None: nothing.
        weight: of its loss; None where it predicts nothing.
        parameters: learned in this branch.
    """

    kind: str
    side: int
    dim: int
    patch: int
    tokens: tuple[str, ...]
    parts: tuple[int, ...]
    block: tuple[str, ...]
    cascade: tuple[int, int] | None
    head: tuple[str, ...]
    output: tuple[int, int, int] | None
    weight: float | None
    parameters: int


@dataclass(frozen=True)
class Sketch:
    """All that is drawn.

    Attributes:
        name: of the variant, as papers write it.
        input: (C, H, W).
        time: how it enters, in words.
        branches: from the lowest resolution to the full one.
        parameters: learned in all.
        macs: multiply-accumulates of one image and one forward pass.
    """

    name: str
    input: tuple[int, int, int]
    time: str
    branches: tuple[Branch, ...]
    parameters: int
    macs: int


def load(variant: str, root: Path = ROOT) -> Sketch:
    """The sketch of a variant, with the input that ``dimr models`` counts it on."""
    one = find_variant(variant, root)
    return sketch(printed_name(one), one.complete(**counting_input(one, Project(root))))


def printed_name(one: Variant) -> str:
    """``DiMR-XL/3R`` for ``dimr-xl-3r``."""
    family = {"dimr": "DiMR", "uvit": "U-ViT", "dit": "DiT"}[one.family]
    size, _, change = one.size.partition("-")
    branches = "R" if one.family == "dimr" else ""
    return f"{family}-{size.upper()}/{one.number}{branches}{f' ({change})' if change else ''}"


def sketch(name: str, sizes: Sizes) -> Sketch:
    """The network of these sizes, without memory."""
    network = on_meta(sizes)
    counted = complexity(sizes)
    side, channels = sizes.input_size, sizes.channels
    if isinstance(network, DiMR):
        branches, time = _dimr(network), f"time: {TAU[sizes.time_map]}, in every norm"
    elif isinstance(network, UViT):
        branches, time = [_uvit(network)], _uvit_time(network)
    else:
        assert isinstance(network, DiT)
        branches, time = [_dit(network)], "time + class: embeddings, in every block by adaLN-Zero"
    return Sketch(
        name, (channels, side, side), time, tuple(branches), counted.parameters, counted.macs
    )


def _dimr(network: DiMR) -> list[Branch]:
    weights = branch_weights(network.predictions)
    branches: list[Branch] = []
    for branch in (network.lowest, *network.higher):
        below = branches[-1].dim if branches else None
        branches.append(_dimr_branch(branch, network.sizes.channels, below))
    predicting = [branch for branch in branches if branch.output]
    by_side = {branch.side: w for branch, w in zip(predicting, weights, strict=True)}
    return [replace(branch, weight=by_side.get(branch.side)) for branch in branches]


def _dimr_branch(
    branch: TransformerBranch | ConvNeXtBranch, channels: int, below: int | None
) -> Branch:
    """A branch above one of width ``below``; ``weight`` is set by the caller."""
    side, _, dim = branch.input.position.shape
    first, output = branch.stack.blocks[0], branch.output
    cascade = None
    if isinstance(branch, ConvNeXtBranch) and below is not None:
        cascade = (branch.cascade.expand.in_features // below, below)
    return Branch(
        kind="ConvNeXt" if isinstance(first, ConvNeXtBlock) else "Transformer",
        side=side,
        dim=dim,
        patch=branch.input.patch.stride[0],
        tokens=("class",) if isinstance(branch, TransformerBranch) else (),
        parts=_parts(branch.stack),
        block=_block(first),
        cascade=cascade,
        head=_head(output) if output else (),
        output=(channels, side, side) if output else None,
        weight=None,
        parameters=count_parameters(branch),
    )


def _uvit(network: UViT) -> Branch:
    sizes = network.sizes
    side, channels = sizes.input_size, sizes.channels
    norm = "adaLN" if network.sizes.time == "adaln_zero" else _norm(network.norm)
    return Branch(
        kind="Transformer",
        side=side // network.sizes.patch,
        dim=network.output.in_features,
        patch=network.sizes.patch,
        tokens=("class", "time") if network.sizes.time == "token" else ("class",),
        parts=_parts(network.stack),
        block=_block(network.stack.blocks[0]),
        cascade=None,
        head=(norm, "linear", *(["3×3 conv"] if network.conv else [])),
        output=(channels, side, side),
        weight=branch_weights(network.predictions)[0],
        parameters=count_parameters(network),
    )


def _uvit_time(network: UViT) -> str:
    return {
        "token": "time: a token",
        "adaln_zero": "time: an embedding, in every block by adaLN-Zero",
        "td_norm": f"time: {TAU[network.sizes.time_map]}, in every norm",
    }[network.sizes.time]


def _dit(network: DiT) -> Branch:
    sizes = network.sizes
    side = sizes.input_size
    return Branch(
        kind="Transformer",
        side=side // network.sizes.patch,
        dim=network.output.in_features,
        patch=network.sizes.patch,
        tokens=(),
        parts=(len(network.blocks),),
        block=_block(network.blocks[0]),
        cascade=None,
        head=("adaLN", "linear"),
        output=(network.output.out_features // network.sizes.patch**2, side, side),
        weight=branch_weights(network.predictions)[0],
        parameters=count_parameters(network),
    )


def _parts(stack: UNetStack) -> tuple[int, ...]:
    return stack.depth, len(stack.blocks) - 2 * stack.depth, stack.depth


def _head(output: OutputLayer) -> tuple[str, ...]:
    height, width = output.conv.kernel_size
    return _norm(output.norm), f"{height}×{width} conv"


def _block(block: Any) -> tuple[str, ...]:
    """What a block does, in order."""
    if isinstance(block, ConvNeXtBlock):
        height, width = block.depthwise.kernel_size
        feed_forward = f"{_norm(block.norm)}, {_feed_forward(block.feed_forward)}"
        return f"{height}×{width} depthwise conv", feed_forward
    assert isinstance(block, TransformerBlock | AdaLNZeroBlock)
    adaln = isinstance(block, AdaLNZeroBlock)
    norm = "adaLN-Zero" if adaln else _norm(block.norm1)
    return (
        f"{norm}, attention, {block.attention.heads} heads",
        f"{norm}, {_feed_forward(block.feed_forward)}",
    )


def _norm(layer: Any) -> str:
    return NORMS[type(layer)]


def _feed_forward(layer: Any) -> str:
    if isinstance(layer, GLU):
        return f"GLU {layer.w2.in_features // layer.w2.out_features}D"
    return f"MLP {layer.fc2.in_features // layer.fc2.out_features}D"
