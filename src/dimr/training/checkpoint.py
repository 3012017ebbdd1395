"""Training state on disk: whole or absent, checked on reading, under a lock."""

import contextlib
import logging
import os
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from dimr.errors import DimrError
from dimr.files import atomic_file, one_line, sha256, write_text

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one training run in a folder, ``step-<n>.pt`` with its SHA-256 beside it.

    Args:
        folder: made if it is not there.
        keep: how many of the newest stay. The one before the newest is what is left if the newest
            turns out damaged.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        for leftover in folder.glob(".*.tmp*"):  # of a process that was killed while saving
            leftover.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all of them."""
        for file in self.files():
            file.unlink()
            _sum_file(file).unlink(missing_ok=True)

    def files(self) -> list[Path]:
        """Checkpoints from the oldest step to the newest."""
        return sorted(f for f in self.folder.iterdir() if re.fullmatch(r"step-\d+\.pt", f.name))

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write the state after ``step`` steps; then remove all but the newest ``keep``."""
        path = self.folder / f"step-{step:09d}.pt"
        with atomic_file(path) as temporary:
            torch.save({"step": step, **state}, temporary)
            # The sum goes first: a checkpoint without one is never met.
            write_text(_sum_file(path), sha256(temporary) + "\n")
        for old in self.files()[: -self.keep]:
            old.unlink()
            _sum_file(old).unlink(missing_ok=True)
        return path

    def newest(self) -> dict[str, Any] | None:
        """The newest state that is whole; damaged ones are reported and passed over.

        Raises:
            DimrError: there are checkpoints, but every one is damaged.
        """
        problems = []
        for path in reversed(self.files()):
            try:
                return _load(path)
            except DimrError as error:
                problems.append(str(error))
                log.warning("%s; trying the one before", error)
        if problems:
            raise DimrError(f"{problems[0]}; no whole one is left: remove {self.folder} to restart")
        return None


def _sum_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _load(path: Path) -> dict[str, Any]:
    try:
        if sha256(path) != _sum_file(path).read_text().strip():
            raise DimrError(f"{path}: damaged checkpoint (its SHA-256 is not the recorded one)")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise DimrError(f"{path}: not readable as a checkpoint ({one_line(error)})") from None


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, which ends with the process however it ends.

    Raises:
        DimrError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "lock.pid"
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = owner.read_text().strip() if owner.exists() else "unknown"
        raise DimrError(
            f"{folder}: process {pid} is training here; wait for it or end it"
        ) from None
    try:
        owner.write_text(f"{os.getpid()}\n")
        yield
    finally:
        lock.release()
