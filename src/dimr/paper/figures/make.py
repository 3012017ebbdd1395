"""From a definition and the folder of runs to a figure's files."""

import importlib
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl

from dimr.config.project import Project
from dimr.paper.figures import style
from dimr.paper.figures.definition import Definition


def write_figure(
    definition: Definition,
    project: Project,
    runs: Path,
    pdf: Path,
    png: Path,
    metrics: Sequence[Path] = (),
) -> None:
    """Draw a figure and write it as PDF and PNG, with its caption in both.

    Args:
        definition: what is shown; its module is imported only now: pandas, scikit-learn and torch
            take seconds.
        project: whose ``experiments`` are read.
        runs: the folder of runs.
        pdf: where the PDF goes.
        png: where the PNG goes.
        metrics: of our runs that are shown beside published values.

    Raises:
        DimrError: a file of a run that is missing or damaged.
    """
    module = importlib.import_module(f"dimr.paper.figures.{definition.module}")
    options = {"metrics": metrics} if metrics else {}
    caption = definition.full_caption(project)
    with mpl.rc_context(style.STYLE):
        figure = module.make(definition, project, runs, **options)
        style.save(figure, pdf, png, title=definition.filled(definition.title), subject=caption)
