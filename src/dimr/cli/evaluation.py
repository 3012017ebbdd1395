"""Tables on a dataset."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.runs import ROOT
from dimr.stages.options import TABLE_FILES, add_output, add_step


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = (
        "build a table and its picture (samples of its rows, bars of what is compared, or a curve)"
    )
    parser = add_step(steps, "table", table, text, "table", "runs", **TABLE_FILES)
    add_output(parser, "--picture", "picture", help="also draw it")
    parser.add_argument("--partial", action="store_true",
                        help="with the results at hand: mark what is missing")  # fmt: skip
    parser.add_argument(
        "--root", type=Path, default=ROOT,
        help="whose experiments/ say what results should be of (default: this)",
    )  # fmt: skip


def table(options: argparse.Namespace) -> None:
    """``dimr table``."""
    from dimr.paper.results import read_at_hand, read_cells
    from dimr.paper.tables.definitions import load_runs_table
    from dimr.paper.tables.runs import table_sheet
    from dimr.paper.tables.sheets import label_of, write_sheet

    definition = load_runs_table(options.table, options.root)
    read = read_at_hand if options.partial else read_cells
    made = read(options.runs, definition.cells(), options.root)
    sheet = table_sheet(definition, made, options.partial)  # before the picture, which takes longer
    if options.picture:
        _draw(definition, options.runs, options.picture)
    label = label_of(options.table)
    write_sheet(sheet, options.csv, options.markdown, options.latex, label)


def _draw(definition: Any, runs: Path, picture: Path) -> None:
    """The picture of a table: bars of what is compared, a curve, or samples of its rows."""
    from dimr.paper.figures.bars import table_bars
    from dimr.paper.figures.curves import table_curves
    from dimr.paper.figures.picture import table_picture

    if definition.paired:
        table_bars(definition, runs, definition.paired, picture)
    elif definition.curve:
        x, y = definition.curve
        table_curves(definition, runs, x, y, picture)
    else:
        table_picture(definition, runs, picture)
