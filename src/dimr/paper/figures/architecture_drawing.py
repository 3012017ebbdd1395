"""Draws the sketch of a network: a row a branch, the lowest resolution at the bottom.

Places are in inches, so that text, which has a size of its own, fits.
"""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from dimr.paper.figures import style
from dimr.paper.figures.architecture import Branch, Sketch

ROW = 1.34
"""Height of a row."""
HEIGHT = 0.52
"""Of a box."""
TOP = 0.42
"""Room for the heading."""
NOISY, INPUT, ADD, IN, MID, OUT, HEAD, END = 0.05, 0.72, 1.36, 1.50, 2.46, 3.14, 4.12, 4.90
"""Left ends of what stands in a row; ``ADD`` is a middle."""
WIDTHS = {NOISY: 0.56, INPUT: 0.52, IN: 0.84, MID: 0.56, OUT: 0.84, HEAD: 0.62}
COLOURS = {"Transformer": "#CFE8F7", "ConvNeXt": "#FBE3B8"}
IO, CASCADE = "#EEEEEE", "#CDEBDD"
TINY = 5.5
"""Points."""


@style.styled
def draw(sketch: Sketch) -> Figure:
    """The network as a picture, of one height a branch."""
    height = ROW * len(sketch.branches) + TOP
    figure = Figure(figsize=(style.WIDTH, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, style.WIDTH)
    axes.set_ylim(0, height)
    axes.axis("off")
    channels, side, _ = sketch.input
    heading = (
        f"{sketch.name}: {_millions(sketch.parameters)} parameters, "
        f"{sketch.macs / 1e9:,.3g} GMACs for {channels}×{side}×{side}"
    )
    axes.text(0.05, height - 0.14, heading, va="center", fontweight="bold")
    axes.text(0.05, height - 0.31, sketch.time, va="center", fontsize=style.SMALL)
    middles = [ROW * (number + 0.5) for number in range(len(sketch.branches))]
    for branch, middle in zip(sketch.branches, middles, strict=True):
        _row(axes, branch, middle)
    for number in range(1, len(middles)):
        _cascade(axes, sketch.branches[number], middles[number - 1], middles[number])
    _input(axes, sketch, middles)
    return figure


def _input(axes: Axes, sketch: Sketch, middles: Sequence[float]) -> None:
    """The noisy input at the left, to every branch."""
    channels, side, _ = sketch.input
    centre = (middles[0] + middles[-1]) / 2
    _box(axes, NOISY, centre, f"$x_t$\n{channels}×{side}×{side}", IO)
    place = NOISY + WIDTHS[NOISY] / 2
    for middle in middles:
        if abs(middle - centre) < HEIGHT:
            _arrow(axes, (NOISY + WIDTHS[NOISY], centre), (INPUT, centre))
        else:
            edge = HEIGHT / 2 if middle > centre else -HEIGHT / 2
            _line(axes, [(place, centre + edge), (place, middle)])
            _arrow(axes, (place, middle), (INPUT, middle))


def _millions(parameters: int) -> str:
    """Three digits at least: 0.856M, 525M."""
    millions = parameters / 1e6
    return f"{millions:,.0f}M" if millions >= 100 else f"{millions:.3g}M"


def _row(axes: Axes, branch: Branch, middle: float) -> None:
    text = f"{branch.kind}, {branch.side}×{branch.side}, $D$ = {branch.dim}, "
    text += f"{_millions(branch.parameters)} parameters"
    axes.text(IN, middle + 0.53, text, va="center", fontsize=style.SMALL)
    stride = f"{branch.patch}×{branch.patch} conv" + (
        f"\nstride {branch.patch}" if branch.patch > 1 else ""
    )
    position = "+ position"
    _box(axes, INPUT, middle, f"{stride}\n{position}", IO)
    joined = ADD if branch.cascade or branch.tokens else IN
    _arrow(axes, (INPUT + WIDTHS[INPUT], middle), (joined - (0.06 if joined == ADD else 0), middle))
    if joined == ADD:
        _join(axes, middle, "+" if branch.cascade else ",")
        _arrow(axes, (ADD + 0.06, middle), (IN, middle))
    if branch.tokens:
        words = " and ".join(branch.tokens) + (" tokens" if len(branch.tokens) > 1 else " token")
        axes.text(ADD, middle - 0.44, words, ha="center", va="top", fontsize=TINY)
        _arrow(axes, (ADD, middle - 0.42), (ADD, middle - 0.06))
    _stack(axes, branch, middle)
    if branch.output:
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
    _arrow(axes, (IN + WIDTHS[IN], middle), (MID, middle))
    _arrow(axes, (MID + WIDTHS[MID], middle), (OUT, middle))
    if branch.parts[0]:
        left, right, up = IN + WIDTHS[IN] * 0.75, OUT + WIDTHS[OUT] * 0.25, middle + 0.38
        _line(axes, [(left, middle + HEIGHT / 2), (left, up), (right, up)])
        _arrow(axes, (right, up), (right, middle + HEIGHT / 2))
        text = f"{branch.parts[0]} long skip{'s' if branch.parts[0] > 1 else ''}"
        axes.text((left + right) / 2, up, text, ha="center", va="center", fontsize=TINY,
                  bbox={"fc": "white", "lw": 0, "pad": 0.8})  # fmt: skip


def _output(axes: Axes, branch: Branch, middle: float) -> None:
    assert branch.output is not None
    _arrow(axes, (OUT + WIDTHS[OUT], middle), (HEAD, middle))
    _box(axes, HEAD, middle, "\n".join(branch.head), IO)
    _arrow(axes, (HEAD + WIDTHS[HEAD], middle), (END, middle))
    channels, side, _ = branch.output
    axes.text(END + 0.02, middle, f"{channels}×{side}×{side}\n\nloss ×{_fraction(branch.weight)}",
              va="center", fontsize=style.SMALL)  # fmt: skip


def _fraction(weight: float | None) -> str:
    """1/4 for 0.25."""
    assert weight is not None
    return "1" if weight == 1 else f"1/{1 / weight:g}"


def _cascade(axes: Axes, branch: Branch, below: float, middle: float) -> None:
    """Features of the input and all blocks below, through the cascade, to the sum above."""
    level, start = below + 0.77, OUT + WIDTHS[OUT] + 0.07
    assert branch.cascade is not None
    count, width = branch.cascade
    text = f"cascade: {count} × {width} features → 4 × {branch.dim}, pixel shuffle ×2"
    _line(axes, [(start, below), (start, level), (ADD, level)], style.GREEN)
    _arrow(axes, (ADD, level), (ADD, middle - 0.06), style.GREEN)
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


def _line(axes: Axes, points: Sequence[tuple[float, float]], colour: str = style.BLACK) -> None:
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.8, solid_capstyle="butt")


def _arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = style.BLACK
) -> None:
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=6, linewidth=0.8,
                                   color=colour, shrinkA=0, shrinkB=0))  # fmt: skip
