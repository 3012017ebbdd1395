"""The picture for a table of runs: bars of what it compares, a curve, or samples of its rows."""

from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from dimr.data.shards import open_shards
from dimr.evaluation.names import better
from dimr.paper.tables.runs import Line, RunsTable, seed_values
from dimr.runtime.atomic import atomic_file
from dimr.runtime.files import save_png

if TYPE_CHECKING:
    import pandas as pd

BAR, DOT = "#9ecae1", "#08306b"  # distinguishable by lightness alone
WIDTH, ROW, MARGIN = 7.0, 0.42, 0.5  # inches: of a panel, of a bar, above and below the bars
CURVES = (
    ("#08306b", "o", "-"), ("#e6550d", "s", "--"), ("#31a354", "^", ":"), ("#756bb1", "D", "-."),
    ("#636363", "v", "-"), ("#c51b8a", "P", "--"), ("#2b8cbe", "X", ":"),
)  # fmt: skip
"""Colour, marker and dash of each row: distinguishable without colour, too."""
FAR = 6.0
"""Ratio of largest to smallest value from which an axis is logarithmic."""
ZOOM, GAP, PER_CLASS = 2, 2, 2
COLUMNS = 20
"""Most images in a line of samples: up to that many classes have a column each."""
HEADING = 18  # pixels


def draw_table(table: RunsTable, frame: "pd.DataFrame", runs: Path, out: Path) -> None:
    """Write the picture of a table as PNG.

    Args:
        table: the definition.
        frame: of ``dimr.paper.results``, with its cells.
        runs: the folder of runs, for samples.
        out: the PNG.
    """
    if not table.paired and not table.curve:
        save_png(samples(table, runs), out)
        return
    with mpl.rc_context():
        mpl.rcdefaults()
        figure = bars(table, frame) if table.paired else curves(table, frame)
        with atomic_file(out) as temporary:
            figure.savefig(temporary, format="png", dpi=160, metadata={"Software": "dimr"})


def bars(table: RunsTable, frame: "pd.DataFrame") -> Figure:
    """Horizontal bars of the compared column, rows as listed, a panel per setting.

    A bar is the mean over seeds, each dot a seed, the whisker one standard deviation. Panels are
    below each other and share their axis.
    """
    key = table.paired or ""
    settings = list(dict.fromkeys(line.setting for line in table.lines))
    shown = {one: [line for line in table.lines if line.setting == one] for one in settings}
    heights = [MARGIN + ROW * len(lines) for lines in shown.values()]
    figure = Figure(figsize=(WIDTH, 0.3 + sum(heights)), layout="constrained")
    panels = figure.subplots(len(settings), 1, sharex=True, squeeze=False, height_ratios=heights)[
        :, 0
    ]
    for axes, (setting, lines) in zip(panels, shown.items(), strict=True):
        for y, line in enumerate(lines):
            _bar(axes, y, np.array(seed_values(frame, line, key)))
        axes.margins(x=0.12)
        axes.set_xlim(left=0)  # a deviation may reach below what the metric can be
        axes.set_yticks(range(len(lines)), [line.title for line in lines], fontsize=9)
        axes.invert_yaxis()  # the first row on top
        axes.spines[["top", "right"]].set_visible(False)
        if len(settings) > 1:
            axes.set_title(setting, fontsize=9, loc="left")
    of = f", {settings[0]}" if len(settings) == 1 else ""
    panels[-1].set_xlabel(f"{table.title_of(key)}{of}{direction(key)}")
    return figure


def direction(key: str) -> str:
    """Which direction of a metric is better, for an axis; nothing if the column is no metric."""
    way = better(key)
    return f" ({way} is better)" if way else ""


