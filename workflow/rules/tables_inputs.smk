# What tables are made from, by their definitions: a new table is one file in experiments/tables.

import re

from dimr.paper.results import available, metrics_file, provenance_file
from dimr.paper.tables.definitions import (
    DEMO_SEEDS,
    find_definitions,
    load_table,
    of_seeds,
)

TABLES = one_line_errors(find_definitions)(PROJECT)
PICTURED = [name for name, table in TABLES.items() if table.pictured]
PLAIN = [name for name in TABLES if name not in PICTURED]


def result_files(cells):
    """The metrics of each (run, setting), and what made them."""
    return [
        f"runs/{file(*cell)}"
        for cell in cells
        for file in (metrics_file, provenance_file)
    ]


@one_line_errors
def available_files(cells):
    """The metrics that exist and match the present configuration."""
    return [
        f"runs/{metrics_file(*cell)}"
        for cell in available(PROJECT, Path("runs"), cells)
    ]


@one_line_errors
def table_inputs(wildcards):
    """Input function: a table's definition, and what it is made from."""
    place, name = re.fullmatch("(partial/|demo/)?(.+)", wildcards.table).groups()
    definition = f"experiments/tables/{name}.yaml"
    table = load_table(PROJECT.root / definition, PROJECT)
    if place == "demo/":
        table = of_seeds(table, DEMO_SEEDS)
    cells, samples = table.cells(), []
    if place == "partial/":
        if not cells:
            raise DimrError(f"{definition}: has no runs, and so no partial table")
        cells = available(PROJECT, Path("runs"), cells)
    elif table.pictured:
        samples = [f"runs/{run}/samples/{setting}" for run, setting in cells]
    return {
        "table": definition,
        "files": table.files(PROJECT.root),
        "results": result_files(cells),
        "samples": [PIPELINE.result(sample).handed_on for sample in samples],
    }
