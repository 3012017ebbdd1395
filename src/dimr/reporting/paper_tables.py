"""The paper's own tables: their definitions by kind, and their files."""

from collections.abc import Sequence
from pathlib import Path

from dimr.errors import DimrError
from dimr.experiment import ROOT, load_section, nearest
from dimr.files import read_yaml
from dimr.reporting.made import read_made
from dimr.reporting.paper_results import ResultsTable
from dimr.reporting.paper_settings import SettingsTable
from dimr.reporting.paper_variants import VariantsTable
from dimr.reporting.sheets import Sheet, write_sheet

PaperTable = VariantsTable | SettingsTable | ResultsTable

KINDS: dict[str, type[VariantsTable] | type[SettingsTable] | type[ResultsTable]] = {
    "variants": VariantsTable,
    "settings": SettingsTable,
    "results": ResultsTable,
}
"""The definition (``experiments/tables/*.yaml``) by its ``kind``; ``results`` alone has runs."""


def load_paper_table(path: Path) -> PaperTable:
    """Read a definition; ``DimrError`` names the file and the key."""
    value = read_yaml(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in KINDS:
        raise DimrError(f"{path}: kind: {kind!r} {nearest(str(kind), list(KINDS))}")
    return load_section(KINDS[kind], path)


def tables_of_kind(root: Path, *kinds: str) -> str:
    """A pattern of the names of the tables of these kinds, for the workflow."""
    found = sorted((root / "experiments/tables").glob("*.yaml"))
    return "|".join(path.stem for path in found if load_paper_table(path).kind in kinds)


def load_results_table(path: Path, root: Path = ROOT) -> ResultsTable:
    """Read a table of results and check what its rows name, as ``root``/experiments has it."""
    table = load_paper_table(path)
    if not isinstance(table, ResultsTable):
        raise DimrError(f"{path}: kind: {table.kind} takes no runs (results does)")
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
    write_sheet(_build(path, root, runs, metrics, partial), csv, markdown, latex)


def _build(path: Path, root: Path, runs: Path, metrics: Sequence[Path], partial: bool) -> Sheet:
    table = load_paper_table(path)
    if isinstance(table, ResultsTable):
        table.check(path.name, root)
        return table.build(read_made(runs, metrics), partial, root)
    if metrics or partial:
        raise DimrError(f"{path}: kind: {table.kind} takes no metrics, and is never partial")
    return table.build(root)
