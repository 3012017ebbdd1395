"""A line chart beside a table: one column over another, a line a row, with every seed's value."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dimr.paper.tables.runs import RunsTable, seed_values
from dimr.runtime.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

STYLES = (("#08306b", "o", "-"), ("#e6550d", "s", "--"), ("#31a354", "^", ":"))
"""Colour, marker and dash of each row: told apart without colour too."""


def table_curves(table: RunsTable, frame: "pd.DataFrame", x: str, y: str, out: Path) -> None:
    """Column ``y`` over column ``x``, whose axis is logarithmic; a row's settings are its points.

    A line goes through the means over seeds; each seed has a small marker.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(6.0, 3.8), layout="constrained")
    ticks = set()
    for number, title in enumerate(dict.fromkeys(line.title for line in table.lines)):
        lines = [line for line in table.lines if line.title == title]
        colour, marker, dash = STYLES[number % len(STYLES)]
        places = [np.mean(seed_values(frame, line, x)) for line in lines]
        values = [seed_values(frame, line, y) for line in lines]
        for place, seeds in zip(places, values, strict=True):
            axis.plot([place] * len(seeds), seeds, marker, color=colour, markersize=3)
        axis.plot(
            places, [np.mean(seeds) for seeds in values], marker=marker, linestyle=dash,
            color=colour, markersize=6, label=title,
        )  # fmt: skip
        ticks.update(places)
    axis.set_xscale("log")
    axis.set_xticks(sorted(ticks), [f"{tick:g}" for tick in sorted(ticks)])
    axis.minorticks_off()
    axis.set_ylim(0, 1.1 * axis.get_ylim()[1])
    axis.set_xlabel(table.title_of(x))
    axis.set_ylabel(f"{table.title_of(y)} (lower is better)")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=160, metadata={"Software": "dimr"})
    plt.close(figure)
