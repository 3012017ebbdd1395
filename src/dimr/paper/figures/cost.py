"""FID over what it costs: training, multiply-accumulates and parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dimr.config.recipes import ROOT, load_recipe, training_images
from dimr.paper.figures import style
from dimr.paper.figures.definitions import CostFigure, PublishedCostFigure
from dimr.paper.figures.rows import block_lines
from dimr.paper.published import Result, as_number, load_published
from dimr.paper.results import RunResult, metrics_file, read_made

OURS = "made here"
"""What the series of runs of ours are called, after the family."""
OTHERS = "others"
TINY = 5.5
"""Points, of the labels."""
FAMILIES = ("DiMR", "U-ViT", "DiT")
"""Published models that have a look of their own, as they are what the paper compares."""


@dataclass(frozen=True)
class Point:
    """A model. Costs are by ``Axis.key``; a cost that is not known leaves it out of that panel.

    Attributes:
        name: of the model.
        series: what it is drawn as; every series has one look.
        costs: numbers by key.
        values: the metric, one for each seed.
        label: what stands below it in the first panel; empty: nothing.
    """

    name: str
    series: str
    costs: dict[str, float]
    values: tuple[float, ...]
    label: str = ""


@dataclass(frozen=True)
class Axis:
    """A panel: key of the cost, title, unit's factor (shown = cost / unit)."""

    key: str
    title: str
    unit: float = 1.0


@dataclass(frozen=True)
class CostData:
    """Points, the panels they are drawn in, and the metric's name."""

    points: Sequence[Point]
    axes: Sequence[Axis]
    metric: str


def load(definition: CostFigure, runs: Path, root: Path = ROOT) -> CostData:
    """Metrics of the rows' runs, and what their records say of costs."""
    rows = definition.rows(root)
    files = [runs / metrics_file(run, definition.setting) for row in rows for run in row.runs]
    made = read_made(runs, files)
    points = []
    for row in rows:
        seeds = [made[run, definition.setting] for run in row.runs]
        values = tuple(one.number(definition.metric) for one in seeds)
        points.append(Point(row.name, row.name, _costs(seeds), values))
    axes = [
        Axis("train_seconds", "training (seconds)"),
        Axis("gmacs", "GMACs"),
        Axis("parameters_m", "parameters (M)"),
    ]
    return CostData(points, axes, definition.metric_title)


def _costs(seeds: Sequence[RunResult]) -> dict[str, float]:
    """Means over seeds: no seed changes a count, but seconds differ."""
    found = {}
    for key in ("train_seconds", "gmacs", "parameters_m"):
        numbers = [value for one in seeds if (value := one.cost(key)) is not None]
        if len(numbers) == len(seeds):
            found[key] = fmean(numbers)
    return found


def load_published_costs(
    definition: PublishedCostFigure, runs: Path, metrics: Sequence[Path], root: Path = ROOT
) -> CostData:
    """Published rows with a FID, and runs of ours whose ``metrics`` are given."""
    lines = block_lines(definition.table, definition.block, root)
    rows = load_published(root).results[lines[0].list or ""].rows
    made = read_made(runs, metrics)
    dataset = next(run.split("/")[0] for run, _ in definition.cells(root))
    images = training_images(load_recipe(dataset, root), root)
    points = [_published_point(name, row, images) for name, row in rows.items() if row.fid]
    for line in lines:
        there = [made[cell] for cell in line.cells if cell in made]
        if there:
            costs = _our_costs(there[0], dataset, images, root)
            fids = tuple(one.number("fid") for one in there)
            points.append(Point(line.title, f"{_series(line.title)}, {OURS}", costs, fids))
    axes = [
        Axis("images", "training images (M)", 1e6),
        Axis("gmacs", "GMACs"),
        Axis("parameters", "parameters (M)", 1e6),
    ]
    return CostData(points, axes, "FID")


def _series(name: str) -> str:
    return next((family for family in FAMILIES if name.startswith(f"{family}-")), OTHERS)


