"""FID over what it costs: training, multiply-accumulates and parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dimr.config.project import Project
from dimr.paper.figures import style
from dimr.paper.figures.definitions import CostFigure, PublishedCostFigure
from dimr.paper.figures.rows import block_lines
from dimr.paper.results import COSTS, RunSetting, cells_of, published, results
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    import pandas as pd

OURS = "made here"
"""Suffix of the name of our runs' series, after the family."""
OTHERS = "others"
TINY = 5.5
"""Points: size of the labels."""
LINE = 0.065
"""Share of the axes' height that a line of labels takes."""
FAMILIES = ("DiMR", "U-ViT", "DiT")
"""Published models with their own look: those that the paper compares."""


@dataclass(frozen=True)
class Panel:
    """A cost: its key, title, and unit (shown = cost / unit)."""

    key: str
    title: str
    unit: float = 1.0


@dataclass(frozen=True)
class Point:
    """A model.

    Attributes:
        name: of the model.
        series: that it is drawn in; every series has one look.
        costs: by ``Panel.key``; without a cost it is left out of that panel.
        values: the metric, one per seed.
        label: the text below it; empty: none.
    """

    name: str
    series: str
    costs: dict[str, float]
    values: tuple[float, ...]
    label: str = ""


@dataclass(frozen=True)
class CostData:
    """Points, the panels they are drawn in, and the metric's name."""

    points: Sequence[Point]
    panels: Sequence[Panel]
    metric: str


def make(
    definition: CostFigure | PublishedCostFigure,
    project: Project,
    runs: Path,
    metrics: Sequence[Path] = (),
) -> Figure:
    """The figure of a definition; beside published costs the runs of ``metrics``."""
    if isinstance(definition, CostFigure):
        return draw(load(definition, project, runs))
    return draw(load_published(definition, project, runs, metrics))


def load(definition: CostFigure, project: Project, runs: Path) -> CostData:
    """Metrics and costs of the rows' runs; counts are the same for all seeds, seconds are not."""
    frame, points = results(project, runs, definition.cells(project)), []
    for row in definition.rows(project):
        numbers = _numbers(frame, [(run, definition.setting) for run in row.runs])
        if definition.metric not in numbers:
            raise DimrError(
                f"{row.runs[0]}: no {definition.metric} (there are: {', '.join(numbers)})"
            )
        costs = {key: fmean(numbers[key]) for key in COSTS if key in numbers}
        points.append(Point(row.name, row.name, costs, numbers[definition.metric]))
    panels = [
        Panel("train_seconds", "training (seconds)"),
        Panel("gmacs", "GMACs"),
        Panel("parameters_m", "parameters (M)"),
    ]
    return CostData(points, panels, definition.metric_title)


def load_published(
    definition: PublishedCostFigure, project: Project, runs: Path, metrics: Sequence[Path] = ()
) -> CostData:
    """Published rows with a FID, and our runs whose ``metrics`` are given."""
    lines = block_lines(definition.table, definition.block, project)
    theirs, points = published(project, lines[0].list), []
    images = project.training_images(theirs["dataset"].iloc[0])
    for name, own in theirs.groupby("model", sort=False):
        numbers = {str(key): (value,) for key, value in own.set_index("metric")["value"].items()}
        series = _series(name)
        label = name.removeprefix("DiMR-") if series == "DiMR" else ""
        if "fid" in numbers:
            points.append(Point(name, series, _costs(numbers, images), numbers["fid"], label))
    given = cells_of(runs, metrics)
    ours = results(project, runs, given)
    for line in lines:
        if cells := [cell for cell in line.cells if cell in given]:
            made, series = _numbers(ours, cells), f"{_series(line.title)}, {OURS}"
            points.append(Point(line.title, series, _costs(made, images), made["fid"]))
    panels = [
        Panel("images", "training images (M)", 1e6),
        Panel("gmacs", "GMACs"),
        Panel("parameters", "parameters (M)", 1e6),
    ]
    return CostData(points, panels, "FID")


def _numbers(frame: "pd.DataFrame", cells: Sequence[RunSetting]) -> dict[str, tuple[float, ...]]:
    """Metrics that all the cells have: values in the cells' order."""
    wide = frame.pivot(index=["run", "setting"], columns="metric", values="value")
    complete = wide.loc[list(cells)].dropna(axis=1)
    return {str(metric): tuple(column) for metric, column in complete.items()}


