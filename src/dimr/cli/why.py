"""Where a number of a table comes from."""

import argparse
from pathlib import Path
from typing import Any

from dimr.runtime.errors import DimrError
from dimr.stages.options import add_step


class CannotCheck(DimrError):
    """What is behind a cell is not available: nothing is wrong, and nothing is confirmed."""

    exit_code = 4


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "trace a cell of a table: runs, settings, keys, code, versions and commands behind it"
    parser = add_step(steps, "why", why, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """examples:
  dimr why results/table1.csv --row DiMR-XL/2R --column fid
  dimr why results/digits/table6.csv --row DiMR-XS/2R --setting guided --column fid_digits

The cell is computed again from the metrics of its runs; where some are not available, from what
the study recorded of all of them (results/digits/seeds.csv). Exit codes: 0 the table has that
value; 2 it has another one, or metrics were changed after they were made; 4 it cannot be checked,
as runs are not available and their numbers are not recorded."""
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

    from dimr.paper.explain import explain
    from dimr.paper.explain.text import why_text

    found = explain(
        options.table, options.row, options.column, options.setting, options.runs, options.root
    )
    if options.json:
        agrees = {"agrees": True, "wrong": False, "unchecked": None}
        values = [{**dataclasses.asdict(one), "agrees": agrees[one.verdict]} for one in found]
        print(json.dumps(values, indent=2))
    else:
        print(why_text(found))
    for one in found:
        if one.verdict == "wrong":
            raise DimrError(
                f"{one.table}: {one.cell}: has {one.stated or 'nothing'}, but it comes out as "
                f"{one.value or 'blank'}: stale or edited: {one.command}"
            )
    for one in found:
        if one.verdict == "unchecked":
            files = " ".join(missing["file"] for missing in one.missing)
            how = f": snakemake -- {files}" if files else ""
            raise CannotCheck(f"{one.table}: {one.cell}: cannot be checked: {one.absent}{how}")
