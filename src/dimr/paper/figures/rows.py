"""Lines of tables whose runs a figure shows."""

from collections.abc import Iterable
from dataclasses import dataclass

from dimr.config.project import Project
from dimr.config.runs import BASELINE_SETTING
from dimr.config.validation import did_you_mean
from dimr.paper.tables.definitions import FOLDER, definition_of, load_definition, names
from dimr.paper.tables.runs import Line, RunsTable
from dimr.runtime.errors import DimrError


@dataclass(frozen=True)
class TrainedRow:
    """A model that is trained here.

    Attributes:
        name: as the table prints it.
        runs: one per seed.
        settings: of sampling, that the table shows.
    """

    name: str
    runs: tuple[str, ...]
    settings: tuple[str, ...]


def trained_rows(table: str, dataset: str, project: Project) -> list[TrainedRow]:
    """The rows of a table (``digits/table1``, ``table1``) that are trained here on a dataset.

    A model that a table lists more than once, e.g. with and without guidance, is one row.

    Raises:
        DimrError: no such table, or one without such rows.
    """
    rows: dict[tuple[str, ...], TrainedRow] = {}
    for line in _lines(table, project):
        trained = (run for run, setting in line.cells if setting != BASELINE_SETTING)
        runs = tuple(dict.fromkeys(trained))
        if not runs or runs[0].split("/")[0] != dataset or runs[0].endswith("/published"):
            continue
        known = rows.get(runs, TrainedRow(line.title, runs, ()))
        settings = dict.fromkeys([*known.settings, *(setting for _, setting in line.cells)])
        rows[runs] = TrainedRow(known.name, runs, tuple(settings))
    if not rows:
        raise DimrError(f"{FOLDER}/{table}.yaml: no row is trained on {dataset!r}")
    return list(rows.values())


def block_lines(table: str, title: str, project: Project) -> list[Line]:
    """The lines of a table's block by its title; ``DimrError`` lists the legal ones."""
    lines = _lines(table, project)
    titles = list(dict.fromkeys(line.block for line in lines))
    if title not in titles:
        raise DimrError(f"{FOLDER}/{table}.yaml: no block {title!r} {did_you_mean(title, titles)}")
    return [line for line in lines if line.block == title]


def _lines(table: str, project: Project) -> list[Line]:
    """The lines of a table of runs; none for another kind."""
    if table not in (known := names(project)):
        raise DimrError(f"{FOLDER}: no table {table!r} {did_you_mean(table, known)}")
    definition = load_definition(definition_of(table, project))
    return definition.lines if isinstance(definition, RunsTable) else []


def runs_in_words(runs: Iterable[str]) -> str:
    """``digits/dit-xs-2 (3 seeds: 0, 1, 2); imagenet256/dimr-xl-2r (authors' weights)``."""
    by_model: dict[str, list[str]] = {}
    for run in dict.fromkeys(runs):
        model, _, seed = run.rpartition("/")
        by_model.setdefault(model, []).append(seed)
    words = []
    for model, seeds in by_model.items():
        numbers = [seed for seed in seeds if seed != "published"]
        of = ["authors' weights"] if len(numbers) < len(seeds) else []
        if numbers:
            count = "seed" if len(numbers) == 1 else f"{len(numbers)} seeds:"
            of.append(f"{count} {', '.join(numbers)}")
        words.append(f"{model} ({'; '.join(of)})")
    return "; ".join(words)
