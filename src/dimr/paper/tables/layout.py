"""Rows of text as Markdown, LaTeX or plain columns. Nothing here knows what the cells mean."""

import re
from collections.abc import Sequence

Rows = Sequence[Sequence[str]]

YES, NO = "✓", "✗"
LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "±": r"$\pm$", "×": r"$\times$", "−": r"$-$", "Δ": r"$\Delta$",
    "[": "{[}", "*": "{*}",  # else taken for an option of the line break before it
    YES: r"$\checkmark$", NO: r"$\times$",
}  # fmt: skip
"""What LaTeX text has in place of a character. Ticks need amssymb."""


def _pad(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> list[str]:
    return [
        cell.rjust(width) if to_right else cell.ljust(width)
        for cell, width, to_right in zip(cells, widths, right, strict=True)
    ]


def _widths(heads: Sequence[str], body: Rows) -> list[int]:
    return [max(map(len, column)) for column in zip(heads, *body, strict=True)]


def markdown_lines(heads: Sequence[str], body: Rows, right: Sequence[bool]) -> list[str]:
    """A Markdown table whose source lines up too; ``right`` says which columns are to the right."""
    heads = [head.replace("|", r"\|") for head in heads]
    body = [[cell.replace("|", r"\|") for cell in row] for row in body]
    widths = _widths(heads, body)
    rule = [
        "-" * (width + 1) + (":" if to_right else "-")
        for width, to_right in zip(widths, right, strict=True)
    ]
    first, *rest = ["| " + " | ".join(_pad(row, widths, right)) + " |" for row in [heads, *body]]
    return [first, "|" + "|".join(rule) + "|", *rest]


def text_lines(heads: Sequence[str], body: Rows, right: Sequence[bool]) -> list[str]:
    """Plain columns for a terminal."""
    widths = _widths(heads, body)
    return ["  ".join(_pad(row, widths, right)).rstrip() for row in [heads, *body]]


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
    cells, rules, start = [], [], 0
    while start < len(groups):
        end = start + 1
        while end < len(groups) and groups[start] and groups[end] == groups[start]:
            end += 1
        if groups[start]:
            cells.append(rf"\multicolumn{{{end - start}}}{{c}}{{{latex_text(groups[start])}}}")
            rules.append(rf"\cmidrule(lr){{{start + 1}-{end}}}")
        else:
            cells.append("")
        start = end
    return [" & ".join(cells) + r" \\", " ".join(rules)]
