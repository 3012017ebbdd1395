"""What a cell's value is, in a sentence: measured, published, counted, or blank and why."""

from collections.abc import Mapping
from pathlib import Path

from dimr.paper.explain.names import Line
from dimr.paper.published import SOURCES, PublishedValue, load_published
from dimr.paper.results import RunResult, RunSetting
from dimr.paper.tables.definitions import PaperTable
from dimr.paper.tables.results import COSTS, OURS, ResultBlock, ResultsTable
from dimr.paper.tables.runs import CHANGES, Table
from dimr.paper.tables.settings import SettingsTable

SAID = "said by the table's definition"


def how(
    table: PaperTable | Table,
    line: Line,
    key: str,
    made: Mapping[RunSetting, RunResult],
    value: str,
    root: Path,
) -> str:
    """The sentence.

    Args:
        table: the definition.
        line: of it.
        key: of the column.
        made: the results behind the cell that are there.
        value: the cell's; "" if blank.
        root: the repository whose ``experiments`` are read.
    """
    if isinstance(table, Table):
        return _of_runs(table, line, key, made, value)
    if isinstance(table, ResultsTable):
        return _of_results(table, line, key, made, value, root)
    if isinstance(table, SettingsTable):
        return _of_settings(table, line, key, value, root)
    return _of_variants(line, key, value)


def measured(count: int, missing: int, value: str, is_deviation: bool) -> str:
    """Of a mean or deviation over ``count`` runs that are there, of ``missing`` that are not."""
    if not count:
        return "blank: none of its runs is made"
    if not value:
        reason = "a single seed has no deviation" if is_deviation else "its runs have no such value"
        return f"blank: {reason}"
    runs = "1 run" if count == 1 else f"{count} runs"
    what = "standard deviation (n - 1) over" if is_deviation else "mean of"
    said = f"{what} {runs}, one a seed" if count > 1 else f"the value of {runs}"
    return f"{said}; {missing} missing" if missing else said


def _of_runs(
    table: Table, line: Line, key: str, made: Mapping[RunSetting, RunResult], value: str
) -> str:
    if key in CHANGES:
        pair = table.compared(line.row, line.setting or "")
        if pair is None:
            return "blank: this row is compared with no other"
        title = table.title_of(table.paired or "")
        said = f"{pair[0].name} less {pair[1].name}, {title}, seed by seed"
        if not value:
            return f"blank: {said}: too few seeds are made in both"
        return f"{said}: mean difference and Student's 95% interval of it"
    if key in ("model", "setting", "seeds", "missing"):
        return SAID
    missing = len(line.cells) - len(made)
    return measured(len(made), missing, value, key.endswith("_std"))


# --- the paper's own ------------------------------------------------------------------------------


def _of_results(
    table: ResultsTable,
    line: Line,
    key: str,
    made: Mapping[RunSetting, RunResult],
    value: str,
    root: Path,
) -> str:
    block = next(one for one in table.blocks if one.title == line.block)
    theirs = _published(block, line, key, value, root)
    if key.endswith("_published") or key in ("type", "source"):
        return theirs
    if key not in OURS:
        return SAID
    if line.row.run is None:
        return "blank: a published row, no run of ours stands in it"
    missing = len(line.cells) - len(made)
    ours = measured(len(made), missing, value, key.endswith("_std"))
    if key.endswith("_difference"):
        if not made:
            return ours
        return f"ours less published: {theirs}" if value else f"blank: {theirs}"
    if not value and made and key in (*COSTS, "epochs"):
        return "blank: the records of its runs do not say it"
    return ours


def _published(block: ResultBlock, line: Line, key: str, value: str, root: Path) -> str:
    listed = load_published(root).results[block.published]
    if line.row.published is None:
        return "blank: a row of ours alone, nothing is published beside it"
    row = listed.rows[line.row.published]
    if value or key == "source":
        return f"published: {row.source}, {SOURCES[row.source]}"
    return f"blank: {row.note or listed.blank}"


def _of_settings(table: SettingsTable, line: Line, key: str, value: str, root: Path) -> str:
    dataset = next(
        (d.name for d in table.datasets if key.startswith(d.name.replace("-", "_"))
         and key.removeprefix(d.name.replace("-", "_")) in ("", "_published", "_agree")),
        None,
    )  # fmt: skip
    if dataset is None:
        return SAID
    theirs = load_published(root).settings.get(dataset)
    stated: PublishedValue | None = getattr(theirs, line.row.key, None) if theirs else None
    if key.endswith("_published"):
        if stated and stated.source:
            return f"published: {stated.source}, {SOURCES[stated.source]}"
        return f"blank: {(stated and stated.note) or (theirs and theirs.blank)}"
    if key.endswith("_agree"):
        return "whether ours is the published value" if value else "blank: one of the two is"
    return f"the recipe {dataset} in experiments/recipes.yaml" if value else "blank: no recipe says"


def _of_variants(line: Line, key: str, value: str) -> str:
    if key in ("model", "block"):
        return SAID
    file = f"experiments/variants.yaml, {line.row.variant}"
    if key.endswith("_published") or key == "source":
        return f"published: sources stand in {file}" if value else "blank: no source is known"
    if key.endswith("_counted"):
        said = f"of the authors' own network, as {file} says"
        return said if value else "blank: their network was not counted"
    if not value:
        return "blank: there is nothing to compare with"
    return f"counted or read here, of {file}: dimr models {line.row.variant}"
