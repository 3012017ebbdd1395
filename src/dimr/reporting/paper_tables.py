"""Tables of the paper that need no training: their definitions by kind, and their files."""

from pathlib import Path

from dimr.errors import DimrError
from dimr.experiment import ROOT, load_section, nearest
from dimr.files import read_yaml
from dimr.reporting.paper_settings import SettingsTable
from dimr.reporting.paper_variants import VariantsTable
from dimr.reporting.sheets import write_sheet

KINDS: dict[str, type[VariantsTable] | type[SettingsTable]] = {
    "variants": VariantsTable,
    "settings": SettingsTable,
}
"""The definition (``experiments/tables/*.yaml``) by its ``kind``."""


def load_paper_table(path: Path) -> VariantsTable | SettingsTable:
    """Read a definition; ``DimrError`` names the file and the key."""
    value = read_yaml(path)
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in KINDS:
        raise DimrError(f"{path}: kind: {kind!r} {nearest(str(kind), list(KINDS))}")
    return load_section(KINDS[kind], path)


def write_paper_table(
    path: Path, csv: Path, markdown: Path, latex: Path, root: Path = ROOT
) -> None:
    """Compute the table that ``path`` defines, from ``root``/experiments, and write its files."""
    write_sheet(load_paper_table(path).build(root), csv, markdown, latex)
