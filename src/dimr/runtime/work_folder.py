"""The hidden folder beside a result in which it is made piece by piece, by one or more processes.

If work is killed at any moment, the next start finds every finished piece. The folder is named by
the key of the work, so that work on another configuration is never mixed in. It contains ``store``,
which becomes the result by a rename (so both are on one disk), a note for each finished piece,
written after the piece's files, and the locks of the processes that work there.
"""

import contextlib
import functools
import glob
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from dimr.runtime.atomic import TEMPORARY, followed, replace_directory
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, sha256, write_json
from dimr.runtime.record import is_intact, sealed

log = logging.getLogger(__name__)

LOCKS = "*lock"
PATIENCE_SECONDS = 1.0
"""How long a lock must be held to count as taken: a process that only checks holds it briefly."""


@dataclass(frozen=True)
class Part:
    """One worker's share of the pieces: number ``index`` of ``count``, from 0."""

    index: int = 0
    count: int = 1

    @property
    def slice(self) -> slice:
        """Which of the pieces belong to it."""
        return slice(self.index, None, self.count)

    @classmethod
    def parse(cls, text: str) -> "Part":
        """``2/8`` is the second of eight; ``ValueError`` for anything else."""
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            raise ValueError(text)
        return cls(index - 1, count)


@dataclass(frozen=True)
class WorkFolder:
    """Resumable work on a result.

    Args:
        out: where the result will be; if it is a link, the work lies beside its target.
        key: identifies everything that decides what the result holds.
    """

    out: Path
    key: str

    @property
    def folder(self) -> Path:
        """Where everything lies until the result is complete."""
        out = followed(self.out)
        return out.with_name(f".{out.name}.part-{self.key}")

    @property
    def store(self) -> Path:
        """The folder that becomes the result."""
        return self.folder / "store"

    @contextlib.contextmanager
    def claimed(self, part: Part | None = None) -> Iterator[None]:
        """Reserve a part of the work, or all of it, for this process until the block ends.

        Raises:
            DimrError: another process has the same part, or all, or a part of another division, or
                any part while this one claims all; or the folder cannot replace ``out``, as it is
                on another disk.
        """
        part = part or Part()
        self.store.mkdir(parents=True, exist_ok=True)
        self._require_one_disk()
        own = self.folder / f"{part.index + 1}-of-{part.count}.lock"
        lock = FileLock(own)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise self._taken(own) from None
        try:
            for other in self.folder.glob(LOCKS):  # if two begin at once, each sees the other
                if not other.name.endswith(f"-of-{part.count}.lock") and is_held(other):
                    raise self._taken(other)
            if part.count == 1:
                self._remove_torn()
            yield
        finally:
            lock.release()

    def _taken(self, lock: Path) -> DimrError:
        index, _, count = lock.stem.partition("-of-")
        part = f"part {index}/{count} of " if count not in ("", "1") else ""
        return DimrError(f"{self.out}: another process is making {part}it; wait for it or end it")

    def _require_one_disk(self) -> None:
        out = followed(self.out)
        for place in (out.parent, out):
            if place.exists() and place.stat().st_dev != self.store.stat().st_dev:
                raise DimrError(
                    f"{self.folder}: is on another disk than {place}, which it will replace: "
                    f"put the whole of {out.parent} on the larger disk, or a link to it"
                )

    def _remove_torn(self) -> None:
        """Remove what killed processes left half written."""
        for torn in self.folder.rglob(TEMPORARY):
            torn.unlink()

    @functools.cached_property
    def _compared(self) -> set[str]:
        """Pieces whose files this process has written or compared."""
        return set()

    def note(self, piece: str, files: Mapping[Path, str | None], **facts: Any) -> None:
        """Note a piece as finished.

        Args:
            piece: name of the note, below ``folder``.
            files: of the piece, below ``folder`` too, with their SHA-256 where it is known.
            facts: what else the note says; plain JSON.
        """
        listed = {
            file.relative_to(self.folder).as_posix(): {
                "bytes": file.stat().st_size,
                "sha256": digest or sha256(file),
            }
            for file, digest in files.items()
        }
        content = {"piece": piece, **facts, "files": listed}
        write_json(self.folder / f"{piece}.json", sealed(content))
        self._compared.add(piece)

    def finished(
        self, piece: str, compare: Literal["sizes", "once", "again"] = "once"
    ) -> dict[str, Any] | None:
        """What a piece's note says if its files are as they were written, else None.

        The note of a damaged piece is removed, so that it is named in the log once.

        Args:
            piece: as in ``note``.
            compare: only the files' sizes; or also checksums, of files that this process neither
                wrote nor compared before; or checksums of all.
        """
        note = self.folder / f"{piece}.json"
        if not note.is_file():
            return None
        hashed = compare == "again" or (compare == "once" and piece not in self._compared)
        try:
            content = read_json(note)
            if not is_intact(content) or content.get("piece", piece) != piece:
                raise DimrError(f"{note}: changed since it was written")
            for name, wanted in content["files"].items():
                _compare(self.folder / name, wanted, hashed)
        except (DimrError, AttributeError, KeyError, TypeError, ValueError) as error:
            problem = error if isinstance(error, DimrError) else f"{note}: damaged ({error!r})"
            log.warning("%s; it is regenerated", problem)
            note.unlink()
            return None
        if hashed:
            self._compared.add(piece)
        return content

    def place(self) -> None:
        """Rename ``store`` to the result's name; notes, locks and abandoned work go."""
        self._remove_torn()
        replace_directory(self.store, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.remove_abandoned()

    def remove_abandoned(self) -> None:
        """Remove unfinished work on the result, with any key, on which no process works."""
        out = followed(self.out)
        for folder in out.parent.glob(f".{glob.escape(out.name)}.part-*"):
            if not any(is_held(lock) for lock in folder.glob(LOCKS)):
                shutil.rmtree(folder, ignore_errors=True)


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file, or we may not open it to find out."""
    asked = FileLock(lock)
    try:
        asked.acquire(timeout=PATIENCE_SECONDS)
    except OSError:  # Timeout is one
        return True
    asked.release()
    return False


def _compare(file: Path, wanted: Mapping[str, Any], hashed: bool) -> None:
    """Raise ``DimrError`` unless a file has the noted size and, if ``hashed``, the noted bytes."""
    if not file.is_file():
        raise DimrError(f"{file}: missing")
    if (size := file.stat().st_size) != wanted["bytes"]:
        raise DimrError(f"{file}: has {size:,} bytes, was written with {wanted['bytes']:,}")
    if hashed and sha256(file) != wanted["sha256"]:
        raise DimrError(f"{file}: checksum differs from when it was written")
