"""Blocks of README and docs, between two marks, that are generated from committed results.

``<!-- from results/digits/table1.md without "Training (s)" -->`` up to ``<!-- end -->`` holds the
table of that file, without the named columns: wall-clock times differ from machine to machine.
``<!-- from docs/digits-study.md#findings -->`` holds that section of a page, without its heading.
"""

import posixpath
import re
from pathlib import Path

from dimr.config.validation import did_you_mean
from dimr.paper.tables.render import markdown_lines
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_text, write_if_changed

END = "<!-- end -->"
MARK = re.compile(
    r'^<!-- from (?P<file>[^\s#]+)(?:#(?P<section>[\w-]+))?(?: without (?P<columns>"[^\n]*"))? -->$'
)
"""The line that begins a block: a file, and its section or the columns to leave out."""


def fill(text: str, folder: Path, name: str = "README.md") -> str:
    """The document with every block regenerated.

    Args:
        text: of the document.
        folder: where the document is; the marks name files from there.
        name: of the document, for messages.

    Raises:
        DimrError: a mark that is not closed or not understood, or a file, section or column that
            does not exist, with the line.
    """
    filled: list[str] = []
    lines = iter(enumerate(text.split("\n"), 1))
    for number, line in lines:
        filled.append(line)
        if not line.startswith("<!-- from "):
            continue
        where = f"{name}: line {number}"
        found = MARK.match(line)
        if found is None:
            raise DimrError(
                f"{where}: {line!r} is not <!-- from FILE.md -->, <!-- from FILE.md#section --> or "
                '<!-- from FILE.md without "Column" -->'
            )
        for _, old in lines:
            if old == END:
                break
            if old.startswith("<!-- from "):  # what follows an unclosed block is not its content
                raise DimrError(f"{where}: no {END} after {line!r}")
        else:
            raise DimrError(f"{where}: no {END} after {line!r}")
        filled += ["", *_block(found, folder, where), "", END]
    return "\n".join(filled)


def filled_documents(root: Path) -> list[Path]:
    """README.md, and the pages in docs that have blocks."""
    pages = sorted((root / "docs").glob("*.md"))
    marked = [page for page in pages if any(map(MARK.match, read_text(page).splitlines()))]
    return [root / "README.md", *marked]


def update(document: Path) -> bool:
    """Regenerate a document's blocks in place; returns whether it changed."""
    return write_if_changed(document, fill(read_text(document), document.parent, str(document)))


def check(document: Path) -> None:
    """Refuse a document whose blocks differ from the results; the first line is named."""
    old = read_text(document)
    new = fill(old, document.parent, str(document))
    if old != new:
        pairs = zip(old.split("\n"), new.split("\n"), strict=False)
        line = next((i for i, (a, b) in enumerate(pairs, 1) if a != b), new.count("\n"))
        raise DimrError(f"{document}: line {line} differs from the results: make readme")


def _block(mark: re.Match[str], folder: Path, where: str) -> list[str]:
    """The lines between the marks."""
    name, section, columns = mark["file"], mark["section"], mark["columns"]
    file = folder / name
    if not file.is_file():
        raise DimrError(f"{where}: {name}: no such file (make study makes it)")
    lines = read_text(file).splitlines()
    if section:
        return _links(_section(lines, section, f"{where}: {name}"), posixpath.dirname(name), name)
    left_out = re.findall(r'"([^"]*)"', columns or "")
    table = [line for line in lines if line.startswith("|")]
    rules = [line for line in table if re.fullmatch(r"[|:\- ]+", line)]
    if len(rules) != 1:
        held = "several tables" if rules else "no table"
        raise DimrError(f"{where}: {name}: holds {held}; expected one")
    return _without(table, left_out, f"{where}: {name}")


def _section(lines: list[str], wanted: str, where: str) -> list[str]:
    """The lines under a heading, up to the next one of its level or a higher one."""
    heads = [
        (index, len(found[1]), _anchor(found[2]))
        for index, line in enumerate(lines)
        if (found := re.match(r"(#+) (.+)", line))
    ]
    names = [anchor for _, _, anchor in heads]
    if wanted not in names:
        raise DimrError(f"{where}: no section {wanted!r} {did_you_mean(wanted, names)}")
    start, rank, _ = heads[names.index(wanted)]
    ends = [index for index, other, _ in heads if index > start and other <= rank]
    body = "\n".join(lines[start + 1 : ends[0] if ends else len(lines)])
    return body.strip("\n").split("\n")


def _anchor(heading: str) -> str:
    """A heading's name in links, as on GitHub."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def _links(lines: list[str], folder: str, name: str) -> list[str]:
    """Lines of the page ``name`` in ``folder``, with links relative to the document."""

    def moved(link: re.Match[str]) -> str:
        target = link[1]
        if re.match(r"[a-z]+:|/", target):
            return link[0]
        if target.startswith("#"):
            return f"]({name}{target})"
        return f"]({posixpath.normpath(posixpath.join(folder, target))})"

    return [re.sub(r"\]\(([^)\s]+)\)", moved, line) for line in lines]


def _without(table: list[str], left_out: list[str], where: str) -> list[str]:
    """A Markdown table without the columns that have these headings."""
    heads, rule, *body = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in table
    ]
    unknown = [column for column in left_out if column not in heads]
    if unknown:
        raise DimrError(f"{where}: no column {unknown[0]!r} {did_you_mean(unknown[0], heads)}")
    kept = [index for index, head in enumerate(heads) if head not in left_out]
    rows = [[row[index] for index in kept] for row in [heads, *body]]
    return markdown_lines(rows[0], rows[1:], [rule[index].endswith(":") for index in kept])
