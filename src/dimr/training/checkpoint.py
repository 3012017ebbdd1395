"""Checkpoints on disk: whole or absent, checked on reading, under a lock.

A checkpoint is a folder ``step-<n>``: a ``part-<i>.safetensors`` of each process that had something
to write, and ``manifest.json`` with the SHA-256 of each, the facts that are no tensors, and a
checksum of itself. It is written as ``.step-<n>.tmp`` and renamed when it is complete.
"""

import contextlib
import hashlib
import json
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from torch import Tensor

from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, replace_directory, sha256, write_json
from dimr.training.distributed import World
from dimr.training.tensors import write_tensors

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 1
"""Of the folder's files and the facts; a checkpoint of another one is not read."""
FINISHED = "finished"
"""The fact that a training ended here, as long as it was to be then: such a checkpoint stays."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was found whole.

    Attributes:
        step: steps taken.
        facts: plain values.
        parts: files of tensors, to be read together.
    """

    step: int
    facts: dict[str, Any]
    parts: tuple[Path, ...]


class Checkpoints:
    """The checkpoints of one training run in a folder.

    Args:
        folder: made if it is not there.
        keep: how many of the newest stay. The one before the newest is what is left if the newest
            turns out damaged.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """Remove what a process left that was killed while saving."""
        for leftover in self.folder.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def folders(self) -> list[Path]:
        """Checkpoints from the oldest step to the newest."""
        return sorted((f for f in self.folder.iterdir() if step_of(f)), key=step_of)

    def begin(self, step: int) -> Path:
        """The hidden folder that the checkpoint of a step is built in."""
        building = self.folder / f".step-{step:09d}.tmp"
        building.mkdir(exist_ok=True)
        return building

    def write_part(self, step: int, number: int, tensors: Mapping[str, Tensor]) -> str:
        """Write one part of the checkpoint of a step; return its SHA-256."""
        return write_tensors(self.begin(step) / _part(number), tensors)

    def commit(self, step: int, facts: Mapping[str, Any], sums: Sequence[str | None]) -> Path:
        """Complete the checkpoint of a step; then remove all but the newest, and the finished.

        Args:
            step: steps taken.
            facts: plain values.
            sums: SHA-256 of each part; None for one that there is not.

        Raises:
            DimrError: a part is not there: processes on other machines write elsewhere.
        """
        building, path = self.begin(step), self.folder / f"step-{step:09d}"
        content: dict[str, Any] = {
            "format": FORMAT,
            "step": step,
            "facts": dict(facts),
            "parts": {_part(i): total for i, total in enumerate(sums) if total is not None},
        }
        for name in content["parts"]:
            if not (building / name).exists():
                raise DimrError(
                    f"{building / name}: written by another process, but not to be seen here; "
                    "--state must lie on a file system that all machines share"
                )
        write_json(building / MANIFEST, {"sha256": _sum(content), "content": content})
        replace_directory(building, path)
        # Later steps are not newer: they turned out damaged when this training was resumed.
        before = [folder for folder in self.folders() if step_of(folder) <= step]
        finished = [folder for folder in before[: -self.keep] if _is_finished(folder)]
        for folder in set(self.folders()) - {*before[-self.keep :], *finished}:
            shutil.rmtree(folder, ignore_errors=True)
        return path

    def take(self, found: Saved) -> None:
        """Put another training's checkpoint here: by hard links where the disk can, else a copy."""
        self.clean()
        building, source = self.begin(found.step), found.parts[0].parent
        for file in source.iterdir():
            try:
                os.link(file, building / file.name)
            except OSError:
                shutil.copyfile(file, building / file.name)
        replace_directory(building, self.folder / source.name)

    def newest(self, world: World) -> Saved | None:
        """The newest checkpoint that is whole; damaged ones are reported and passed over.

        All processes look at the same ones, each at its share of the parts.

        Raises:
            DimrError: there are checkpoints, but every one is damaged.
        """
        problems = []
        for name in world.gather([folder.name for folder in self.folders()])[0][::-1]:
            saved, problem = check(self.folder / name, world)
            found = [text for text in world.gather(problem) if text is not None]
            if saved is not None and not found:
                return saved
            problems += found[:1]
            if world.is_first:
                log.warning("%s; trying the one before", found[0])
        if problems:
            world.agree(
                DimrError(f"{problems[0]}; no whole one is left: remove {self.folder} to restart")
            )
        return None


def check(folder: Path, world: World) -> tuple[Saved | None, str | None]:
    """A checkpoint, and what is wrong with this process's share of it."""
    try:
        manifest = read_json(folder / MANIFEST)
        content = manifest["content"]
        if manifest["sha256"] != _sum(content):
            return None, f"{folder / MANIFEST}: damaged checkpoint (its checksum is wrong)"
        if content["format"] != FORMAT:
            return None, f"{folder}: of format {content['format']}; this code reads {FORMAT}"
        if content["step"] != step_of(folder):
            return None, f"{folder}: damaged checkpoint (it is of step {content['step']})"
        for name, total in list(content["parts"].items())[world.rank :: world.size]:
            if sha256(folder / name) != total:
                return None, (
                    f"{folder / name}: damaged checkpoint (its SHA-256 is not the recorded one)"
                )
    except (DimrError, OSError, KeyError, TypeError, AttributeError) as error:
        return None, f"{folder}: damaged checkpoint ({error})"
    parts = tuple(folder / name for name in content["parts"])
    return Saved(content["step"], content["facts"], parts), None


def step_of(folder: Path) -> int:
    """The step that a checkpoint's name says; 0: it is no checkpoint's."""
    found = re.fullmatch(r"step-([0-9]{9,18})", folder.name)
    return int(found[1]) if found else 0


def steps_in(state: Path) -> list[int]:
    """The steps of the checkpoints in a state's folder, whole or not, from the oldest."""
    return sorted(filter(None, map(step_of, state.glob("checkpoints/step-*"))))


def newest_step(state: Path) -> int | None:
    """The last of ``steps_in``; None: there is none."""
    return max(steps_in(state), default=None)


def _is_finished(folder: Path) -> bool:
    try:
        return read_json(folder / MANIFEST)["content"]["facts"].get(FINISHED) is True
    except (DimrError, KeyError, TypeError, AttributeError):
        return False


def _part(number: int) -> str:
    return f"part-{number:04d}.safetensors"


def _sum(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
        name = owner.read_text().strip() if owner.exists() else "unknown"
        raise DimrError(
            f"{folder}: process {name} is training here; wait for it or end it"
        ) from None
    try:
        owner.write_text(f"{os.getpid()} on {socket.gethostname()}\n")
        yield
    finally:
        lock.release()
