"""Training curves: losses, gradient norm and speed, from the runs' logs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter

from dimr.config.project import Project
from dimr.paper.figures import style
from dimr.paper.figures.definitions import TrainingFigure
from dimr.paper.results import read_frame
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256
from dimr.runtime.record import RECORD, read_record

BRANCH = "loss_branch_"
NEEDED = ("images", f"{BRANCH}1", "gradient_norm", "images_per_second")
WIDE = 20
"""Letters: three names longer than this do not fit side by side."""
WINDOW = 5
"""Lines of the log whose median the thick lines show."""


@dataclass(frozen=True)
class Curves:
    """The logs of a model's seeds."""

    name: str
    logs: Sequence[pd.DataFrame]

    @property
    def branches(self) -> list[str]:
        """Columns of the branches' losses, lowest resolution first."""
        found = [column for column in self.logs[0] if str(column).startswith(BRANCH)]
        return sorted(map(str, found), key=lambda column: int(column.removeprefix(BRANCH)))

    def median(self, column: str) -> pd.Series:
        """A column by images: the median over seeds, then over neighbouring lines.

        A mean would show a short spike in one seed's loss as a plateau of all; the seeds' own lines
        show it as it was.
        """
        values = pd.concat([log.set_index("images")[column] for log in self.logs], axis=1)
        return values.median(axis=1).rolling(WINDOW, center=True, min_periods=1).median()


def make(definition: TrainingFigure, project: Project, runs: Path) -> Figure:
    """The figure of a definition."""
    return draw(load(definition, project, runs))


def load(definition: TrainingFigure, project: Project, runs: Path) -> list[Curves]:
    """Read the logs of the rows' runs."""
    return [
        Curves(row.name, [read_log(runs / run / "log.csv") for run in row.runs])
        for row in definition.rows(project)
    ]


def read_log(path: Path) -> pd.DataFrame:
    """A run's log.csv; ``DimrError`` if it is damaged or not the log of a training."""
    log = read_frame(path, "a log")
    model = path.with_name("model")
    recorded = read_record(model).get("log_sha256") if (model / RECORD).is_file() else None
    if recorded not in (None, sha256(path)):
        raise DimrError(f"{path}: checksum differs from the recorded one: damaged")
    missing = [column for column in NEEDED if column not in log]
    if missing or log.empty:
        what = f"no column {missing[0]}" if missing else "no lines"
        raise DimrError(f"{path}: {what}: not the log of a training")
    strange = [column for column in NEEDED if not pd.api.types.is_numeric_dtype(log[column])]
    if strange:
        raise DimrError(f"{path}: {strange[0]}: should hold only numbers")
    return log


def draw(models: Sequence[Curves]) -> Figure:
    """Loss at full resolution, losses of the lower branches, gradient norm, images per second."""
    figure = Figure(figsize=(style.WIDTH, 3.9), layout="constrained")
    axes = figure.subplots(2, 2).ravel()
    several = [number for number, model in enumerate(models) if len(model.branches) > 1]
    for number, model in enumerate(models):
        _lines(axes[0], model, model.branches[-1], number)
        _lines(axes[2], model, "gradient_norm", number)
        _lines(axes[3], model, "images_per_second", number)
    for number in several:
        for column in models[number].branches[:-1]:
            _lines(axes[1], models[number], column, number)
            _name_branch(axes[1], models[number], column)
    if not several:
        axes[1].text(
            0.5, 0.5, "networks of one resolution", ha="center", transform=axes[1].transAxes
        )
    titles = ["loss, full resolution", "loss, lower branches", "gradient norm", "images / second"]
    for place, title in enumerate(titles):
        style.letter(axes[place], place, title)
        axes[place].xaxis.set_major_formatter(EngFormatter(sep=""))
        if place > 1:
            axes[place].set_xlabel("training images")
    for place in (0, 1, 2):
        axes[place].set_yscale("log")
        style.plain_log_ticks(axes[place].yaxis)
    axes[3].set_ylim(bottom=0)
    columns = 2 if max(len(model.name) for model in models) > WIDE else 3
    handles = [Line2D([], [], label=m.name, **style.series(n)) for n, m in enumerate(models)]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns,
                  handlelength=3)  # fmt: skip
    return figure


def _lines(axes: Axes, model: Curves, column: str, number: int) -> None:
    """Every seed as a thin line, their median as a thick one."""
    look = style.series(number)
    for log in model.logs:
        axes.plot(log["images"], log[column], color=look["color"], linewidth=0.35, alpha=0.45)
    middle = model.median(column)
    axes.plot(middle.index, middle, linewidth=1.3, **look)


def _name_branch(axes: Axes, model: Curves, column: str) -> None:
    """Label the end of a line with its branch, where a network has more than two."""
    if len(model.branches) > 2:
        middle = model.median(column)
        axes.annotate(column.removeprefix(BRANCH), (middle.index[-1], middle.iloc[-1]),
                      xytext=(2, 0), textcoords="offset points", va="center",
                      fontsize=style.SMALL)  # fmt: skip
