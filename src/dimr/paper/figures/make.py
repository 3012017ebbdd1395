"""From a definition and the folder of runs to a figure; the one place that knows all kinds."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from dimr.config.recipes import ROOT
from dimr.paper.figures import definitions, style


def make_figure(
    definition: definitions.Definition,
    runs: Path,
    metrics: Sequence[Path] = (),
    root: Path = ROOT,
) -> Figure:
    """Load what a definition names, and draw it.

    Args:
        definition: what is shown.
        runs: the folder of runs.
        metrics: files of runs at hand that are shown beside published values.
        root: the repository whose experiments/ is read.

    Raises:
        DimrError: a file of a run that is missing or damaged.
    """
    # Each module is imported for its own kind alone: pandas, scikit-learn and torch take seconds.
    match definition:
        case definitions.SamplesFigure():
            from dimr.paper.figures import samples

            return samples.draw(samples.load(definition, runs))
        case definitions.AdaLNFigure():
            from dimr.paper.figures import adaln_pca

            return adaln_pca.draw(adaln_pca.load(definition, runs), definition.blocks)
        case definitions.TimeFigure():
            from dimr.paper.figures import td_ln

            return td_ln.draw(td_ln.load(definition, runs))
        case definitions.ArchitectureFigure():
            from dimr.paper.figures import architecture, architecture_drawing

            return architecture_drawing.draw(architecture.load(definition.variant, root))
        case definitions.TrainingFigure():
            from dimr.paper.figures import training

            return training.draw(training.load(definition, runs, root))
        case definitions.CostFigure():
            from dimr.paper.figures import cost

            return cost.draw(cost.load(definition, runs, root))
        case definitions.PublishedCostFigure():
            from dimr.paper.figures import cost

            return cost.draw(cost.load_published_costs(definition, runs, metrics, root))
        case definitions.LowFidelityFigure():
            from dimr.paper.figures import low_fidelity

            return low_fidelity.draw(low_fidelity.load(definition, runs, root))
    raise AssertionError(f"{type(definition).__name__}: a kind that nothing draws")


def write_figure(
    definition: definitions.Definition,
    pdf: Path,
    png: Path,
    *,
    runs: Path,
    metrics: Sequence[Path] = (),
    root: Path = ROOT,
) -> None:
    """Make a figure and write it as PDF and PNG, with its caption in both."""
    figure = make_figure(definition, runs, metrics, root)
    caption = definition.full_caption(root)
    style.save(figure, pdf, png, title=definition.title, subject=caption)
