"""``log.csv``: one line every so many steps; plots read it."""

import csv
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dimr.runtime.errors import SaveFailed
from dimr.runtime.files import atomic_file, single_line

log = logging.getLogger(__name__)

STEP = re.compile("[0-9]{1,18}")


class Log:
    """The log of a training, which resumes where its state does.

    Args:
        path: of the file; made with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def trim(self, step: int) -> None:
        """Drop lines of steps that the resumed state has not taken, and those that are damaged.

        A file that is no log at all is set aside: it must not end a training.
        """
        if not self.path.exists():
            return
        try:
            columns, lines = self._whole_lines()
        except (OSError, ValueError, csv.Error) as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            log.warning("%s: damaged (%s); kept as %s", self.path, single_line(error), aside.name)
            os.replace(self.path, aside)
            return
        if columns:
            self._write([columns, *(line for line in lines if int(line[0]) <= step)])
        else:
            self.path.unlink()  # killed, or out of space, as it was begun

    def resume(self, step: int, digest: str | None) -> None:
        """As ``trim``; a warning where lines up to the step are not those of the checkpoint.

        Args:
            step: of the checkpoint.
            digest: as it was saved then; None: it was not.
        """
        self.trim(step)
        if digest not in (None, self.digest(step)):
            log.warning(
                "%s: lines up to step %d are missing or were changed since they were written; "
                "training resumes, and the log stays so", self.path, step,
            )  # fmt: skip

    def digest(self, step: int) -> str:
        """SHA-256 of the lines up to a step, whatever columns newer code adds."""
        try:
            columns, lines = self._whole_lines()
        except (OSError, ValueError, csv.Error):
            columns, lines = [], []
        named = (dict(zip(columns, line, strict=True)) for line in lines if int(line[0]) <= step)
        kept = [{name: value for name, value in line.items() if value} for line in named]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def _whole_lines(self) -> tuple[list[str], list[list[str]]]:
        """The columns, and the lines that have them all; of a file that was cut, what is before."""
        if self.path.exists() and not self.path.is_file():  # a pipe would be waited for
            raise ValueError("not a file")
        text = self.path.read_bytes().decode()
        columns, *lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))) or [[]]
        if columns and columns[0] != "step":
            raise ValueError(f"its first column is {columns[0][:20]!r}, not step")
        if len(columns) > 1 and "loss" not in columns:
            raise ValueError("it has no column loss")
        return columns, [a for a in lines if len(a) == len(columns) and STEP.fullmatch(a[0])]

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; its first value is the step.

        A line with other columns than the file has (written by newer code) extends the file's.

        Raises:
            SaveFailed: it cannot be written.
        """
        try:
            self._append(line)
        except OSError as error:
            raise SaveFailed(
                f"{self.path}: could not be written ({single_line(error.strerror or error)}); "
                "checkpoints stay: make room, and the same command resumes"
            ) from None

    def _append(self, line: Mapping[str, Any]) -> None:
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
