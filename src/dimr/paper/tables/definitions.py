"""Definitions of tables (``experiments/tables``) of every kind, and the files of a table."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dimr.config.project import Project
from dimr.config.validation import choose, did_you_mean, mapping, validate
from dimr.paper.results import results
from dimr.paper.tables.render import label_of, write_sheet
from dimr.paper.tables.runs import RunsTable
from dimr.paper.tables.settings import SettingsTable
from dimr.paper.tables.sheet import Table
from dimr.paper.tables.variants import VariantsTable
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

FOLDER = "experiments/tables"
OWN = ("partial", "demo")
"""Folders below ``results`` whose tables are made from this machine's runs."""
DEMO_SEEDS = 1
"""Seeds of each network in a demo's table."""


class AbsentTable(Table):
    """``kind: absent``: a table of the paper without a counterpart for a dataset, and why."""

    kind: Literal["absent"]
    title: str = ""
    reason: str

    @property
    def exists(self) -> bool:
        """No table can be made."""
        return False

    def check(self, source: str, project: Project) -> None:  # noqa: ARG002
        """Raise ``DimrError`` with the reason."""
        raise DimrError(f"{source}: {self.reason}")


KINDS: dict[str, type[Table]] = {
    "runs": RunsTable,
    "variants": VariantsTable,
    "settings": SettingsTable,
    "absent": AbsentTable,
}
"""The class of a definition by its ``kind``; without a kind it is a table of runs."""


def load_definition(path: Path) -> Table:
    """Read any definition; ``DimrError`` names the file and the key."""
    value = {"kind": "runs", **mapping(read_yaml(path), str(path))}
    return validate(choose(KINDS, value, "kind", str(path)), value, str(path))


def load_table(path: Path, project: Project) -> Table:
    """Read a definition and check the names in it against the project.

    Raises:
        DimrError: a mistake; or the reason why there is no such table.
    """
    table = load_definition(path)
    table.check(path.name, project)
    return table


def of_seeds(table: Table, seeds: int) -> Table:
    """A table of runs with another number of seeds for each trained row; others unchanged."""
    if not isinstance(table, RunsTable):
        return table
    return validate(RunsTable, {**table.model_dump(mode="json"), "seeds": seeds}, "--seeds")


def find_definitions(project: Project) -> dict[str, Table]:
    """Every definition by the table's name: ``table1``, ``digits/table1``."""
    return {name: load_definition(definition_of(name, project)) for name in names(project)}


def names(project: Project) -> list[str]:
    """Names of the tables: their paths below ``experiments/tables``."""
    folder = project.root / FOLDER
    files = sorted(folder.rglob("*.yaml"))
    return [file.relative_to(folder).with_suffix("").as_posix() for file in files]


def definition_of(name: str, project: Project) -> Path:
    """The file that defines a table; ``DimrError`` if there is none."""
    file = project.root / FOLDER / f"{name}.yaml"
    if not file.is_file():
        known = names(project)
        hint = did_you_mean(name, known) if known else ""
        raise DimrError(f"{file}: no such definition {hint}".rstrip())
    return file


# --- the files of a table -------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a table's files are: ``results/[partial/|demo/][<dataset>/]<name>.csv``.

    Attributes:
        csv: the table.
        folder: that holds ``results``, according to the table's path.
        name: of the table's definition.
        kind: "partial" or "demo", made from this machine's runs; "": the study's.
    """

    csv: Path
    folder: Path
    name: str
    kind: str

    @property
    def target(self) -> str:
        """The table's name for Snakemake."""
        return f"results/{f'{self.kind}/' * bool(self.kind)}{self.name}.csv"

    def table(self, project: Project) -> Table:
        """Its definition; a demo's has one seed, or it would train for an hour."""
        table = load_definition(definition_of(self.name, project))
        return of_seeds(table, DEMO_SEEDS) if self.kind == "demo" else table

    @property
    def seeds(self) -> Path:
        """The recorded numbers of single runs that the study's tables are made from."""
        return self.folder / "results" / Path(self.name).parent / "seeds.csv"

    def stated(self) -> list[dict[str, str]]:
        """The lines of the CSV; ``DimrError`` with the command if it does not exist."""
        if not self.csv.is_file():
            raise DimrError(f"{self.csv}: not made yet: snakemake -- {self.target}")
        with open(self.csv, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def place_of(table: Path) -> Place:
    """The parts of a table's path; .md and .tex name the same table."""
    if table.suffix not in (".csv", ".md", ".tex") or "results" not in table.parts:
        raise DimrError(f"{table}: no table (results/NAME.csv, results/digits/NAME.csv, ...)")
    at = len(table.parts) - 1 - table.parts[::-1].index("results")
    inside = Path(*table.parts[at + 1 :]).with_suffix("")
    kind = inside.parts[0] if inside.parts[0] in OWN else ""
    name = inside.relative_to(kind).as_posix()
    return Place(table.with_suffix(".csv"), Path(*table.parts[:at]), name, kind)


def write_table(
    path: Path,
    project: Project,
    runs: Path,
    files: Mapping[str, Path],
    picture: Path | None = None,
    partial: bool = False,
    seeds: int | None = None,
) -> None:
    """Fill the table that a file defines with runs' results, and write its files.

    Args:
        path: the definition, which also gives the LaTeX label.
        project: whose ``experiments`` are read, and whose configuration results must be of.
        runs: the folder of runs.
        files: where ``csv``, ``markdown`` and ``latex`` go.
        picture: where the picture goes; None: none is drawn.
        partial: mark what is missing instead of refusing.
        seeds: of each trained row, in place of the definition's.

    Raises:
        DimrError: results that are missing (unless ``partial``), were changed by hand or are of
            another configuration; or a picture of a table that has none.
    """
    table = load_table(path, project)
    if seeds is not None:
        table = of_seeds(table, seeds)
    frame = results(project, runs, table.cells(), partial)
    sheet = table.fill(project, frame, partial)  # before the picture, which takes longer
    if picture is not None:
        if not isinstance(table, RunsTable):
            raise DimrError(f"--picture: {path}: only a table of runs has one")
        from dimr.paper.figures.table_plots import draw_table  # matplotlib, only if it is drawn

        draw_table(table, frame, runs, picture)
    write_sheet(sheet, label_of(path), **files)