def _published_point(name: str, row: Result, images: int) -> Point:
    assert row.fid is not None  # as the caller has chosen
    series = _series(name)
    label = name.removeprefix("DiMR-") if series == "DiMR" else ""
    return Point(name, series, _published_costs(row, images), (row.fid,), label)


def _published_costs(row: Result, images: int) -> dict[str, float]:
    """Training images seen are epochs times images of the dataset."""
    costs = {
        "images": row.epochs and row.epochs * images,
        "gmacs": row.gmacs,
        "parameters": as_number(row.parameters),
    }
    return {key: float(value) for key, value in costs.items() if value}


def _our_costs(one: RunResult, dataset: str, images: int, root: Path) -> dict[str, float]:
    epochs, millions = one.epochs(dataset, root), one.cost("parameters_m")
    costs = {
        "images": epochs and epochs * images,
        "gmacs": one.cost("gmacs"),
        "parameters": millions and millions * 1e6,
    }
    return {key: float(value) for key, value in costs.items() if value}


@style.styled
def draw(data: CostData) -> Figure:
    """One panel for each cost; both axes are logarithmic, as ratios are what is compared."""
    figure = Figure(figsize=(style.WIDTH, 2.5), layout="constrained")
    panels = figure.subplots(1, len(data.axes), sharey=True)
    order = sorted(dict.fromkeys(point.series for point in data.points), key=_rank)
    looks = {name: _look(name, order) for name in order}
    for place, (axes, axis) in enumerate(zip(panels, data.axes, strict=True)):
        known = [point for point in data.points if axis.key in point.costs]
        for point in sorted(known, key=lambda point: order.index(point.series)):
            _draw_point(axes, point, axis, looks[point.series])
        style.letter(axes, place, "")
        axes.set_xlabel(axis.title)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.margins(x=0.15, y=0.12)
        style.widen(axes)
    for axes in panels:  # once all are filled: the limits are known, and the y axis is shared
        style.plain_log_ticks(axes.xaxis)
        style.plain_log_ticks(axes.yaxis)
    _label_points(panels[0], [p for p in data.points if p.label], data.axes[0])
    panels[0].set_ylabel(f"{data.metric} (lower is better)")
    handles = [Line2D([], [], linestyle="", label=name, **looks[name]) for name in order]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(len(order), 4),
                  handletextpad=0.3, columnspacing=1.2)  # fmt: skip
    return figure


def _rank(series: str) -> tuple[bool, int]:
    """Others first, so that what is compared lies above them; ours last."""
    family = series.removesuffix(f", {OURS}")
    known = (OTHERS, *FAMILIES[::-1])
    return family != series, known.index(family) if family in known else len(known)


def _look(name: str, order: Sequence[str]) -> dict[str, Any]:
    """Ours are hollow, of the family's colour and mark."""
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


def _draw_point(axes: Axes, point: Point, axis: Axis, look: dict[str, Any]) -> None:
    """The mean of a model, and each of several seeds small."""
    place = point.costs[axis.key] / axis.unit
    axes.plot(place, fmean(point.values), linestyle="", **look)
    if len(point.values) > 1:
        small = {**look, "markersize": 2, "alpha": 0.5}
        axes.plot([place] * len(point.values), point.values, linestyle="", **small)


def _label_points(axes: Axes, points: Sequence[Point], axis: Axis) -> None:
    """Names below everything, a line each, the leftmost point's lowest, tied to their points."""
    known = sorted((p for p in points if axis.key in p.costs), key=lambda p: p.costs[axis.key])
    if not known:
        return
    low, high = axes.get_ylim()
    axes.set_ylim(low / (high / low) ** (0.07 * len(known)), high)
    for number, point in enumerate(known):
        place = (point.costs[axis.key] / axis.unit, fmean(point.values))
        line = {"arrowstyle": "-", "lw": 0.4, "shrinkA": 1, "shrinkB": 2, "relpos": (1, 1)}
        axes.annotate(point.label, place, xytext=(0.03, 0.04 + 0.075 * number), va="center",
                      textcoords="axes fraction", fontsize=TINY, arrowprops=line)  # fmt: skip
