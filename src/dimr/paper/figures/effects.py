"""Relative effects of the claims on digits, with intervals, beside what the paper has."""

import math
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from dimr.config.project import Project
from dimr.paper.figures import style
from dimr.paper.figures.definitions import EffectsFigure
from dimr.paper.published import load_published
from dimr.paper.results import recorded
from dimr.paper.study.claims import MOST_SHOWN, Claims, percent
from dimr.paper.study.findings import Finding, Verdict, findings

COLOURS: dict[Verdict, str] = {
    "shows": style.BLUE,
    "opposite": style.VERMILLION,
    "smaller": style.GREY,
    "open": style.LIGHT_GREY,
}
"""Colours of our bars. The verdict is also beside each bar: colour alone would not suffice."""
LEFT, RIGHT, TOP, BOTTOM = 2.55, 0.5, 0.05, 0.62
"""Inches around the axes: names, verdicts, nothing, and labels with the legend."""
ROW, HEADING = 0.165, 0.2
"""Height in inches of a comparison and of a claim's title."""
TINY = 5.5
"""Font size of names, in points."""
OURS, THEIRS = 0.46, 0.3
"""Shares of a row's height: our bar, and the paper's below it."""
TICKS = (
    (math.inf, (-0.9, -0.5, 0.0, 1.0, 9.0)),
    (2.0, (-0.75, 3.0)),
    (1.0, (-0.25, 0.33)),
)
"""Relative effects to label on the axis, by how far it reaches at most: logarithms of ratios."""


def make(definition: EffectsFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    claims = definition.claims(project)
    frame = recorded(project.root / "results" / definition.recorded)
    return draw(claims, findings(claims, load_published(project), frame))


def draw(claims: Claims, found: Sequence[Finding]) -> Figure:
    """A row for each comparison, below its claim's title: ours filled, the paper's hollow.

    The axis shows the logarithm of a ratio, so that half and double are equally far from 0. An
    interval that is longer than the axis ends in an arrow.
    """
    heights = [HEADING if isinstance(row, str) else ROW for row in _rows(found)]
    height = sum(heights)
    figure = Figure(figsize=(style.WIDTH, TOP + height + BOTTOM))
    width, whole = figure.get_size_inches()
    axes = figure.add_axes(
        (LEFT / width, BOTTOM / whole, 1 - (LEFT + RIGHT) / width, height / whole)
    )
    most = _limit(found)
    axes.set_xlim(-most, most)
    axes.set_ylim(height, 0)  # inches from the top
    y = 0.0
    for row, own in zip(_rows(found), heights, strict=True):
        middle = (y + own / 2, own)
        if isinstance(row, str):
            _name(axes, row, middle[0] + 0.02, weight="bold")
            axes.axhline(y, color=style.LIGHT_GREY, linewidth=0.4)
        else:
            _draw_row(axes, claims, row, middle, most)
        y += own
    axes.axvline(0, color=style.BLACK, linewidth=0.6)
    ticks = sorted(one for far, some in TICKS if most <= far for one in some)
    shown = [one for one in ticks if abs(math.log1p(one)) <= most]
    axes.set_xticks(
        [math.log1p(one) for one in shown], [percent(one) if one else "0" for one in shown]
    )
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("lower  \N{LEFTWARDS ARROW}  relative effect  \N{RIGHTWARDS ARROW}  higher")
    handles = [
        *(Patch(facecolor=colour, label=verdict) for verdict, colour in COLOURS.items()),
        Line2D([], [], color=style.BLACK, linewidth=0.8, label="95% interval"),
        Patch(facecolor="none", edgecolor=style.BLACK, linewidth=0.7, label="the paper's"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=len(handles), columnspacing=1.2)
    return figure


def _rows(found: Sequence[Finding]) -> list[str | Finding]:
    """Titles of the claims, each before its comparisons."""
    rows: list[str | Finding] = []
    above = None
    for one in found:
        if one.claim is not above:
            rows.append(one.claim.title)
            above = one.claim
        rows.append(one)
    return rows


def _limit(found: Sequence[Finding]) -> float:
    """How far the axis reaches on either side: to all that is drawn, but not beyond elevenfold."""
    ends = [one.paper for one in found if one.paper is not None]
    for effect in (one.effect for one in found if one.effect is not None):
        ends += [end for end in (effect.mean, effect.low, effect.high) if end is not None]
    far = [abs(math.log1p(end)) if end > -1 else math.inf for end in ends]
    return 1.05 * min(max(far, default=1.0), math.log1p(MOST_SHOWN))


def _name(axes: Axes, text: str, y: float, weight: str = "normal") -> None:
    """A text in the left margin, starting at the figure's edge."""
    assert axes.figure is not None
    start = 0.03 if weight == "bold" else 0.09
    x = (start - LEFT) / (style.WIDTH - LEFT - RIGHT)  # in the axes' own units
    axes.text(x, y, style.words(text), transform=axes.get_yaxis_transform(), va="center",
              fontsize=TINY if weight == "normal" else TINY + 0.5, fontweight=weight)  # fmt: skip


def _draw_row(
    axes: Axes, claims: Claims, one: Finding, place: tuple[float, float], most: float
) -> None:
    """A comparison: its names, both bars, our interval, the verdict."""
    y, height = place
    pair = [claims.name(run) for run in (one.comparison.run, one.comparison.against)]
    _name(axes, f"{' vs '.join(pair)}, {one.setting_text.replace('_', '-')}", y)
    upper, lower = y - 0.2 * height, y + 0.28 * height
    if one.effect is not None:
        mean = _inside(one.effect.mean, most)
        axes.barh(upper, mean, OURS * height, color=COLOURS[one.verdict])
        if one.effect.low is not None and one.effect.high is not None:
            low, high = (_inside(end, most) for end in (one.effect.low, one.effect.high))
            axes.plot([low, high], [upper, upper], color=style.BLACK, linewidth=0.8)
            for end, at, marker in ((low, -most, "<"), (high, most, ">")):
                if end == at:
                    axes.plot(end, upper, marker, color=style.BLACK, markersize=2.5, clip_on=False)
    if one.paper is not None:
        axes.barh(lower, _inside(one.paper, most), THEIRS * height, color="none",
                  edgecolor=style.BLACK, linewidth=0.7)  # fmt: skip
    axes.text(1.02, y, one.verdict, transform=axes.get_yaxis_transform(), va="center",
              fontsize=TINY)  # fmt: skip
    if one.effect is None:
        axes.text(0, y, one.left_out, ha="center", va="center", fontsize=TINY, color=style.GREY,
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip


def _inside(effect: float, most: float) -> float:
    """The logarithm of the ratio, on the axis."""
    ratio = math.log1p(effect) if effect > -1 else -math.inf
    return min(max(ratio, -most), most)