def _bar(axes: Axes, y: int, values: np.ndarray) -> None:
    """Mean, deviation, every seed, and the mean as a number."""
    deviation = values.std(ddof=1) if len(values) > 1 else None
    axes.barh(y, values.mean(), xerr=deviation, color=BAR, ecolor=DOT, capsize=3, height=0.7)
    axes.plot(values, np.full(len(values), y), "o", color=DOT, markersize=4)
    end = max(values.max(), values.mean() + (deviation or 0.0))
    axes.annotate(
        f"{values.mean():.2f}", (end, y), xytext=(8, 0), textcoords="offset points", va="center",
        fontsize=9,
    )  # fmt: skip


def curves(table: RunsTable, frame: "pd.DataFrame") -> Figure:
    """One column over another, whose axis is logarithmic; a row's settings are its points.

    A line goes through the means over seeds; each seed has a small marker. A panel per block.
    """
    blocks = list(dict.fromkeys(line.block for line in table.lines))
    figure = Figure(figsize=(6.0 * len(blocks) ** 0.7, 3.8), layout="constrained")
    for axes, block in zip(figure.subplots(1, len(blocks), squeeze=False)[0], blocks, strict=True):
        _curves(axes, table, [line for line in table.lines if line.block == block], frame)
        axes.set_title(block, fontsize=9, loc="left")
    return figure


def _curves(axes: Axes, table: RunsTable, shown: list[Line], frame: "pd.DataFrame") -> None:
    """The curves of one block."""
    (x, y), ticks, seen = table.curve or ("", ""), set(), []
    for number, title in enumerate(dict.fromkeys(line.title for line in shown)):
        lines = [line for line in shown if line.title == title]
        colour, marker, dash = CURVES[number % len(CURVES)]
        places = [float(np.mean(seed_values(frame, line, x))) for line in lines]
        values = [seed_values(frame, line, y) for line in lines]
        for place, seeds in zip(places, values, strict=True):
            axes.plot([place] * len(seeds), seeds, marker, color=colour, markersize=3)
        axes.plot(
            places, [np.mean(seeds) for seeds in values], marker=marker, linestyle=dash,
            color=colour, markersize=6, label=title,
        )  # fmt: skip
        ticks.update(places)
        seen += [value for seeds in values for value in seeds]
    axes.set_xscale("log")
    axes.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    axes.minorticks_off()
    if min(seen) > 0 and max(seen) > FAR * min(seen):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.set_xlabel(table.title_of(x))
    axes.set_ylabel(f"{table.title_of(y)}{direction(y)}")
    axes.legend(frameon=False, fontsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def samples(table: RunsTable, runs: Path) -> Image.Image:
    """The first two images of each class for every line of a table, uncurated, one block per line.

    With many classes, or prompts, as many images as for ``COLUMNS`` of them.
    """
    blocks = []
    for line in table.lines:
        run, setting = line.cells[0]
        shards = open_shards(runs / run / "samples" / setting)
        columns = min(shards.manifest.classes, COLUMNS)
        images = shards.take(range(min(PER_CLASS * columns, len(shards.labels))))
        blocks.append((f"{line.title}, {setting}", _block(images, columns)))
    width = max(block.width for _, block in blocks)
    height = sum(block.height + HEADING + 3 * GAP for _, block in blocks)
    picture = Image.new("RGB", (width + 2 * GAP, height + GAP), "white")
    draw, top = ImageDraw.Draw(picture), GAP
    for title, block in blocks:
        draw.text((GAP, top), title, fill="black", font_size=13)
        picture.paste(block, (GAP, top + HEADING))
        top += block.height + HEADING + 3 * GAP
    return picture


def _block(images: np.ndarray, columns: int) -> Image.Image:
    """Images (N, H, W, 3) side by side, ``columns`` per line."""
    height, width = (side * ZOOM + GAP for side in images.shape[1:3])
    rows = -(-len(images) // columns)
    block = Image.new("RGB", (columns * width - GAP, rows * height - GAP), "white")
    for i, pixels in enumerate(images):
        tile = Image.fromarray(pixels).resize((width - GAP, height - GAP), Image.Resampling.NEAREST)
        block.paste(tile, (i % columns * width, i // columns * height))
    return block
