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
Names are the definitions in experiments/figures. `snakemake results/digits/figures/td_ln.pdf` makes
what a figure needs first.
"""


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "draw a figure, as PDF and PNG, of runs that exist"
    parser = add_step(steps, "figure", figure, text, out="figure", png="picture")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("name", metavar="NAME", help="of the figure: td_ln, digits/td_ln, ...")
    parser.add_argument("--variant", help="figure architecture: of this variant")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="PATH",
                        help="the folder of runs (default: runs)")  # fmt: skip
    parser.add_argument("--metrics", type=Path, nargs="*", default=[], metavar="FILE",
                        help="figure cost: runs/<run>/metrics/<setting>.json to add")  # fmt: skip
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="whose experiments/ (default: this)"
    )


def figure(options: argparse.Namespace) -> None:
    """``dimr figure``."""
    from dimr.paper.figures.definitions import PublishedCostFigure, define

    project = Project(options.root)
    definition = define(options.name, project, options.variant)
    if options.metrics and not isinstance(definition, PublishedCostFigure):
        raise DimrError(f"--metrics: not used by figure {options.name} (it names its runs)")
    from dimr.paper.figures.make import write_figure  # matplotlib: after the checks

    write_figure(
        definition, project, options.runs, options.out, options.png, metrics=options.metrics
    )
