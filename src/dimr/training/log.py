"""``log.csv``: a line every ``log_every`` steps, for plots."""

import csv
import hashlib
import io
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dimr.runtime.errors import DimrError, SaveFailed
from dimr.runtime.files import require_file, single_line, write_text

log = logging.getLogger(__name__)

STEP = re.compile("[0-9]{1,18}")
DAMAGED = (DimrError, OSError, ValueError, csv.Error)
"""What reading a file raises that is not a log."""


class Log:
    """The log of a training, which resumes where its state does.

    Args:
        path: of the file; created with the first line.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._columns: list[str] = []

    def trim(self, step: int) -> None:
        """Drop lines of steps that the resumed state has not taken, and those that are damaged.

        A file that is not a log at all is set aside: it must not end a training.
        """
        try:
            columns, lines = self._whole_lines()
        except DAMAGED as error:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            log.warning("%s: damaged (%s); kept as %s", self.path, single_line(error), aside.name)
            os.replace(self.path, aside)
            return
        if columns:
            self._write(columns, [line for line in lines if int(line["step"]) <= step])
        else:
            self.path.unlink(missing_ok=True)  # killed or out of space at its beginning

    def resume(self, step: int, digest: str | None) -> None:
        """As ``trim``; a warning if lines up to the step are not those of the checkpoint.

        Args:
            step: of the checkpoint.
            digest: as saved with it; None: it was not.
        """
        self.trim(step)
        if digest not in (None, self.digest(step)):
            log.warning(
                "%s: lines up to step %d are missing or were changed since they were written; "
                "training resumes; the log is left as it is", self.path, step,
            )  # fmt: skip

    def digest(self, step: int) -> str:
        """SHA-256 of the lines up to a step, whatever columns newer code adds."""
        try:
            _, lines = self._whole_lines()
        except DAMAGED:
            lines = []
        kept = [
            {name: value for name, value in line.items() if value}
            for line in lines
            if int(line["step"]) <= step
        ]
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()

    def append(self, line: Mapping[str, Any]) -> None:
        """Add a line; its first value is the step.

        New columns in a line (from newer code) are added to the file.

        Raises:
            SaveFailed: it cannot be written.
        """
        try:
            if not self.path.exists():
                self._write(list(line), [])
            elif new := [name for name in line if name not in self._columns]:
                self._write([*self._columns, *new], self._whole_lines()[1])
            with open(self.path, "a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self._columns).writerow(line)
        except OSError as error:
            raise SaveFailed(
                f"{self.path}: could not be written ({single_line(error.strerror or error)}); "
                "checkpoints are kept: free some space, and the same command resumes"
            ) from None

    def _whole_lines(self) -> tuple[list[str], list[dict[str, str]]]:
        """The columns, and the lines that have them all; of a truncated file, what is before."""
        if not self.path.exists():
            return [], []
        require_file(self.path)
        text = self.path.read_bytes().decode()
        columns, *lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1]))) or [[]]
        if columns and columns[0] != "step":
            raise ValueError(f"its first column is {columns[0][:20]!r}, not step")
        if len(columns) > 1 and "loss" not in columns:
            raise ValueError("it has no column loss")
        whole = (line for line in lines if len(line) == len(columns) and STEP.fullmatch(line[0]))
        return columns, [dict(zip(columns, line, strict=True)) for line in whole]

    def _write(self, columns: list[str], lines: Sequence[Mapping[str, str]]) -> None:
        self._columns = columns
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns)
        writer.writeheader()
        writer.writerows(lines)
        write_text(self.path, text.getvalue())
