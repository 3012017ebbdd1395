"""Where a number of a table comes from."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import add_step


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "trace a cell of a table: runs, settings, keys, code, versions and commands behind it"
    parser = add_step(steps, "why", why, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """examples:
  dimr why results/table1.csv --row DiMR-XL/2R --column fid
  dimr why results/digits/table1.csv --row DiMR-XS/2R --setting guided --column fid_digits

The cell is computed again from the metrics. Exit code 2: the table has another value, or the
metrics were changed after they were made."""
    parser.add_argument("table", type=Path, metavar="TABLE", help="results/.../NAME.csv")
    parser.add_argument("--row", required=True, help="its title, run or variant")
    parser.add_argument("--column", required=True, help="its key or heading")
    parser.add_argument("--setting", help="of guidance (default: all that the row has)")
    parser.add_argument("--runs", type=Path, metavar="DIR",
                        help="the folder of runs (default: beside results/)")  # fmt: skip
    parser.add_argument("--root", type=Path, metavar="DIR",
                        help="whose experiments/ define it (default: beside results/)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="for machines")


def why(options: argparse.Namespace) -> None:
    """``dimr why``."""
    import dataclasses
    import json

    from dimr.errors import DimrError
    from dimr.reporting.why import explain
    from dimr.reporting.why_text import why_text

    found = explain(
        options.table, options.row, options.column, options.setting, options.runs, options.root
    )
    if options.json:
        values = [{**dataclasses.asdict(one), "agrees": one.agrees} for one in found]
        print(json.dumps(values, indent=2))
    else:
        print(why_text(found))
    wrong = [one for one in found if not one.agrees]
    if wrong:
        raise DimrError(
            f"{wrong[0].table}: {wrong[0].cell}: has {wrong[0].stated or 'nothing'}, but it comes "
            f"out as {wrong[0].value or 'blank'}: stale or edited: {wrong[0].command}"
        )
