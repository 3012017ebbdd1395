"""The paper's own tables and figures that need no run."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import add_step
from dimr.experiment import ROOT


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "write a table of the paper that needs no training: variants (3), settings (4)"
    parser = add_step(steps, "paper-table", paper_table, text, "table", "csv", "markdown", "latex")
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="whose experiments/ (default: this)"
    )


def paper_table(options: argparse.Namespace) -> None:
    """``dimr paper-table``."""
    from dimr.reporting.paper_tables import write_paper_table

    write_paper_table(options.table, options.csv, options.markdown, options.latex, options.root)
