"""The paper's own tables and figures."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.runs import ROOT
from dimr.stages.options import TABLE_FILES, add_step


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "write a table of the paper: variants (3), settings (4), results (1, 2, 5, 6, 7)"
    parser = add_step(steps, "paper-table", paper_table, text, "table", **TABLE_FILES)
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="whose experiments/ (default: this)"
    )
    results = parser.add_argument_group("tables of results")
    results.add_argument("--runs", type=Path, default=Path("runs"), metavar="PATH",
                         help="the folder of runs (default: runs)")  # fmt: skip
    results.add_argument("--metrics", type=Path, nargs="*", default=[], metavar="FILE",
                         help="runs/<run>/metrics/<setting>.json that the table needs")  # fmt: skip
    results.add_argument("--partial", action="store_true",
                         help="mark what is missing, in place of refusing")  # fmt: skip


def paper_table(options: argparse.Namespace) -> None:
    """``dimr paper-table``."""
    from dimr.paper.tables.definitions import write_paper_table

    write_paper_table(
        options.table,
        options.csv,
        options.markdown,
        options.latex,
        options.root,
        runs=options.runs,
        metrics=options.metrics,
        partial=options.partial,
    )
