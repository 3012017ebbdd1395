"""A bar chart beside a table: the mean of one column by row, with every seed's value."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dimr.paper.tables.runs import RunsTable, seed_values
from dimr.runtime.files import atomic_file

if TYPE_CHECKING:
    import pandas as pd

BAR, DOT = "#9ecae1", "#08306b"  # told apart by lightness alone
WIDTH, ROW, MARGIN = 7.0, 0.42, 0.5  # inches; of a panel, of a bar, above and below the bars


def table_bars(table: RunsTable, frame: "pd.DataFrame", key: str, out: Path) -> None:
    """Horizontal bars of column ``key``, rows from top to bottom as listed, one panel a setting.

    A bar is the mean over seeds, each dot a seed, the whisker one standard deviation. Panels are
    below each other and share their axis.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    settings = list(dict.fromkeys(line.setting for line in table.lines))
    shown = {one: [line for line in table.lines if line.setting == one] for one in settings}
    heights = [MARGIN + ROW * len(lines) for lines in shown.values()]
    figure, axes = plt.subplots(
        len(settings), 1, figsize=(WIDTH, 0.3 + sum(heights)), sharex=True, squeeze=False,
        height_ratios=heights, layout="constrained",
    )  # fmt: skip
    for axis, (setting, lines) in zip(axes[:, 0], shown.items(), strict=True):
        for y, line in enumerate(lines):
            _bar(axis, y, np.array(seed_values(frame, line, key)))
        axis.margins(x=0.12)
        axis.set_xlim(left=0)  # a deviation may reach below what the metric can be
        axis.set_yticks(range(len(lines)), [line.title for line in lines], fontsize=9)
        axis.invert_yaxis()  # the first row on top
        axis.spines[["top", "right"]].set_visible(False)
        if len(settings) > 1:
            axis.set_title(setting, fontsize=9, loc="left")
    of = f", {settings[0]}" if len(settings) == 1 else ""
    axes[-1][0].set_xlabel(f"{table.title_of(key)}{of} (lower is better)")
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=160, metadata={"Software": "dimr"})
    plt.close(figure)


def _bar(axis: Any, y: int, values: np.ndarray) -> None:
    """Mean, deviation, every seed, and the mean in figures."""
    deviation = values.std(ddof=1) if len(values) > 1 else None
    axis.barh(y, values.mean(), xerr=deviation, color=BAR, ecolor=DOT, capsize=3, height=0.7)
    axis.plot(values, np.full(len(values), y), "o", color=DOT, markersize=4)
    end = max(values.max(), values.mean() + (deviation or 0.0))
    axis.annotate(
        f"{values.mean():.2f}", (end, y), xytext=(8, 0), textcoords="offset points", va="center",
        fontsize=9,
    )  # fmt: skip
