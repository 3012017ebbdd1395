"""Tables as CSV, Markdown, LaTeX and plain columns: each text, and the files of a table."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimr.paper.tables.sheet import NO, YES, Block, Sheet
from dimr.runtime.files import write_text

Rows = Sequence[Sequence[str]]

LATEX_PACKAGES = "% \\usepackage{booktabs, amssymb, graphicx}"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "Δ": r"$\Delta$",
    "[": "{[}", "*": "{*}",  # otherwise taken for an option of the preceding line break
    YES: r"$\checkmark$", NO: r"$\times$",
}  # fmt: skip
"""LaTeX for special characters. Ticks need amssymb."""


# --- rows of text ---------------------------------------------------------------------------------


def markdown_lines(heads: Sequence[str], body: Rows, right: Sequence[bool]) -> list[str]:
    """A Markdown table whose source is aligned, too; ``right``: which columns are right-aligned."""
    from tabulate import DataRow, TableFormat

    def rule(widths: Sequence[int], aligns: Sequence[str]) -> str:
        """As on GitHub, with a colon only if a column is right-aligned."""
        ends = [":" if align == "right" else "-" for align in aligns]
        return f"|{'|'.join('-' * (w - 1) + end for w, end in zip(widths, ends, strict=True))}|"

    row = DataRow("|", "|", "|")
    form = TableFormat(rule, None, None, None, row, row, padding=1, with_header_hide=None)
    escaped = [[cell.replace("|", r"\|") for cell in row] for row in (heads, *body)]
    below, first, *rest = _columns(escaped, right, form)
    return [first, below, *rest]


def text_lines(heads: Sequence[str], body: Rows, right: Sequence[bool]) -> list[str]:
    """Plain columns for a terminal."""
    return _columns([heads, *body], right, "plain")


def _columns(rows: Rows, right: Sequence[bool], form: Any) -> list[str]:
    """The headings are an ordinary row: tabulate would make columns wider for them."""
    from tabulate import tabulate

    aligned = ["right" if to_right else "left" for to_right in right]
    return tabulate(
        rows, (), form, colalign=aligned, disable_numparse=True, preserve_whitespace=True
    ).split("\n")


def latex_text(text: str) -> str:
    """``text`` with LaTeX's special characters escaped and its quotes opened and closed."""
    escaped = "".join(LATEX.get(character, character) for character in text)
    return re.sub(r'"([^"]*)"', r"``\1''", escaped)


def latex_tabular(
    groups: Sequence[str], heads: Sequence[str], body: Rows, right: Sequence[bool]
) -> list[str]:
    """A booktabs ``tabular``; neighbouring columns of the same group (not "") share a heading."""
    lines = [rf"\begin{{tabular}}{{{''.join('r' if r else 'l' for r in right)}}}", r"\toprule"]
    if any(groups):
        lines += _latex_groups(groups)
    lines += [_latex_row(heads), r"\midrule", *map(_latex_row, body)]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _latex_row(cells: Sequence[str]) -> str:
    return " & ".join(map(latex_text, cells)) + r" \\"


def _latex_groups(groups: Sequence[str]) -> list[str]:
    """The line of shared headings and the rules under them."""
    cells, rules = [], []
    for name, columns in itertools.groupby(range(len(groups)), key=lambda n: groups[n] or n):
        places = list(columns)
        if isinstance(name, int):  # a column without a group
            cells.append("")
            continue
        cells.append(rf"\multicolumn{{{len(places)}}}{{c}}{{{latex_text(name)}}}")
        rules.append(rf"\cmidrule(lr){{{places[0] + 1}-{places[-1] + 1}}}")
    return [" & ".join(cells) + r" \\", " ".join(rules)]


# --- sheets ---------------------------------------------------------------------------------------


def to_csv(sheet: Sheet) -> str:
    """Numbers unrounded, yes and no, and the block's title if there are several."""
    import pandas as pd

    keys = dict.fromkeys(column.key for block in sheet.blocks for column in block.columns)
    lines = [
        {"block": block.title, **dict(zip((c.key for c in block.columns), values, strict=True))}
        for block in sheet.blocks
        for values in ([csv_value(cell.value) for cell in row] for row in block.rows)
    ]
    first = ["block"] if len(sheet.blocks) > 1 else []
    frame = pd.DataFrame(lines, columns=[*first, *keys], dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def csv_value(value: Any) -> Any:
    """A cell's value as the CSV has it."""
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def to_markdown(sheet: Sheet) -> str:
    """For the README and for reading: aligned, with the notes below."""
    lines = [f"**{sheet.title}**", ""]
    for block in map(_shown, sheet.blocks):
        lines += [block.title, ""] if block.title else []
        heads = [column.heading for column in block.columns]
        lines += [*markdown_lines(heads, *_texts(block)), ""]
    return "\n".join([*lines, *(f"- {note}" for note in sheet.notes)]) + "\n"


def to_latex(sheet: Sheet, label: str) -> str:
    """A float to paste into a paper; a comment in it says which packages it needs."""
    lines = [LATEX_PACKAGES, r"\begin{table*}", r"\centering"]
    lines += [rf"\caption{{{latex_text(sheet.title)}}}", rf"\label{{tab:{label}}}"]
    for block in map(_shown, sheet.blocks):
        lines += [r"\medskip", rf"{latex_text(block.title)}\\[2pt]"] if block.title else []
        groups, heads = ([getattr(c, k) for c in block.columns] for k in ("group", "title"))
        tabular = latex_tabular(groups, heads, *_texts(block))
        lines += [r"\resizebox{\linewidth}{!}{%", *tabular, "}", ""]
    lines += [r"\par\smallskip\raggedright\footnotesize"]
    lines += [rf"{latex_text(note)}\par" for note in sheet.notes]
    return "\n".join([*lines, r"\end{table*}"]) + "\n"


def _shown(block: Block) -> Block:
    """The block with the columns that people read."""
    kept = [index for index, column in enumerate(block.columns) if not column.csv_only]
    rows = [[row[index] for index in kept] for row in block.rows]
    return Block(block.title, [block.columns[index] for index in kept], rows)


def _texts(block: Block) -> tuple[Rows, list[bool]]:
    """The cells as people read them, and which columns are right-aligned."""
    rows = [[cell.text for cell in row] for row in block.rows]
    return rows, [not column.left for column in block.columns]


def label_of(definition: Path) -> str:
    """The LaTeX label of a table: ``table1``, or ``digits-table1`` for one on a dataset."""
    folder, name = definition.parent.name, definition.stem
    return name if folder == "tables" else f"{folder}-{name}"


def write_sheet(sheet: Sheet, label: str, csv: Path, markdown: Path, latex: Path) -> None:
    """Write the three files; ``label`` is that of LaTeX."""
    texts = {markdown: to_markdown(sheet), latex: to_latex(sheet, label), csv: to_csv(sheet)}
    for path, text in texts.items():
        write_text(path, text)
