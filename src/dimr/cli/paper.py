"""Tables, and where a number in a table comes from."""

import argparse
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT, Project
from dimr.runtime.errors import DimrError
from dimr.stages.options import TABLE_FILES, add_output, add_step, positive

EXAMPLES = """\
examples:
  dimr why results/table1.csv --row DiMR-XL/2R --column fid
  dimr why results/digits/table7.csv --row DiMR-XS/2R --setting guided --column fid_digits

The cell is computed again from the metrics of its runs; where some are not available, from what
the study recorded of all of them (results/digits/seeds.csv). Exit codes: 0 the table has that
value; 2 it has another one, or metrics were changed after they were made; 4 it cannot be checked,
as runs are not available and their numbers are not recorded.
"""


class CannotCheck(DimrError):
    """What is behind a cell is not available: nothing is wrong, and nothing is confirmed."""

    exit_code = 4


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "fill a table of experiments/tables; a table of runs also has a picture (samples of its "
    text += "rows, bars of what is compared, or a curve)"
    parser = add_step(steps, "table", table, text, "table", **TABLE_FILES)
    add_output(parser, "--picture", "picture", help="also draw it, if the table is of runs")
    parser.add_argument("--runs", type=Path, default=Path("runs"), metavar="PATH",
                        help="the folder of runs (default: runs)")  # fmt: skip
    parser.add_argument("--partial", action="store_true",
                        help="use the results that exist, and mark what is missing")  # fmt: skip
    parser.add_argument("--seeds", type=positive, metavar="N",
                        help="seeds of each trained row (default: as the table says)")  # fmt: skip
    parser.add_argument(
        "--root", type=Path, default=ROOT,
        help="the repository whose experiments/ define the runs (default: this)",
    )  # fmt: skip

    text = "trace a cell of a table: runs, settings, keys, code, versions and commands behind it"
    parser = add_step(steps, "why", why, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("table", type=Path, metavar="TABLE", help="results/.../NAME.csv")
    parser.add_argument("--row", required=True, help="title, run or variant of the row")
    parser.add_argument("--column", required=True, help="key or heading of the column")
    parser.add_argument("--setting", help="setting of guidance (default: all of the row)")
    parser.add_argument("--runs", type=Path, metavar="DIR",
                        help="the folder of runs (default: beside results/)")  # fmt: skip
    parser.add_argument("--root", type=Path, metavar="DIR",
                        help="the repository of the table (default: beside results/)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def table(options: argparse.Namespace) -> None:
    """``dimr table``."""
    from dimr.paper.tables.definitions import write_table

    project, files = Project(options.root), {name: getattr(options, name) for name in TABLE_FILES}
    write_table(
        options.table, project, options.runs, files, options.picture, options.partial, options.seeds
    )


def why(options: argparse.Namespace) -> None:
    """``dimr why``."""
    import dataclasses
    import json

    from dimr.paper.explain import Explainer
    from dimr.paper.trace import why_text

    explainer = Explainer(options.table, options.runs, options.root)
    found = explainer.explain(options.row, options.column, options.setting)
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
