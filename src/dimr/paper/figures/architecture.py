"""A network as it is built, drawn: branches, their blocks and widths, and what they exchange.

Every number is read from the network on the meta device: nothing is typed by hand or computed.
Positions in the drawing are in inches, so that text, whose size is fixed, fits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from dimr.config.project import Project
from dimr.diffusion.loss import branch_weights
from dimr.models import DiMR, DiMRSizes, DiT, UViT
from dimr.models.blocks import GLU, UNetStack
from dimr.models.complexity import complexity, count_parameters, on_meta
from dimr.models.dimr import HigherBranch, LowestBranch
from dimr.models.norms import (
    TimeDependentLayerNorm,
    TimeDependentRMSNorm,
    UnconditionalLayerNorm,
)
from dimr.models.sizes import Sizes
from dimr.paper.figures import style
from dimr.paper.figures.definitions import ArchitectureFigure
from dimr.paper.tables.counts import counting_input

NORMS: dict[type, str] = {
    TimeDependentRMSNorm: "TD-RMS norm",
    TimeDependentLayerNorm: "TD-LN",
    UnconditionalLayerNorm: "layer norm",
}
TAU = {"latent": r"$\tau = 8t - 4$", "pixel": r"$\tau = \log\,\mathrm{SNR}(t)$"}
"""DiMR's time condition by ``time_map``, as ``dimr.models.conditioning`` computes it."""

OTHER = {
    ("first", "convnext"): "class: added to the first branch's input",
    ("cascade", "concat"): "+: concatenated",
    ("branch_skips", True): "skips between branches",
}
"""In words, what the drawing does not show about the networks that DiMR is compared with."""

ROW, HEIGHT, TOP = 1.34, 0.52, 0.42  # heights of a row, a box, the heading
NOISY, INPUT, ADD, IN, MID, OUT, HEAD, END = 0.05, 0.72, 1.36, 1.50, 2.46, 3.14, 4.12, 4.90
"""Left edges of what is in a row; ``ADD`` is a centre."""
WIDTHS = {NOISY: 0.56, INPUT: 0.52, IN: 0.84, MID: 0.56, OUT: 0.84, HEAD: 0.62}
COLOURS = {"Transformer": "#CFE8F7", "ConvNeXt": "#FBE3B8"}
IO, CASCADE = "#EEEEEE", "#CDEBDD"
TINY = 5.5  # points


@dataclass(frozen=True)
class Branch:
    """A branch, or the whole of a network of one resolution.

    Attributes:
        kind: of its blocks: ``Transformer`` or ``ConvNeXt``.
        side: h = w of its features.
        dim: their width D.
        patch: side of the patch of the input that becomes one feature.
        tokens: what is added to them as tokens.
        parts: numbers of blocks: in, mid, out with long skips between; or one number, without.
        block: what a block does, one line per step.
        head: the layers before the output.
        output: (C, h, w) that it predicts.
        weight: of its loss.
        parameters: learned in this branch.
        cascade: how many features of which width come from the branch below: of its input and
            every block; None: there is no branch below.
    """

    kind: str
    side: int
    dim: int
    patch: int
    tokens: tuple[str, ...]
    parts: tuple[int, ...]
    block: tuple[str, ...]
    head: tuple[str, ...]
    output: tuple[int, int, int]
    weight: float
    parameters: int
    cascade: tuple[int, int] | None = None


@dataclass(frozen=True)
class Sketch:
    """What is drawn for a network.

    Attributes:
        name: of the variant, as papers write it.
        input: (C, H, W).
        time: how it enters, in words.
        branches: from the lowest resolution to the full one.
        parameters: number of learned values.
        macs: multiply-accumulates of one image and one forward pass.
    """

    name: str
    input: tuple[int, int, int]
    time: str
    branches: tuple[Branch, ...]
    parameters: int
    macs: int


