"""A bar chart beside a table: the mean of one column by row, with every seed's value."""

from pathlib import Path

import numpy as np

from dimr.files import atomic_file
from dimr.reporting.tables import Table, seed_values

BAR, DOT = "#9ecae1", "#08306b"  # told apart by lightness alone


def table_bars(table: Table, runs: Path, key: str, out: Path) -> None:
    """Horizontal bars of column ``key``, one panel a setting, rows from top to bottom as listed.

    A bar is the mean over seeds, each dot a seed, the whisker one standard deviation.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    title = table.title_of(key)
    settings = list(dict.fromkeys(s for row in table.rows for s in row.settings))
    figure, axes = plt.subplots(
        1, len(settings), figsize=(7.0 if len(settings) == 1 else 5.0 * len(settings),
                                   0.8 + 0.42 * len(table.rows)),
        sharey=True, squeeze=False, layout="constrained",
    )  # fmt: skip
    for axis, setting in zip(axes[0], settings, strict=True):
        rows = [row for row in table.rows if setting in row.settings]
        for y, row in enumerate(rows):
            values = np.array(seed_values(table, runs, row, setting, key))
            deviation = values.std(ddof=1) if len(values) > 1 else None
            axis.barh(
                y, values.mean(), xerr=deviation, color=BAR, ecolor=DOT, capsize=3, height=0.7
            )
            axis.plot(values, np.full(len(values), y), "o", color=DOT, markersize=4)
            end = max(values.max(), values.mean() + (deviation or 0.0))
            axis.annotate(
                f"{values.mean():.2f}", (end, y), xytext=(8, 0), textcoords="offset points",
                va="center", fontsize=9,
            )  # fmt: skip
        axis.margins(x=0.12)
        axis.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=9)
        axis.set_xlabel(f"{title}, {setting} (lower is better)")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].invert_yaxis()  # shared: the first row on top
    with atomic_file(out) as temporary:
        figure.savefig(temporary, dpi=160)
    plt.close(figure)
