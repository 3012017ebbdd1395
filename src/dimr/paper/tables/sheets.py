"""A table of the paper: values, how they are printed, and its CSV, Markdown and LaTeX files."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.schema import ConfigModel
from dimr.paper.tables.layout import NO, YES, latex_tabular, latex_text, markdown_lines
from dimr.runtime.files import write_text

MISSING = "?"
"""What stands where ours is not made yet."""

LATEX_PACKAGES = "% \\usepackage{booktabs, amssymb, graphicx}"


class SheetColumn(ConfigModel):
    """A column: key in the CSV, heading, heading shared with its neighbours, format of numbers.

    ``csv_only``: left out where people read.
    """

    key: str
    title: str
    group: str = ""
    format: str = "{}"
    left: bool = False  # text; numbers are to the right
    csv_only: bool = False

    @property
    def heading(self) -> str:
        """The heading on one line."""
        return f"{self.group} {self.title}".strip()


@dataclass(frozen=True)
class Cell:
    """A value as machines read it, and as people do."""

    value: Any
    text: str


def cell(value: Any, form: str = "{}") -> Cell:
    """A value and its text: None is blank, yes and no are ticks and crosses, text is as it is."""
    if value is None:
        return Cell(None, "")
    if isinstance(value, bool):
        return Cell(value, YES if value else NO)
    if isinstance(value, list | tuple):
        parts = [cell(part, form).text for part in value]
        return Cell(", ".join(map(str, value)), ", ".join(parts))
    return Cell(value, value if isinstance(value, str) else form.format(value))


@dataclass(frozen=True)
class Block:
    """Rows under one heading of columns. ``title`` is empty where a sheet has one block."""

    title: str
    columns: Sequence[SheetColumn]
    rows: Sequence[Sequence[Cell]]

    @property
    def right(self) -> list[bool]:
        """Which columns are to the right."""
        return [not column.left for column in self.columns]

    def shown(self) -> "Block":
        """The block with the columns that people read."""
        kept = [index for index, column in enumerate(self.columns) if not column.csv_only]
        rows = [[row[index] for index in kept] for row in self.rows]
        return Block(self.title, [self.columns[index] for index in kept], rows)

    def texts(self) -> list[list[str]]:
        """The cells as people read them."""
        return [[cell.text for cell in row] for row in self.rows]


@dataclass(frozen=True)
class Sheet:
    """A table of the paper."""

    title: str
    blocks: Sequence[Block]
    notes: Sequence[str]


def to_csv(sheet: Sheet) -> str:
    """Numbers in full precision, yes and no, and the block's title where there are several."""
    keys = list(dict.fromkeys(c.key for block in sheet.blocks for c in block.columns))
    first = ["block"] if len(sheet.blocks) > 1 else []
    text = io.StringIO()
    writer = csv.DictWriter(text, first + keys, restval="", lineterminator="\n")
    writer.writeheader()
    for block in sheet.blocks:
        for row in block.rows:
            values = {c.key: _plain(cell) for c, cell in zip(block.columns, row, strict=True)}
            writer.writerow({**dict.fromkeys(first, block.title), **values})
    return text.getvalue()


def _plain(cell: Cell) -> Any:
    return {True: "yes", False: "no"}[cell.value] if isinstance(cell.value, bool) else cell.value


def to_markdown(sheet: Sheet) -> str:
    """For the README and for reading: aligned, with the notes below."""
    lines = [f"**{sheet.title}**", ""]
    for block in map(Block.shown, sheet.blocks):
        lines += [block.title, ""] if block.title else []
        heads = [column.heading for column in block.columns]
        lines += [*markdown_lines(heads, block.texts(), block.right), ""]
    return "\n".join([*lines, *(f"- {note}" for note in sheet.notes)]) + "\n"


def to_latex(sheet: Sheet, label: str) -> str:
    """A float to paste into a paper; a comment in it says which packages it needs."""
    lines = [LATEX_PACKAGES, r"\begin{table*}", r"\centering"]
    lines += [rf"\caption{{{latex_text(sheet.title)}}}", rf"\label{{tab:{label}}}"]
    for block in map(Block.shown, sheet.blocks):
        lines += [r"\medskip", rf"{latex_text(block.title)}\\[2pt]"] if block.title else []
        groups, heads = ([getattr(c, k) for c in block.columns] for k in ("group", "title"))
        tabular = latex_tabular(groups, heads, block.texts(), block.right)
        lines += [r"\resizebox{\linewidth}{!}{%", *tabular, "}", ""]
    lines += [r"\par\smallskip\raggedright\footnotesize"]
    lines += [rf"{latex_text(note)}\par" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def label_of(definition: Path) -> str:
    """The LaTeX label of a table: ``table1``, and ``digits-table1`` of one on a dataset."""
    folder, name = definition.parent.name, definition.stem
    return name if folder == "tables" else f"{folder}-{name}"


def write_sheet(sheet: Sheet, csv_path: Path, markdown: Path, latex: Path, label: str) -> None:
    """Write the three files."""
    texts = {markdown: to_markdown(sheet), latex: to_latex(sheet, label), csv_path: to_csv(sheet)}
    for path, text in texts.items():
        write_text(path, text)