def make(definition: ArchitectureFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition; it shows no runs."""
    return draw(load(definition.variant, project))


def load(variant: str, project: Project) -> Sketch:
    """The sketch of a variant, for the input on which ``dimr models`` counts it."""
    one = project.variant(variant)
    return sketch(one.title, one.complete(**counting_input(one, project)))


def sketch(name: str, sizes: Sizes) -> Sketch:
    """The network of these sizes, without memory."""
    network, counted = on_meta(sizes), complexity(sizes)
    if isinstance(network, DiMR):
        branches, time = _dimr(network), f"time: {TAU[sizes.time_map]}, in every norm"
        if network.sizes.norm == "adaln_zero":
            time = "time: an embedding per branch, in every block by adaLN-Zero"
        time += "".join(
            f"; {words}" for (key, value), words in OTHER.items() if getattr(sizes, key) == value
        )
    elif isinstance(network, UViT):
        branches = [_single(network, network.stack.blocks[0], _parts(network.stack))]
        time = {
            "token": "time: a token",
            "adaln_zero": "time: an embedding, in every block by adaLN-Zero",
            "td_ln": f"time: {TAU[sizes.time_map]}, in every norm",
        }[network.sizes.time]
    else:
        assert isinstance(network, DiT)
        branches = [_single(network, network.blocks[0], (len(network.blocks),))]
        time = "time + class: embeddings, in every block by adaLN-Zero"
    shape = (sizes.channels, sizes.input_size, sizes.input_size)
    return Sketch(name, shape, time, tuple(branches), counted.parameters, counted.macs)


def _dimr(network: DiMR) -> list[Branch]:
    weights = branch_weights(network.predictions, network.counted)
    branches = enumerate((network.lowest, *network.higher))
    return [_dimr_branch(network.sizes, r, branch, weights[r]) for r, branch in branches]


def _dimr_branch(
    sizes: DiMRSizes, number: int, branch: LowestBranch | HigherBranch, weight: float
) -> Branch:
    side, _, dim = branch.input.position.shape
    first, output, cascade = branch.stack.blocks[0], branch.output, None
    if isinstance(branch, HigherBranch):
        below = sizes.dims[number - 1]
        cascade = (branch.cascade.expand.in_features // below, below)
    return Branch(
        kind="ConvNeXt" if hasattr(first, "depthwise") else "Transformer",
        side=side,
        dim=dim,
        patch=branch.input.patch.stride[0],
        tokens=("class",) if isinstance(branch, LowestBranch) and branch.has_token else (),
        parts=_parts(branch.stack),
        block=_block(first),
        head=(NORMS[type(output.norm)], "{}×{} conv".format(*output.conv.kernel_size)),
        output=(sizes.channels, side, side),
        weight=weight,
        parameters=count_parameters(branch),
        cascade=cascade,
    )


def _single(network: UViT | DiT, block: Any, parts: tuple[int, ...]) -> Branch:
    """The whole of a network of one resolution, whose blocks are all like ``block``."""
    side, patch = network.sizes.input_size, network.sizes.patch
    time = network.sizes.time if isinstance(network, UViT) else "adaln_zero"
    tokens = ("class", "time") if time == "token" else ("class",)
    norm = "adaLN" if time == "adaln_zero" else NORMS[type(network.norm)]
    return Branch(
        kind="Transformer",
        side=side // patch,
        dim=network.output.in_features,
        patch=patch,
        tokens=tokens if isinstance(network, UViT) else (),
        parts=parts,
        block=_block(block),
        head=(norm, "linear", *(["3×3 conv"] if getattr(network, "conv", None) else [])),
        output=(network.output.out_features // patch**2, side, side),
        weight=branch_weights(network.predictions)[0],
        parameters=count_parameters(network),
    )


def _parts(stack: UNetStack) -> tuple[int, ...]:
    return stack.depth, len(stack.blocks) - 2 * stack.depth, stack.depth


def _block(block: Any) -> tuple[str, ...]:
    """What a block does, in order."""
    layer = block.feed_forward
    if isinstance(layer, GLU):
        feed_forward = f"GLU {layer.w2.in_features // layer.w2.out_features}D"
    else:
        feed_forward = f"MLP {layer.fc2.in_features // layer.fc2.out_features}D"
    is_adaln, is_convnext = hasattr(block, "modulation"), hasattr(block, "depthwise")
    norm = "adaLN-Zero" if is_adaln else NORMS[type(block.norm if is_convnext else block.norm1)]
    if not is_convnext:
        return f"{norm}, attention, {block.attention.heads} heads", f"{norm}, {feed_forward}"
    before = f"{norm}, " if is_adaln else ""
    convolution = "{}×{} depthwise conv".format(*block.depthwise.kernel_size)
    return before + convolution, f"{norm}, {feed_forward}"


# --- the drawing ----------------------------------------------------------------------------------


def draw(sketch: Sketch) -> Figure:
    """The network as a picture: a row per branch, the lowest resolution at the bottom."""
    height = ROW * len(sketch.branches) + TOP
    figure = Figure(figsize=(style.WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, style.WIDTH), ylim=(0, height))
    axes.axis("off")
    shape = "{}×{}×{}".format(*sketch.input)
    heading = f"{sketch.name}: {_millions(sketch.parameters)} parameters, "
    heading += f"{sketch.macs / 1e9:,.3g} GMACs for {shape}"
    axes.text(0.05, height - 0.14, heading, va="center", fontweight="bold")
    axes.text(0.05, height - 0.31, sketch.time, va="center", fontsize=style.SMALL)
    middles = [ROW * (number + 0.5) for number in range(len(sketch.branches))]
    for number, (branch, middle) in enumerate(zip(sketch.branches, middles, strict=True)):
        _row(axes, branch, middle)
        if number:
            _cascade(axes, branch, middles[number - 1], middle)
    _input(axes, shape, middles)
    return figure


def _input(axes: Axes, shape: str, middles: Sequence[float]) -> None:
    """The noisy input at the left, feeding every branch."""
    centre = (middles[0] + middles[-1]) / 2
    _box(axes, NOISY, centre, f"$x_t$\n{shape}", IO)
    place = NOISY + WIDTHS[NOISY] / 2
    for middle in middles:
        if abs(middle - centre) < HEIGHT:
            style.arrow(axes, (NOISY + WIDTHS[NOISY], centre), (INPUT, centre))
        else:
            edge = HEIGHT / 2 if middle > centre else -HEIGHT / 2
            style.line(axes, [(place, centre + edge), (place, middle)])
            style.arrow(axes, (place, middle), (INPUT, middle))


def _millions(parameters: int) -> str:
    """With at least three digits: 0.856M, 525M."""
    millions = parameters / 1e6
    return f"{millions:,.0f}M" if millions >= 100 else f"{millions:.3g}M"


def _row(axes: Axes, branch: Branch, middle: float) -> None:
    text = f"{branch.kind}, {branch.side}×{branch.side}, $D$ = {branch.dim}, "
    text += f"{_millions(branch.parameters)} parameters"
    axes.text(IN, middle + 0.53, text, va="center", fontsize=style.SMALL)
    stride = f"\nstride {branch.patch}" if branch.patch > 1 else ""
    _box(axes, INPUT, middle, f"{branch.patch}×{branch.patch} conv{stride}\n+ position", IO)
    joined = bool(branch.cascade or branch.tokens)
    end = ADD - 0.06 if joined else IN
    style.arrow(axes, (INPUT + WIDTHS[INPUT], middle), (end, middle))
    if joined:
        _join(axes, middle, "+" if branch.cascade else ",")
        style.arrow(axes, (ADD + 0.06, middle), (IN, middle))
    if branch.tokens:
        words = " and ".join(branch.tokens) + " token" + "s" * (len(branch.tokens) > 1)
        axes.text(ADD, middle - 0.44, words, ha="center", va="top", fontsize=TINY)
        style.arrow(axes, (ADD, middle - 0.42), (ADD, middle - 0.06))
    _stack(axes, branch, middle)
    _output(axes, branch, middle)
    axes.text(IN, middle - 0.36, "a block: " + "; ".join(branch.block), va="center", fontsize=TINY)


def _stack(axes: Axes, branch: Branch, middle: float) -> None:
    """The blocks: in, mid, out with a long skip over the middle, or all in one box."""
    colour = COLOURS[branch.kind]
    if len(branch.parts) == 1:
        _box(axes, IN, middle, f"{branch.parts[0]} blocks", colour, OUT + WIDTHS[OUT] - IN)
        return
    for place, count, name in zip((IN, MID, OUT), branch.parts, ("in", "mid", "out"), strict=True):
        _box(axes, place, middle, f"{count} {name}\nblock{'s' if count > 1 else ''}", colour)
    style.arrow(axes, (IN + WIDTHS[IN], middle), (MID, middle))
    style.arrow(axes, (MID + WIDTHS[MID], middle), (OUT, middle))
    if branch.parts[0]:
        left, right, up = IN + WIDTHS[IN] * 0.75, OUT + WIDTHS[OUT] * 0.25, middle + 0.38
        style.line(axes, [(left, middle + HEIGHT / 2), (left, up), (right, up)])
        style.arrow(axes, (right, up), (right, middle + HEIGHT / 2))
        text = f"{branch.parts[0]} long skip{'s' if branch.parts[0] > 1 else ''}"
        axes.text((left + right) / 2, up, text, ha="center", va="center", fontsize=TINY,
                  bbox={"fc": "white", "lw": 0, "pad": 0.8})  # fmt: skip


def _output(axes: Axes, branch: Branch, middle: float) -> None:
    """The head, the prediction's shape and the weight of its loss."""
    style.arrow(axes, (OUT + WIDTHS[OUT], middle), (HEAD, middle))
    _box(axes, HEAD, middle, "\n".join(branch.head), IO)
    style.arrow(axes, (HEAD + WIDTHS[HEAD], middle), (END, middle))
    channels, side, _ = branch.output
    text = f"{channels}×{side}×{side}\n\nloss ×{Fraction(branch.weight)}"
    axes.text(END + 0.02, middle, text, va="center", fontsize=style.SMALL)


def _cascade(axes: Axes, branch: Branch, below: float, middle: float) -> None:
    """Features of the input and all blocks below, through the cascade, to the sum above."""
    level, start = below + 0.77, OUT + WIDTHS[OUT] + 0.07
    assert branch.cascade is not None
    count, width = branch.cascade
    text = f"cascade: {count} × {width} features → 4 × {branch.dim}, pixel shuffle ×2"
    style.line(axes, [(start, below), (start, level), (ADD, level)], style.GREEN)
    style.arrow(axes, (ADD, level), (ADD, middle - 0.06), style.GREEN)
    axes.text((ADD + start) / 2, level, text, ha="center", va="center", fontsize=TINY,
              bbox={"boxstyle": "round,pad=0.25", "fc": CASCADE, "lw": 0.6})  # fmt: skip


def _box(
    axes: Axes, left: float, middle: float, text: str, colour: str, width: float | None = None
) -> None:
    width = width or WIDTHS[left]
    patch = FancyBboxPatch((left, middle - HEIGHT / 2), width, HEIGHT, facecolor=colour,
                           boxstyle="round,pad=0,rounding_size=0.05", linewidth=0.6)  # fmt: skip
    axes.add_patch(patch)
    size = TINY if colour == IO else style.SMALL
    axes.text(left + width / 2, middle, text, ha="center", va="center", fontsize=size)


def _join(axes: Axes, middle: float, sign: str) -> None:
    """A sum (+), or tokens put before the others (,)."""
    axes.plot(ADD, middle, marker="o", markersize=8, color="white", markeredgecolor=style.BLACK,
              markeredgewidth=0.6)  # fmt: skip
    raised = 0.02 if sign == "," else 0
    axes.text(ADD, middle + raised, sign, ha="center", va="center_baseline", fontsize=style.NORMAL)
