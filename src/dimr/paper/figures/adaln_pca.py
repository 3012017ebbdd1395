"""Principal components of adaLN-Zero's scales and shifts over time (paper, section 3.3).

For each layer norm of the blocks, the vectors that it gets while images are drawn (appendix E) are
points in D dimensions. TD-LN can do with two learned ends because a few components hold most of
their variance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dimr.config.project import Project
from dimr.config.schema import SampleConfig
from dimr.config.validation import load_section
from dimr.paper.figures import style
from dimr.paper.figures.definitions import AdaLNFigure
from dimr.paper.figures.time_vectors import Vectors, adaln_zero_vectors, sampled_conditions
from dimr.runtime.errors import DimrError
from dimr.sampling.model import load_network

COMPONENTS = 10
"""How many components are shown."""
LINE = 0.1
"""Share of the variance at which the paper draws a line."""
PANELS = {
    r"scale $\gamma_1$": ("attention", "scale"),
    r"scale $\gamma_2$": ("MLP", "scale"),
    r"shift $\beta_1$": ("attention", "shift"),
    r"shift $\beta_2$": ("MLP", "shift"),
}
"""What norm and which of its vectors a panel shows, by its title."""


@dataclass(frozen=True)
class Shares:
    """Shares of the variance by principal component, of one kind of vector of one layer norm.

    ``block`` counts from 0, ``part`` and ``kind`` are as in ``PANELS``; ``shares`` (COMPONENTS,)
    are largest first.
    """

    block: int
    part: str
    kind: str
    shares: NDArray[np.float64]


def explained_variance(vectors: Vectors, components: int = COMPONENTS) -> NDArray[np.float64]:
    """Explained variance ratios of the first components of (T, D), centred, not scaled.

    Raises:
        ValueError: all vectors are equal.
    """
    from sklearn.decomposition import PCA

    if not np.ptp(vectors, axis=0).any():
        raise ValueError("the vectors do not change over time")
    analysis = PCA(min(components, *vectors.shape), svd_solver="covariance_eigh").fit(vectors)
    return analysis.explained_variance_ratio_


def make(definition: AdaLNFigure, project: Project, runs: Path) -> Figure:  # noqa: ARG001
    """The figure of a definition."""
    return draw(load(definition, runs), definition.depths)


def load(definition: AdaLNFigure, runs: Path) -> list[Shares]:
    """The shares of every layer norm in the shown blocks of a run's model."""
    folder = runs / definition.run
    network, config = load_network(folder / "model")
    file = folder / "config" / f"sample-{definition.setting}.yaml"
    times, labels = sampled_conditions(config, load_section(SampleConfig, file), definition.images)
    found = []
    for norm in adaln_zero_vectors(network, times, labels):
        if norm.block is None or (definition.depths and norm.block + 1 not in definition.depths):
            continue
        for kind in ("scale", "shift"):
            try:
                shares = explained_variance(getattr(norm, kind))
            except ValueError as error:
                where = f"block {norm.block}, {norm.part}"
                raise DimrError(f"{folder / 'model'}: {where}: {error}: not trained?") from None
            found.append(Shares(norm.block, norm.part, kind, shares))
    return found


def draw(norms: Sequence[Shares], depths: Sequence[int] | None) -> Figure:
    """A row of ``PANELS`` per depth, for one layer; without depths one row, for all layers."""
    rows = [[depth - 1] for depth in depths] if depths else [[norm.block for norm in norms]]
    figure = Figure(figsize=(style.WIDTH, 0.5 + 1.15 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), len(PANELS), sharex=True, sharey=True, squeeze=False)
    for row, blocks in enumerate(rows):
        for column, (title, (part, kind)) in enumerate(PANELS.items()):
            axes = grid[row, column]
            chosen = [norm for norm in norms if norm.block in blocks]
            _bars(axes, [n.shares for n in chosen if (n.part, n.kind) == (part, kind)])
            style.letter(axes, row * len(PANELS) + column, "" if row else title)
        if depths:
            grid[row, 0].set_ylabel(f"layer {depths[row]}")
    figure.supylabel("explained variance ratio", fontsize=style.NORMAL)
    figure.supxlabel("principal component", fontsize=style.NORMAL)
    return figure


def _bars(axes: Axes, shares: Sequence[NDArray[np.float64]]) -> None:
    """Mean share of the variance by component; for several norms, with its range."""
    values = np.array(shares)
    numbers, mean = np.arange(1, values.shape[1] + 1), values.mean(0)
    reach = [mean - values.min(0), values.max(0) - mean] if len(values) > 1 else None
    axes.bar(numbers, mean, 0.75, yerr=reach, color=style.SKY, ecolor=style.BLACK, capsize=1.5,
             error_kw={"elinewidth": 0.7, "capthick": 0.7})  # fmt: skip
    axes.axhline(LINE, color=style.VERMILLION, linewidth=0.8, linestyle="--")
    axes.set_ylim(0, 1)
    axes.set_xticks([1, 5, 10] if len(mean) == COMPONENTS else numbers)
    axes.set_yticks([0, LINE, 0.5, 1], ["0", f"{LINE:g}", "0.5", "1"])
