"""What a table is: columns, cells with their origin, and what all definitions have."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dimr.config.project import Project
from dimr.config.schema import ConfigModel
from dimr.paper.results import RunSetting

if TYPE_CHECKING:
    import pandas as pd

YES, NO = "✓", "✗"
MISSING = "?"
"""Shown where our number does not exist yet."""
COUNTED_FROM = ("published", "variants", "recipes")


class Column(ConfigModel):
    """A column: key in the CSV, heading, heading shared with its neighbours, format of numbers.

    ``csv_only``: left out where people read.
    """

    key: str
    title: str
    group: str = ""
    format: str = "{}"
    left: bool = False  # for text; numbers are right-aligned
    csv_only: bool = False

    @property
    def heading(self) -> str:
        """The heading on one line."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Origin:
    """Where a cell's value comes from; ``dimr why`` prints it.

    Attributes:
        how: in words: mean of which runs, published where, counted from what, or why blank.
        cells: every (run, setting) that it is computed from, available or not.
        metric: the number that each of them has in the frame of results; "": none, as for a count
            of runs.
    """

    how: str
    cells: tuple[RunSetting, ...] = ()
    metric: str = ""


DEFINED = Origin("from the table's definition")


@dataclass(frozen=True)
class Cell:
    """A value as machines read it, the same for people, and its origin."""

    value: Any
    text: str
    origin: Origin = DEFINED


def cell(value: Any, form: str = "{}", origin: Origin = DEFINED) -> Cell:
    """A value and its text: None is blank, yes and no are ticks and crosses, text is unchanged."""
    if value is None:
        return Cell(None, "", origin)
    if isinstance(value, bool):
        return Cell(value, YES if value else NO, origin)
    if isinstance(value, list | tuple):
        parts = [cell(part, form).text for part in value]
        return Cell(", ".join(map(str, value)), ", ".join(parts), origin)
    return Cell(value, value if isinstance(value, str) else form.format(value), origin)


@dataclass(frozen=True)
class Block:
    """Rows under one heading of columns.

    Attributes:
        title: empty where a sheet has one block.
        columns: of all rows.
        rows: a cell for each column.
        names: other names of each row (its run, its variant), by which it can be asked for.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    names: Sequence[Sequence[str]] = ()


@dataclass(frozen=True)
class Sheet:
    """A table that is filled."""

    title: str
    blocks: Sequence[Block]
    notes: Sequence[str]


class Table(ConfigModel):
    """What the definitions of all kinds of tables (``experiments/tables``) share.

    ``notes`` appear below the table. By default a table is counted, from networks and recipes, not
    runs, and has no picture.
    """

    title: str
    notes: list[str] = Field(default=[])

    @property
    def exists(self) -> bool:
        """Whether it can be made."""
        return True

    @property
    def pictured(self) -> bool:
        """Whether the complete table comes with a picture."""
        return False

    def cells(self) -> list[RunSetting]:
        """Every (run, setting) that the table shows, once."""
        return []

    def files(self, root: Path) -> list[str]:
        """What else it is made from, as paths in the repository: the workflow follows them."""
        networks = sorted((root / "src/dimr/models").glob("*.py"))
        code = [file.relative_to(root).as_posix() for file in networks]
        return [*(f"experiments/{name}.yaml" for name in COUNTED_FROM), *code]

    def check(self, source: str, project: Project) -> None:
        """Refuse names of things that do not exist; ``source`` names the definition."""

    def count(self, project: Project) -> Sheet:
        """The sheet of a table without runs."""
        raise NotImplementedError

    def fill(self, project: Project, frame: "pd.DataFrame", partial: bool = False) -> Sheet:  # noqa: ARG002
        """Compute every cell.

        Args:
            project: whose ``experiments`` are read.
            frame: of ``dimr.paper.results``, with the numbers of ``cells``.
            partial: mark what the frame lacks instead of refusing.
        """
        return self.count(project)
