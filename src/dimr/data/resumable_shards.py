"""Unfinished shard folders: shards arrive in any order, from one or more processes or jobs.

They lie in a hidden folder beside the result (``dimr.runtime.work_folder``), which a workflow that
deletes the outputs of a failed job leaves alone. When all are there, labels and manifest are added
and the folder takes the result's name.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.shards import DTYPES, ShardManifest, complete, open_shards, shard_name, write_shard
from dimr.runtime.atomic import require_space
from dimr.runtime.errors import DimrError
from dimr.runtime.record import verify
from dimr.runtime.work_folder import Part as Part
from dimr.runtime.work_folder import WorkFolder

log = logging.getLogger(__name__)


class ShardWork(WorkFolder):
    """Work on a folder of shards, each of which is a piece: what all kinds of them share.

    Attributes:
        shard_size: rows in a shard; the last may be shorter.
    """

    shard_size: int

    if TYPE_CHECKING:  # a field of one kind, computed by another

        @property
        def count(self) -> int:
            """Rows in total."""

    @property
    def shards(self) -> int:
        """How many shards there will be."""
        return -(-self.count // self.shard_size)

    def samples(self, number: int) -> range:
        """Numbers of the rows in a shard."""
        start = number * self.shard_size
        return range(start, min(start + self.shard_size, self.count))

    def missing(self, part: Part | None = None) -> list[int]:
        """Numbers of the shards that do not exist yet; with ``part``, only of its own.

        A shard whose size is not as written is named in the log and counts as missing.
        """
        own = range(self.shards)[(part or Part()).slice]
        return [number for number in own if self.finished(note_of(number), "sizes") is None]

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        raise NotImplementedError

    def require_space(self, extra: int = 0) -> None:
        """Refuse to continue where the disk has no room for the shards that are still missing.

        ``extra``: bytes of what is added at the end.
        """
        rows = sum(len(self.samples(number)) for number in self.missing())
        rest = rows * (self.nbytes // self.count) + extra
        require_space(self.folder.parent, rest, f"what is missing of {self.out}")

    def entries(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The shards as a manifest lists them, and their notes, when all are finished.

        ``DimrError`` if shards are missing, or damaged, which makes them missing.
        """
        if missing := self.missing():
            raise DimrError(f"{self.out}: {len(missing)} of {self.shards} shards are missing")
        notes = [self.finished(note_of(number), "again") for number in range(self.shards)]
        if damaged := notes.count(None):
            raise DimrError(
                f"{self.store / shard_name(notes.index(None))}: checksum differs from when it was "
                f"written, as of {damaged} of {self.shards} shards: the same command regenerates "
                "them"
            )
        found = [note for note in notes if note]
        entries = [
            {
                "file": shard_name(number),
                "count": len(self.samples(number)),
                "sha256": note["files"][f"store/{shard_name(number)}"]["sha256"],
            }
            for number, note in enumerate(found)
        ]
        return entries, found


@dataclass(frozen=True)
class Assembly(ShardWork):
    """Work on a folder of latents, pixels or samples, ``out``.

    Args:
        out: as in ``WorkFolder``.
        key: likewise.
        kind: ``posterior`` or ``pixels``, as in ``dimr.data.shards``.
        shape: of a stored sample.
        count: number of samples in total.
        shard_size: samples in a shard (the last may be shorter).
    """

    kind: str
    shape: tuple[int, ...]
    count: int
    shard_size: int

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored samples."""
        return np.dtype(DTYPES[self.kind])

    @property
    def nbytes(self) -> int:
        """Bytes of all shards."""
        return int(np.prod(self.shape)) * self.dtype.itemsize * self.count

    def is_complete(self) -> bool:
        """Whether the finished folder exists, undamaged and with this work's key.

        Every checksum is compared; what is damaged is named in the log.
        """
        if not self.out.exists() or not any(self.out.iterdir()):  # Snakemake makes the folder
            return False
        try:
            if open_shards(self.out).manifest.key != self.key:
                return False
            verify(self.out)
        except DimrError as error:
            log.warning("%s; it is regenerated", error)
            return False
        return True

    def write(self, number: int, samples: NDArray[Any]) -> None:
        """Store a shard (n, *shape): checked, then written completely or not at all."""
        path, wanted = self.store / shard_name(number), self.samples(number)
        if len(samples) != len(wanted):
            raise DimrError(f"{path}: {len(samples)} samples for {len(wanted)}")
        entry = write_shard(path, samples, self.kind, self.shape, wanted.start, self.out)
        self.note(note_of(number), {path: entry["sha256"]})

    def finish(
        self,
        labels: NDArray[np.int64],
        class_names: Sequence[str],
        scaling_factor: float | None = None,
        add: Callable[[Path], None] | None = None,
    ) -> ShardManifest:
        """Complete the folder and put it in place; return its manifest.

        ``add`` is called with the folder before it takes its final name, to put more beside the
        shards. ``DimrError`` if shards are missing, or damaged, which makes them missing.
        """
        entries, _ = self.entries()
        manifest = complete(
            self.store,
            entries,
            labels,
            kind=self.kind,
            shape=self.shape,
            class_names=class_names,
            key=self.key,
            scaling_factor=scaling_factor,
        )
        if add:
            add(self.store)
        self.place()
        return manifest


def note_of(number: int) -> str:
    """Name of a shard's note."""
    return f"notes/{number:05d}"
