"""Principal components of the scales and shifts that adaLN-Zero makes of time (paper, section 3.3).

For each layer norm of the blocks, its vectors at all time steps are points in D dimensions. That a
few components hold most of their variance is why TD-LN can do with two learned ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.project import Project
from dimr.paper.figures import style
from dimr.paper.figures.definitions import AdaLNFigure
from dimr.paper.figures.time_vectors import (
    NormVectors,
    Vectors,
    adaln_zero_vectors,
    diffusion_times,
)
from dimr.runtime.errors import DimrError

BARS = 5
"""Components that the bars show."""
KINDS = ("scale", "shift")


@dataclass(frozen=True)
class Components:
    """Principal components of vectors over time.

    Attributes:
        shares: of the variance, by component, largest first; they add up to 1.
        plane: the vectors in the first two components, (T, 2).
    """

    shares: NDArray[np.float64]
    plane: NDArray[np.float64]


@dataclass(frozen=True)
class NormComponents:
    """Components of one layer norm (``block`` from 0, ``part``), by ``KINDS``."""

    block: int
    part: str
    by_kind: dict[str, Components]


def principal_components(vectors: Vectors) -> Components:
    """Principal component analysis of (T, D), centred, not scaled.

    Raises:
        ValueError: all vectors are equal.
    """
    from sklearn.decomposition import PCA

    if not np.ptp(vectors, axis=0).any():
        raise ValueError("the vectors do not change over time")
    analysis = PCA(n_components=min(vectors.shape), svd_solver="full")
    placed = analysis.fit_transform(vectors)
    return Components(analysis.explained_variance_ratio_, placed[:, :2])


def make(definition: AdaLNFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    return draw(load(definition, runs), definition.blocks)


def load(definition: AdaLNFigure, runs: Path) -> list[NormComponents]:
    """The components of every layer norm in the blocks of a run's model."""
    from dimr.checkpoints.model_folder import read_model

    folder = runs / definition.run / "model"
    network, _ = read_model(folder)
    vectors = adaln_zero_vectors(network, diffusion_times(), definition.label)
    return [_of_norm(one, folder) for one in vectors if one.block is not None]


def _of_norm(one: NormVectors, folder: Path) -> NormComponents:
    try:
        found = {kind: principal_components(getattr(one, kind)) for kind in KINDS}
    except ValueError as error:
        raise DimrError(f"{folder}: block {one.block}, {one.part}: {error}: not trained?") from None
    return NormComponents(one.block or 0, one.part, found)


def draw(norms: Sequence[NormComponents], blocks: Sequence[int]) -> Figure:
    """Scales above, shifts below: variance by component, then the plane of the first two.

    Args:
        norms: of the network's blocks.
        blocks: those whose attention's norm is drawn in the plane.
    """
    figure = Figure(figsize=(style.WIDTH, 3.5), layout="constrained")
    widths = [1.35, *[1] * len(blocks)]
    axes = figure.subplots(2, len(widths), width_ratios=widths, squeeze=False)
    for row, kind in enumerate(KINDS):
        first = row * len(widths)
        _bars(axes[row, 0], [norm.by_kind[kind] for norm in norms])
        style.letter(axes[row, 0], first, f"{kind}, all blocks")
        for column, number in enumerate(blocks, 1):
            norm = next(n for n in norms if (n.block, n.part) == (number, "attention"))
            _plane(axes[row, column], norm.by_kind[kind])
            style.letter(axes[row, column], first + column, f"block {number + 1}")
    scale = ScalarMappable(Normalize(0, 1), style.TIME_MAP)
    bar = figure.colorbar(scale, ax=axes[1, 1:].tolist(), orientation="horizontal", aspect=50,
                          ticks=[0, 0.5, 1])  # fmt: skip
    bar.set_label("diffusion time $t$ (0: image, 1: noise)")
    bar.outline.set_linewidth(0.6)
    return figure


def _bars(axes: Axes, components: Sequence[Components]) -> None:
    """Mean share of the variance by component, with its range over norms, and the running sum."""
    shares = np.array([one.shares[:BARS] for one in components]) * 100
    numbers, mean = np.arange(1, shares.shape[1] + 1), shares.mean(0)
    reach = [mean - shares.min(0), shares.max(0) - mean]
    axes.bar(numbers, mean, 0.7, yerr=reach, color=style.SKY, ecolor=style.BLACK, capsize=2,
             error_kw={"elinewidth": 0.7})  # fmt: skip
    axes.plot(numbers, mean.cumsum(), color=style.VERMILLION, marker="o", markersize=3)
    at_right: dict[str, Any] = {
        "ha": "right",
        "fontsize": style.SMALL,
        "transform": axes.get_yaxis_transform(),
    }
    axes.text(1, 80, "running sum", color=style.VERMILLION, **at_right)
    axes.text(1, 26, "each:\nmean, range", color=style.BLUE, **at_right)
    axes.set_ylim(0, 105)
    axes.set_xticks(numbers)
    axes.set_ylabel("share of variance (%)")
    axes.set_xlabel("component")


def _plane(axes: Axes, components: Components) -> None:
    """The path of the vectors as time passes, in the first two components."""
    colours = np.linspace(0, 1, len(components.plane))
    first, second = components.plane.T
    axes.scatter(first, second, 3, colours, cmap=style.TIME_MAP, vmin=0, vmax=1, linewidths=0)
    axes.margins(0.08)
    axes.locator_params(axis="x", nbins=3)
    axes.locator_params(axis="y", nbins=4)
    shares = components.shares * 100
    axes.set_xlabel(f"1st ({shares[0]:.0f}%)", labelpad=1)
    axes.set_ylabel(f"2nd ({shares[1]:.0f}%)", labelpad=0)
