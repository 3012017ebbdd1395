"""``log.csv``: one line every so many steps; plots read it."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dimr.files import atomic_file


class Log:
    """The log of a training, which goes on where its state does.

    Args:
        path: of the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def trim(self, step: int) -> None:
        """Drop lines of steps that the resumed state has not taken, and one that was cut off."""
        if not self._columns():
            return  # not begun, or killed as it was created
        columns, *lines = self._rows()
        whole = [line for line in lines if len(line) == len(columns)]
        self._write([columns, *(line for line in whole if int(line[0]) <= step)])

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; its first value is the step.

        A line with other columns than the file has (written by newer code) extends the file's.
        """
        columns = self._columns()
        if columns and set(line) - set(columns):
            rows = [dict(zip(columns, row, strict=False)) for row in self._rows()[1:]]
            columns += [name for name in line if name not in columns]
            self._write([columns, *([row.get(name, "") for name in columns] for row in rows)])
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=columns or list(line))
            if not columns:
                writer.writeheader()
            writer.writerow(line)

    def _columns(self) -> list[str]:
        if not self.path.exists():
            return []
        with open(self.path, newline="") as file:
            return next(csv.reader(file), [])

    def _rows(self) -> list[list[str]]:
        with open(self.path, newline="") as file:
            return list(csv.reader(file))

    def _write(self, rows: list[list[str]]) -> None:
        with atomic_file(self.path) as temporary, open(temporary, "w", newline="") as file:
            csv.writer(file).writerows(rows)
