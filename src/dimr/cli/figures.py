"""The paper's figures."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT, Project
from dimr.runtime.errors import DimrError
from dimr.stages.options import add_step

EXAMPLES = """\
examples:
  dimr figure digits/td_ln --out td_ln.pdf --png td_ln.png
  dimr figure architecture --variant dimr-g-2r --out g.pdf --png g.png
  dimr figure figure4 --out 4.pdf --png 4.png
A name is a definition in experiments/figures, or one of the paper's figures as numbered in
experiments/figures.yaml. `snakemake results/digits/figures/td_ln.pdf` first makes what
a figure needs.
"""


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "draw a figure of existing runs, as PDF and PNG"
    parser = add_step(steps, "figure", figure, text, out="figure", png="picture")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument(
        "name", metavar="NAME", help="the figure: figure4, td_ln, digits/td_ln, ..."
    )
    parser.add_argument("--variant", help="for figure architecture: the variant")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="PATH",
                        help="the folder of runs (default: runs)")  # fmt: skip
    parser.add_argument("--metrics", type=Path, nargs="*", default=[], metavar="FILE",
                        help="for figure cost: runs/<run>/metrics/<setting>.json")  # fmt: skip
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def figure(options: argparse.Namespace) -> None:
    """``dimr figure``."""
    from dimr.paper.figures.definitions import PublishedCostFigure
    from dimr.paper.figures.lookup import define

    project, name, variant = Project(options.root), options.name, options.variant
    if variant is not None:
        if name != "architecture":
            raise DimrError(f"--variant: {variant}: only for figure architecture, not for {name}")
        name = f"{name}/{variant}"
    definition = define(name, project)
    if options.metrics and not isinstance(definition, PublishedCostFigure):
        raise DimrError(f"--metrics: not used by figure {name} (it names its runs)")
    from dimr.paper.figures.make import write_figure  # matplotlib: after the checks

    write_figure(
        definition, project, options.runs, options.out, options.png, metrics=options.metrics
    )
