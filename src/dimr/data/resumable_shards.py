"""A shard folder in the making: shards come in any order, from any of several processes or jobs.

They lie in a hidden folder beside the result (``dimr.runtime.work_folder``); a workflow that deletes the
outputs of a failed job leaves it. Each shard is whole or absent: one that was damaged since counts
as absent. When all are there, labels and manifest are added and the folder takes the result's name.
"""

import contextlib
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dimr.data.shards import DTYPES, checked_samples, complete, map_array, open_shards
from dimr.runtime.errors import DimrError
from dimr.runtime.files import (
    TEMPORARY,
    atomic_file,
    read_json,
    replace_directory,
    require_space,
    save_array,
    sha256,
    write_json,
)
from dimr.runtime.record import verify
from dimr.runtime.work_folder import LOCKS, is_held, remove_abandoned, require_one_disk, work_folder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Part:
    """One worker's share of the shards: number ``index`` of ``count``, from 0."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Part":
        """``2/8`` is the second of eight; ``ValueError`` for anything else."""
        found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
        index, count = map(int, found.groups()) if found else (0, 0)
        if not 1 <= index <= count:
            raise ValueError(text)
        return cls(index - 1, count)


@dataclass(frozen=True)
class Assembly:
    """Work on a shard folder.

    Args:
        out: where the finished folder will be.
        key: identifies everything that decides what the shards hold.
        kind: ``posterior`` or ``pixels``, as in ``dimr.data.shards``.
        shape: of a stored sample.
        count: samples in all.
        shard_size: samples in a shard (the last may be shorter).
    """

    out: Path
    key: str
    kind: str
    shape: tuple[int, ...]
    count: int
    shard_size: int

    @property
    def folder(self) -> Path:
        """Where the shards are until all are there."""
        return work_folder(self.out, self.key)

    @property
    def shards(self) -> int:
        """How many shards there will be."""
        return -(-self.count // self.shard_size)

    def samples(self, number: int) -> range:
        """Numbers of the samples in a shard."""
        start = number * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored samples."""
        return np.dtype(DTYPES[self.kind])

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return int(np.prod(self.shape)) * self.dtype.itemsize * self.count

    def require_space(self, extra: int = 0) -> None:
        """Refuse to go on where the disk has no room for the shards that no part has made yet.

        ``extra``: bytes of what is added to them at the end.
        """
        samples = sum(len(self.samples(number)) for number in self.missing())
        rest = samples * (self.nbytes // self.count) + extra
        require_space(self.folder.parent, rest, f"what is missing of {self.out}")

    @contextlib.contextmanager
    def claimed(self, part: Part | None = None) -> Iterator[None]:
        """Keep a part of the work, or all, to this process until it ends, however it ends.

        ``DimrError`` if another process has the same part, or a part while this one claims all, or
        all, or a part of another division; or if the folder is on another disk than the result.
        """
        part = part or Part()
        self.folder.mkdir(parents=True, exist_ok=True)
        require_one_disk(self.folder, self.out)
        own = self.folder / f"{part.index + 1}-of-{part.count}.lock"
        lock = FileLock(own)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise self._taken(own) from None
        try:
            for other in self.folder.glob(LOCKS):  # of two that begin at once each sees the other
                if not other.name.endswith(f"-of-{part.count}.lock") and is_held(other):
                    raise self._taken(other)
            yield
        finally:
            lock.release()

    def _taken(self, lock: Path) -> DimrError:
        index, _, count = lock.stem.partition("-of-")
        part = "" if count == "1" else f"part {index}/{count} of "
        return DimrError(f"{self.out}: another process makes {part}it; wait for it or end it")

    def is_complete(self) -> bool:
        """Whether the finished folder is there, whole and made by this very work.

        Every checksum is compared; what is damaged is named in the log.
        """
        if not self.out.exists():
            return False
        try:
            if open_shards(self.out).manifest["key"] != self.key:
                return False
            verify(self.out)
        except DimrError as error:
            log.warning("%s; it is regenerated", error)
            return False
        return True

    def missing(self, part: Part | None = None) -> list[int]:
        """Numbers of the shards that are not there yet; with ``part``, of those that are its own.

        A shard that is not what was written (truncated) is named in the log and is missing.
        """
        part = part or Part()
        return [n for n in range(part.index, self.shards, part.count) if not self._is_there(n)]

    def write(self, number: int, samples: NDArray[Any]) -> None:
        """Store a shard (n, *shape). It is checked, then written whole or not at all."""
        wanted = self.samples(number)
        if len(samples) != len(wanted):
            raise DimrError(f"{self._path(number)}: {len(samples)} samples for {len(wanted)}")
        data = checked_samples(self.out, samples, self.kind, self.shape, wanted.start)
        with atomic_file(self._path(number)) as temporary:
            save_array(data, temporary)
            digest = sha256(temporary)
        entry = {"file": self._path(number).name, "count": len(data), "sha256": digest}
        write_json(self._note(number), entry)

    def finish(
        self,
        labels: NDArray[np.int64],
        class_names: Sequence[str],
        scaling_factor: float | None = None,
        add: Callable[[Path], None] | None = None,
    ) -> dict[str, Any]:
        """Complete the folder and put it in place; return its manifest.

        ``add`` is called with the folder before it takes its final name, to put more beside the
        shards. ``DimrError`` if shards are missing, or have other bytes than were written, which
        makes them missing.
        """
        if missing := self.missing():
            raise DimrError(f"{self.out}: {len(missing)} of {self.shards} shards are missing")
        self._compare_checksums()
        for torn in self.folder.glob(TEMPORARY):  # of killed starts
            torn.unlink()
        notes = [self._note(number) for number in range(self.shards)]
        manifest = complete(
            self.folder,
            [read_json(note) for note in notes],
            labels,
            kind=self.kind,
            shape=self.shape,
            classes=len(class_names),
            class_names=class_names,
            scaling_factor=scaling_factor,
            key=self.key,
        )
        if add:
            add(self.folder)
        replace_directory(self.folder, self.out)
        for path in (*(self.out / note.name for note in notes), *self.out.glob("*.lock")):
            path.unlink()
        remove_abandoned(self.out)
        return manifest

    def _compare_checksums(self) -> None:
        damaged = [
            number
            for number in range(self.shards)
            if sha256(self._path(number)) != read_json(self._note(number))["sha256"]
        ]
        for number in damaged:
            self._note(number).unlink()
        if damaged:
            raise DimrError(
                f"{self._path(damaged[0])}: checksum differs from when it was written, as of "
                f"{len(damaged)} of {self.shards} shards: the same command makes them again"
            )

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npy"

    def _note(self, number: int) -> Path:
        return self.folder / f"{number:05d}.json"

    def _is_there(self, number: int) -> bool:
        """The note is written last, so a shard without one is not counted.

        A damaged one loses its note, so that it is named once.
        """
        if not (self._note(number).is_file() and self._path(number).is_file()):
            return False
        shape = (len(self.samples(number)), *self.shape)
        try:
            map_array(self._path(number), shape, DTYPES[self.kind])
        except DimrError as error:
            log.warning("%s; it is regenerated", error)
            self._note(number).unlink(missing_ok=True)
            return False
        return True
