"""How every figure looks, and how it is written: the same data give the same bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dimr.runtime.atomic import atomic_file

WIDTH = 5.5
"""Inches: the text of a NeurIPS page, so that a figure is pasted without scaling."""
DPI = 300

BLACK, GREY, LIGHT_GREY = "#000000", "#767676", "#D9D9D9"
# The palette of Okabe and Ito (2008), distinguishable with every common colour blindness. Its
# yellow is left out: too light for lines on white.
BLUE, VERMILLION, GREEN, PURPLE = "#0072B2", "#D55E00", "#009E73", "#CC79A7"
ORANGE, SKY = "#E69F00", "#56B4E9"
SERIES = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (3, 1, 1, 1, 1, 1)), "-", "--")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
"""Colour, dash and marker of the n-th series: each suffices to tell series apart."""
TIME_MAP = "cividis"
"""Colours of diffusion time: lightness suffices to tell early from late."""

SMALL, NORMAL = 6.5, 7.5
"""Font sizes in points: ticks and notes; labels and titles."""
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same on every machine
    "font.size": NORMAL,
    "axes.titlesize": NORMAL,
    "axes.labelsize": NORMAL,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": NORMAL,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text; publishers refuse matplotlib's default
    "mathtext.fontset": "dejavusans",
}
"""Settings of matplotlib in which figures are drawn and saved (``matplotlib.rc_context``)."""

DENSE = (1, 1.5, 2, 3, 4, 5, 6, 8)
"""Ticks within a decade, for axes that span less than one."""


def words(text: str) -> str:
    """A text to be shown literally: two dollar signs would turn it into mathematics."""
    return text.replace("$", r"\$")


def series(number: int) -> dict[str, Any]:
    """Colour and dash of the ``number``-th line of a figure."""
    return {"color": SERIES[number % len(SERIES)], "linestyle": DASHES[number % len(DASHES)]}


def letter(axes: Axes, number: int, title: str) -> None:
    """Head a panel with the letter that the caption uses, and a title."""
    axes.set_title(f"({chr(ord('a') + number)}) {title}", loc="left", fontsize=NORMAL)


def widen(axes: Axes, ratio: float = 2.0) -> None:
    """Make a logarithmic x axis span at least this ratio, so that nearly equal values look so."""
    low, high = axes.get_xlim()
    if high / low < ratio:
        middle = (low * high) ** 0.5
        axes.set_xlim(middle / ratio**0.5, middle * ratio**0.5)


def plain_log_ticks(axis: Axis) -> None:
    """Numbers such as 0.3 instead of powers on a logarithmic axis, about three to eight of them."""
    low, high = sorted(axis.get_view_interval())
    decades = np.log10(high / low)
    subs = (
        (1,) if decades > 4 else (1, 3) if decades > 1.6 else (1, 2, 5) if decades > 0.8 else DENSE
    )
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())


def line(axes: Axes, points: Sequence[tuple[float, float]], colour: str = BLACK) -> None:
    """Draw a line through points."""
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.8, solid_capstyle="butt")


def arrow(
    axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = BLACK
) -> None:
    """Draw an arrow."""
    axes.add_patch(FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=6, linewidth=0.8,
                                   color=colour, shrinkA=0, shrinkB=0))  # fmt: skip


def save(figure: Figure, pdf: Path, png: Path, *, title: str, subject: str) -> None:
    """Write a figure as PDF (vectors, fonts embedded) and as PNG, both or none.

    The files contain no date and no version: the same figure gives the same bytes.

    Args:
        figure: what is drawn.
        pdf: written atomically.
        png: likewise, with 300 pixels per inch.
        title: in the files' metadata.
        subject: likewise: the caption.
    """
    facts = {"Title": title, "Creator": "dimr", "Producer": None, "CreationDate": None}
    with atomic_file(png) as pixels, atomic_file(pdf) as vectors:
        figure.savefig(vectors, format="pdf", dpi=DPI, metadata={**facts, "Subject": subject})
        text = {"Title": title, "Description": subject, "Software": "dimr"}
        figure.savefig(pixels, format="png", dpi=DPI, metadata=text)
