"""Lists of a folder's images: which file a line means, and the rows of a CSV file."""

import csv
import io
import os
from collections.abc import Container, Iterator, Sequence
from pathlib import Path

from dimr.data.imagenet.source import SUFFIXES
from dimr.data.own.listing import composed
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

FILE_COLUMNS = ("file", "filename", "file_name", "path", "image")
"""Headers of the file column."""


def place_in(there: Container[str], file: str) -> str:
    """The path that a list means by ``file``: as it is if ``there``, else as if from Windows."""
    path = os.path.normpath(composed(file))
    return path if path in there else os.path.normpath(path.replace("\\", "/"))  # of Windows?


def why_missing(folder: Path, file: str) -> str:
    """What is wrong with a file that a list names, and that is none of the folder's images."""
    path = place_in((), file)
    if os.path.isabs(path) or path.startswith(".."):
        return f"{file[:200]!r} leads out of the folder"
    if (folder / path).is_file():
        return f"{file}: not an image file (allowed: {', '.join(SUFFIXES)})"
    return f"{file[:200]}: no such file"


def csv_rows(table: Path, heads: Sequence[str], what: str) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number, file and its value, of every row.

    Args:
        table: a CSV file; without a header its columns are the first and the second.
        heads: possible headers, in any case, of the column of values.
        what: the values are, for messages.

    Raises:
        DimrError: names the file and the line that is damaged.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        lines = io.StringIO(text, newline="")
        rows = list(csv.reader(lines, delimiter=separator, strict=True))
    except (OSError, ValueError, csv.Error) as error:
        raise DimrError(f"{table}: not readable as CSV ({single_line(error)})") from None
    columns, begin = _columns(rows[0] if rows else [], heads)
    for line, row in enumerate(rows[begin:], begin + 1):
        if not any(map(str.strip, row)):
            continue
        if len(row) <= max(columns):
            raise DimrError(f"{table}: line {line}: {len(row)} columns, should be file,{what}")
        file, value = (row[column].strip() for column in columns)
        if not file or not value:
            raise DimrError(f"{table}: line {line}: no {what if file else 'file'}")
        yield line, (file, value)


def _columns(head: list[str], heads: Sequence[str]) -> tuple[tuple[int, int], int]:
    """Columns of file and value, and the number of lines before the first row."""
    names = [name.strip().lower() for name in head]
    file = next((names.index(name) for name in FILE_COLUMNS if name in names), None)
    value = next((names.index(name) for name in heads if name in names), None)
    return ((0, 1), 0) if file is None or value is None else ((file, value), 1)
