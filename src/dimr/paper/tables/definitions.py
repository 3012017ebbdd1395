"""Tables' definitions (experiments/tables) by kind, and the files of the paper's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from dimr.config.runs import ROOT, load_section
from dimr.config.schema import ConfigModel
from dimr.config.validation import choose
from dimr.paper.results import read_made
from dimr.paper.tables.results import ResultsTable
from dimr.paper.tables.runs import Table, load_table
from dimr.paper.tables.settings import SettingsTable
from dimr.paper.tables.sheets import Sheet, label_of, write_sheet
from dimr.paper.tables.variants import VariantsTable
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml


class AbsentTable(ConfigModel):
    """``kind: absent``: a table of the paper that a dataset has no counterpart of, and why."""

    kind: Literal["absent"]
    reason: str


PaperTable = VariantsTable | SettingsTable | ResultsTable
Definition = PaperTable | AbsentTable | Table

KINDS: dict[str, type[PaperTable] | type[AbsentTable]] = {
    "variants": VariantsTable,
    "settings": SettingsTable,
    "results": ResultsTable,
    "absent": AbsentTable,
}
"""The definition (``experiments/tables``) by its ``kind``. ``results`` alone has runs, and a
definition without a kind: a ``Table``, whose rows are runs on one dataset."""


def kind_of(table: Definition) -> str:
    """A name of ``KINDS``, or ``runs``."""
    return "runs" if isinstance(table, Table) else table.kind


def load_definition(path: Path) -> Definition:
    """Read any definition; ``DimrError`` names the file and the key."""
    value = read_yaml(path)
    if not isinstance(value, dict) or "kind" not in value:
        return load_table(path)
    return load_section(choose(KINDS, value, "kind", str(path)), path)


def load_paper_table(path: Path) -> PaperTable:
    """Read a definition of the paper's own tables."""
    table = load_definition(path)
    if isinstance(table, AbsentTable):
        raise DimrError(f"{path}: {table.reason}")
    if isinstance(table, Table):
        raise DimrError(f"{path}: kind: is missing (allowed: {', '.join(KINDS)})")
    return table


def find_definitions(root: Path) -> dict[str, Definition]:
    """Every definition by the table's name: ``table1``, ``digits/table1``."""
    folder = root / "experiments/tables"
    return {
        path.relative_to(folder).with_suffix("").as_posix(): load_definition(path)
        for path in sorted(folder.rglob("*.yaml"))
    }


def load_results_table(path: Path, root: Path = ROOT) -> ResultsTable:
    """Read a table of results and check what its rows name, as ``root``/experiments has it."""
    table = load_paper_table(path)
    if not isinstance(table, ResultsTable):
        raise DimrError(f"{path}: kind: {table.kind} takes no runs (results does)")
    table.check(path.name, root)
    return table


def load_runs_table(path: Path, root: Path = ROOT) -> Table:
    """Read a table of runs on a dataset and check what its rows name."""
    table = load_definition(path)
    if isinstance(table, AbsentTable):
        raise DimrError(f"{path}: {table.reason}")
    if not isinstance(table, Table):
        raise DimrError(f"{path}: kind: {table.kind} is no table of a dataset's runs")
    table.check(path.name, root)
    return table


def write_paper_table(
    path: Path,
    csv: Path,
    markdown: Path,
    latex: Path,
    root: Path = ROOT,
    *,
    runs: Path = Path("runs"),
    metrics: Sequence[Path] = (),
    partial: bool = False,
) -> None:
    """Compute the table that ``path`` defines, from ``root``/experiments, and write its files.

    Args:
        path: the definition.
        csv: for machines.
        markdown: for people.
        latex: to paste.
        root: the repository whose experiments/ is read.
        runs: the folder of runs; with ``metrics`` and ``partial`` for tables of results alone.
        metrics: ``<runs>/<run>/metrics/<setting>.json`` of what the table needs, as far as it is
            made; others are left out.
        partial: mark what is missing, in place of refusing.
    """
    sheet = _build(path, root, runs, metrics, partial)
    write_sheet(sheet, csv, markdown, latex, label_of(path))


def _build(path: Path, root: Path, runs: Path, metrics: Sequence[Path], partial: bool) -> Sheet:
    table = load_paper_table(path)
    if isinstance(table, ResultsTable):
        table.check(path.name, root)
        return table.build(read_made(runs, metrics, root), partial, root)
    if metrics or partial:
        raise DimrError(f"{path}: kind: {table.kind} takes no metrics, and is never partial")
    return table.build(root)
