"""The hidden folder beside a result in which it is made, its notes, and the locks on it.

It is named by the key of the work, so that work on another configuration is never mixed in, and it
takes the result's name when it is whole: both are on one disk.
"""

import glob
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from dimr.runtime.errors import DimrError
from dimr.runtime.files import followed, read_json, sha256, write_json
from dimr.runtime.record import is_intact, sealed

log = logging.getLogger(__name__)

LOCKS = "*lock"
PATIENCE_SECONDS = 1.0
"""How long a lock must be held to be somebody's: one who only asks, as here, holds it briefly."""


def work_folder(out: Path, key: str) -> Path:
    """Where a result is made; if ``out`` is a link, beside its target."""
    out = followed(out)
    return out.with_name(f".{out.name}.part-{key}")


def require_one_disk(folder: Path, out: Path) -> None:
    """Refuse work in a folder that cannot take the place of ``out``: it is on another disk."""
    out = followed(out)
    for place in (out.parent, out):
        if place.exists() and place.stat().st_dev != folder.stat().st_dev:
            raise DimrError(
                f"{folder}: is on another disk than {place}, whose place it is to take: both must "
                f"be on one; put the whole of {out.parent} on the larger disk, or a link to it"
            )


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file, or it is somebody's whom we may not ask."""
    asked = FileLock(lock)
    try:
        asked.acquire(timeout=PATIENCE_SECONDS)
    except OSError:  # Timeout is one
        return True
    asked.release()
    return False


def remove_abandoned(out: Path) -> None:
    """Remove what is left of work on ``out``, of any key, except that of running processes."""
    out = followed(out)
    for folder in out.parent.glob(f".{glob.escape(out.name)}.part-*"):
        if not any(is_held(lock) for lock in folder.glob(LOCKS)):
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Notes:
    """Which pieces of a work are done: a note is written after the files that it is of.

    A piece that is not as it was written counts as not done. Files are compared once by each
    process, and not those that it wrote itself.

    Args:
        folder: of the work; notes and files lie below it.
    """

    folder: Path
    seen: set[Path] = field(default_factory=set, compare=False)

    def write(self, note: Path, files: Mapping[Path, str | None], **facts: Any) -> None:
        """Note a piece as done.

        Args:
            note: the note's file.
            files: of the piece, with their SHA-256 where it is known.
            facts: what else the note says; plain JSON.
        """
        listed = {
            file.relative_to(self.folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": digest or sha256(file),
            }
            for file, digest in files.items()
        }
        write_json(note, sealed({**facts, "files": listed}))
        self.seen.add(note)

    def read(self, note: Path) -> dict[str, Any] | None:
        """What a note says, if its piece is whole; else None, and the note is removed."""
        if not note.is_file():
            return None
        problem = None
        try:
            content = read_json(note)
            if not is_intact(content):
                problem = f"{note}: changed since it was written"
            elif note not in self.seen:
                problem = self._problem(content["files"])
        except (DimrError, AttributeError, KeyError, TypeError) as error:
            problem = f"{note}: damaged ({error})"
        if problem is None:
            self.seen.add(note)
            return content
        log.warning("%s; it is regenerated", problem)
        note.unlink()
        return None

    def _problem(self, files: Mapping[str, Mapping[str, Any]]) -> str | None:
        for name, wanted in files.items():
            file = self.folder / name
            if not file.is_file() or file.stat().st_size != wanted["bytes"]:
                return f"{file}: missing, or not of its size"
            if sha256(file) != wanted["sha256"]:
                return f"{file}: damaged since it was written"
        return None
