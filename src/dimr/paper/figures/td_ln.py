"""How time enters: TD-LN's scales and shifts over time beside adaLN-Zero's, and what each costs.

D width, T times. Curves are single channels of the D.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import nn

from dimr.config.project import Project
from dimr.models import DiMR, Network
from dimr.models.blocks import TimeEmbedding
from dimr.models.complexity import count_parameters
from dimr.models.norms import (
    Modulation,
    TimeDependentLayerNorm,
    TimeDependentParameter,
    TimeDependentRMSNorm,
)
from dimr.paper.figures import style
from dimr.paper.figures.definitions import TimeFigure
from dimr.paper.figures.time_vectors import (
    NormVectors,
    Vectors,
    adaln_zero_vectors,
    diffusion_times,
    td_norm_vectors,
)

CHANNELS = 24
"""Curves in a panel, evenly spaced over the width."""
BAND = (10, 90)
"""Percentiles of all channels that the band covers."""
SHOWN = (0.5, 99.5)
"""Percentiles of the curves' values that the axis covers, with a margin."""


@dataclass(frozen=True)
class Panel:
    """Values (T, D) over time: scales as they multiply the features, or shifts."""

    title: str
    values: Vectors


@dataclass(frozen=True)
class Count:
    """Parameters of one way for time to enter; ``of``: the total that they are part of."""

    name: str
    parameters: int
    of: int | None
    td: bool


@dataclass(frozen=True)
class TimeData:
    """Three scales and one shift of each way, and counts."""

    td: Sequence[Panel]
    adaln: Sequence[Panel]
    counts: Sequence[Count]


def make(definition: TimeFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    return draw(load(definition, runs))


def load(definition: TimeFigure, runs: Path) -> TimeData:
    """Read both models of ``definition``."""
    from dimr.checkpoints.model_folder import read_model

    td, _ = read_model(runs / definition.td / "model")
    adaln, _ = read_model(runs / definition.adaln / "model")
    assert isinstance(td, DiMR)  # the definition was checked
    times = diffusion_times()
    return TimeData(
        panels(td_norm_vectors(td, times)),
        panels(list(adaln_zero_vectors(adaln, times))),
        [*network_counts(td, adaln), *block_counts(adaln.sizes.dim)],  # type: ignore[attr-defined]
    )


def panels(norms: Sequence[NormVectors]) -> list[Panel]:
    """The norms before attention in three blocks (once each), and the shift before the output."""
    blocks = [one for one in norms if one.part == "attention"]
    chosen = sorted({0, len(blocks) // 2, len(blocks) - 1})
    last = norms[-1].shift
    assert last is not None  # before the last output is TD-LN, whatever the blocks have
    scales = [Panel(f"scale, block {number + 1}", blocks[number].scale) for number in chosen]
    return [*scales, Panel("shift, output", last)]


def network_counts(td: Network, adaln: Network) -> list[Count]:
    """Parameters in two networks for time to enter norms (adaLN-Zero: with its time embedding)."""
    time = _count(td, TimeDependentParameter), _count(adaln, Modulation, TimeEmbedding)
    return [
        Count(f"{td.sizes.title}: TD-LN", time[0], count_parameters(td), True),
        Count(f"{adaln.sizes.title}: adaLN-Zero", time[1], count_parameters(adaln), False),
    ]


def block_counts(dim: int) -> list[Count]:
    """Parameters in one Transformer block of width D, both of its norms."""
    with torch.device("meta"):
        ways: list[tuple[str, list[nn.Module], bool]] = [
            ("TD-RMS norm", [TimeDependentRMSNorm(dim) for _ in range(2)], True),
            ("TD-LN", [TimeDependentLayerNorm(dim) for _ in range(2)], True),
            ("adaLN-Zero", [Modulation(dim, 6)], False),
        ]
    return [
        Count(f"block, $D$ = {dim}: {name}", sum(map(count_parameters, modules)), None, td)
        for name, modules, td in ways
    ]


def _count(network: Network, *kinds: type[nn.Module]) -> int:
    return sum(count_parameters(m) for m in network.modules() if isinstance(m, kinds))


def draw(data: TimeData) -> Figure:
    """TD-LN above, adaLN-Zero below it, numbers of parameters at the bottom."""
    figure = Figure(figsize=(style.WIDTH, 4.5), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.1, 1], hspace=0.03)
    curves, bars = parts
    rows = [("TD-LN", data.td, style.BLUE), ("adaLN-Zero", data.adaln, style.VERMILLION)]
    columns = max(len(data.td), len(data.adaln))
    grid = curves.subplots(2, columns, squeeze=False, sharex=True)
    for row, (name, panels, colour) in enumerate(rows):
        for column, panel in enumerate(panels):
            axes = grid[row, column]
            _curves(axes, panel.values, colour)
            style.letter(axes, row * columns + column, panel.title)
        grid[row, 0].set_ylabel(name, fontweight="bold")
        for axes in grid[row, len(panels) :]:
            axes.set_axis_off()
    curves.supxlabel("diffusion time $t$ (0: image, 1: noise)", fontsize=style.NORMAL)
    axes = bars.subplots()
    _count_bars(axes, data.counts)
    style.letter(axes, 2 * columns, "parameters by which time enters")
    return figure


def _curves(axes: Axes, values: Vectors, colour: str) -> None:
    """Some channels as thin lines, the median of all as a thick one, and a band."""
    times = np.arange(1, len(values) + 1) / len(values)
    places = np.linspace(0, values.shape[1] - 1, min(CHANNELS, values.shape[1]))
    chosen = values[:, places.round().astype(int)]
    axes.fill_between(times, *np.percentile(values, BAND, axis=1), color=colour, alpha=0.15, lw=0)
    axes.plot(times, chosen, color=colour, alpha=0.45, linewidth=0.4)
    axes.plot(times, np.median(values, axis=1), color=style.BLACK, linewidth=1.3)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    # adaLN-Zero's first steps are so large that they would flatten everything else.
    low, high = np.percentile(chosen, SHOWN)
    axes.set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
    axes.locator_params(axis="y", nbins=4)


def _count_bars(axes: Axes, counts: Sequence[Count]) -> None:
    """One bar per way, on a logarithmic axis, with the number beside it."""
    places = np.arange(len(counts))
    colours = [style.BLUE if one.td else style.VERMILLION for one in counts]
    numbers = [one.parameters for one in counts]
    axes.barh(places, numbers, 0.65, color=colours)
    for place, one in zip(places, counts, strict=True):
        share = f" ({one.parameters / one.of:.1%} of all)" if one.of else ""
        axes.annotate(f"{one.parameters:,}{share}", (one.parameters, place), xytext=(3, 0),
                      textcoords="offset points", va="center", fontsize=style.SMALL)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlim(min(numbers) / 3, max(numbers) * (max(numbers) / min(numbers)) ** 0.7)
    axes.set_yticks(places, [one.name for one in counts])
    axes.invert_yaxis()
    axes.set_xlabel("learned parameters")