def _costs(numbers: Mapping[str, Sequence[float]], images: int) -> dict[str, float]:
    """Costs of a published row or of runs; training images seen are epochs times the dataset's."""
    mean = {metric: fmean(values) for metric, values in numbers.items()}
    costs = {
        "images": mean.get("epochs", 0) * images,
        "gmacs": mean.get("gmacs", 0),
        "parameters": mean.get("parameters", 1e6 * mean.get("parameters_m", 0)),
    }
    return {key: value for key, value in costs.items() if value}


def _series(name: str) -> str:
    return next((family for family in FAMILIES if name.startswith(f"{family}-")), OTHERS)


def draw(data: CostData) -> Figure:
    """One panel per cost; both axes are logarithmic, as ratios are compared."""
    figure = Figure(figsize=(style.WIDTH, 2.5), layout="constrained")
    grid = figure.subplots(1, len(data.panels), sharey=True)
    order = sorted(dict.fromkeys(point.series for point in data.points), key=_rank)
    looks = {name: _look(name, order) for name in order}
    for place, (axes, panel) in enumerate(zip(grid, data.panels, strict=True)):
        known = [point for point in data.points if panel.key in point.costs]
        for point in sorted(known, key=lambda point: order.index(point.series)):
            _draw_point(axes, point, panel, looks[point.series])
        style.letter(axes, place, "")
        axes.set_xlabel(panel.title)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.15, y=0.12)
        style.widen(axes)
    for axes in grid:  # once all are filled: the limits are known, and the y axis is shared
        style.plain_log_ticks(axes.xaxis)
        style.plain_log_ticks(axes.yaxis)
    labelled = [point for point in data.points if point.label]
    low, high = grid[0].get_ylim()
    grid[0].set_ylim(low / (high / low) ** (LINE * len(labelled)), high)
    for axes, panel in zip(grid, data.panels, strict=True):
        _label_points(axes, labelled, panel)
    grid[0].set_ylabel(f"{data.metric} (lower is better)")
    handles = [Line2D([], [], linestyle="", label=name, **looks[name]) for name in order]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(order), 4),
                  handletextpad=0.3, columnspacing=1.2)  # fmt: skip
    return figure


def _rank(series: str) -> tuple[bool, int]:
    """Drawing order: others first, so that what is compared is drawn over them; ours last."""
    family = series.removesuffix(f", {OURS}")
    known = (OTHERS, *FAMILIES[::-1])
    return family != series, known.index(family) if family in known else len(known)


def _look(name: str, order: Sequence[str]) -> dict[str, Any]:
    """How a series is drawn; ours are hollow, in the family's colour and marker."""
    if name == OTHERS:
        return {"color": style.GREY, "marker": "o", "markersize": 2.5, "alpha": 0.6}
    family = name.removesuffix(f", {OURS}")
    number = FAMILIES.index(family) if family in FAMILIES else order.index(name)
    look = {
        "color": style.SERIES[number % len(style.SERIES)],
        "marker": style.MARKERS[number % len(style.MARKERS)],
        "markersize": 5,
    }
    return look if family == name else {**look, "markersize": 7, "fillstyle": "none"}


def _draw_point(axes: Axes, point: Point, panel: Panel, look: dict[str, Any]) -> None:
    """The mean of a model, and several seeds as small marks."""
    place = point.costs[panel.key] / panel.unit
    axes.plot(place, fmean(point.values), linestyle="", **look)
    if len(point.values) > 1:
        small = {**look, "markersize": 2, "alpha": 0.5}
        axes.plot([place] * len(point.values), point.values, linestyle="", **small)


def _label_points(axes: Axes, points: Sequence[Point], panel: Panel) -> None:
    """Put names below everything, each at the foot of a vertical line from its point.

    Names of points with the same cost share a line. Names extend to the right, the rightmost
    highest, so that no name crosses another's line.
    """
    by_cost: dict[float, list[Point]] = {}
    for point in sorted(points, key=lambda point: -fmean(point.values)):
        if panel.key in point.costs:
            by_cost.setdefault(point.costs[panel.key], []).append(point)
    above = LINE * sum(map(len, by_cost.values()))  # as a share of the axes, so that all fit
    for cost in sorted(by_cost, reverse=True):
        names, lowest = "\n".join(p.label for p in by_cost[cost]), by_cost[cost][-1]
        line = {"arrowstyle": "-", "lw": 0.4, "shrinkA": 0, "shrinkB": 2, "relpos": (0, 1)}
        place = (cost / panel.unit, above)
        axes.annotate(names, (cost / panel.unit, fmean(lowest.values)), xytext=place, va="top",
                      textcoords=axes.get_xaxis_transform(), fontsize=TINY,
                      arrowprops=line)  # fmt: skip
        above -= LINE * len(by_cost[cost])
