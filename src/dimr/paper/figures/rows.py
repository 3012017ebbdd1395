"""Rows of tables whose runs a figure shows, whichever kind of table it is."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dimr.config.recipes import ROOT
from dimr.config.runs import BASELINE_SETTING, did_you_mean, load_run
from dimr.paper.tables.definitions import load_definition, load_results_table
from dimr.paper.tables.results import ResultBlock, ResultsTable
from dimr.paper.tables.runs import Table
from dimr.runtime.errors import DimrError

TABLES = Path("experiments/tables")


@dataclass(frozen=True)
class TrainedRow:
    """A model that is trained here.

    Attributes:
        name: as the table prints it.
        runs: one for each seed.
        settings: of guidance, that the table shows.
    """

    name: str
    runs: tuple[str, ...]
    settings: tuple[str, ...]


def trained_rows(table: str, dataset: str, root: Path = ROOT) -> list[TrainedRow]:
    """The rows of a table (``digits/table1``, ``table1``) that are trained here on a dataset.

    A model that a table lists more than once, as with and without guidance, is one row.

    Raises:
        DimrError: no such table, or one without such rows.
    """
    definition = load_definition(root / _existing(table, root))
    found = []
    if isinstance(definition, ResultsTable):
        found = _of_results(definition)
    elif isinstance(definition, Table):
        found = _of_runs(definition)
    rows: dict[tuple[str, ...], TrainedRow] = {}
    for row in found:
        if row.runs[0].split("/")[0] != dataset:
            continue
        before = rows.get(row.runs)
        settings = dict.fromkeys([*(before.settings if before else ()), *row.settings])
        rows[row.runs] = TrainedRow(before.name if before else row.name, row.runs, tuple(settings))
    if not rows:
        raise DimrError(f"{TABLES / table}.yaml: no row is trained on {dataset!r}")
    return list(rows.values())


def results_block(table: str, title: str, root: Path = ROOT) -> ResultBlock:
    """A block of a table of results by its title; ``DimrError`` names the legal ones."""
    blocks = load_results_table(root / _existing(table, root), root).blocks
    by_title = {block.title: block for block in blocks}
    if title not in by_title:
        hint = did_you_mean(title, list(by_title))
        raise DimrError(f"{TABLES / table}.yaml: no block {title!r} {hint}")
    return by_title[title]


def check_runs(runs: Iterable[str], root: Path = ROOT) -> None:
    """Refuse names of no run."""
    for run in runs:
        load_run(run, root)


def _existing(table: str, root: Path) -> Path:
    folder = root / TABLES
    files = sorted(folder.rglob("*.yaml"))
    known = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
    if table not in known:
        raise DimrError(f"{TABLES}: no table {table!r} {did_you_mean(table, known)}")
    return TABLES / f"{table}.yaml"


def _of_results(table: ResultsTable) -> list[TrainedRow]:
    return [
        TrainedRow(row.title, tuple(row.runs()), (row.setting or block.setting,))
        for block in table.blocks
        for row in block.rows
        if row.run is not None and row.seeds != "published"
    ]


def _of_runs(table: Table) -> list[TrainedRow]:
    return [
        TrainedRow(row.name, tuple(table.runs(row)), tuple(row.settings))
        for row in table.rows
        if row.settings != [BASELINE_SETTING]
    ]
