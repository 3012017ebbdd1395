"""Checkpoints: what a training is at a step, whole or absent on disk, checked before it is read.

A checkpoint is a folder ``step-<n>``: a ``part-<i>.safetensors`` from each process that had
something to write, and ``manifest.json`` with the SHA-256 of each part, plain facts, and a
checksum of itself. It is written as ``.step-<n>.tmp`` and renamed when complete. No pickle is
written or read.

Parts have the safetensors layout of ``torch.distributed.checkpoint`` (DCP), whose reader gives any
number of processes their shards. DCP's writer is not used: it serialises all of a process's tensors
in memory while holding Python's lock, so that training pauses for 2 s and takes 1 GB more for each
GB of state (torch 2.15), whereas safetensors' own writer streams them to the file.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from dimr.runtime.atomic import flush, replace_directory
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, sha256, single_line, write_json
from dimr.runtime.record import compare_files
from dimr.training.distributed import World
from dimr.training.train_state import TrainState

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
FORMAT = 2
"""Format of files and facts. Format 1 had no offsets: only a single part of it can be read."""
FINISHED = "finished"
"""The fact that a training ended at this step: such a checkpoint is kept."""
OF = "of"
"""The fact that says which training this is (``state_folder.decisive``)."""
EMA = "ema/"


# --- what it holds --------------------------------------------------------------------------------


@dataclass
class Progress:
    """Where training is: what a checkpoint holds besides tensors of the network.

    Attributes:
        step: steps taken.
        seconds: time spent training, over all sessions.
        sums: (R + 2,) sums of the losses and gradient norms since the last line of the log, over
            this process's rows.
        summed: number of steps in these sums.
        sessions: the provenance of each session, in order, as JSON.
        codes: fingerprints of the code that took these steps, without repetition.
        start: what was taken from the weights that training started from; None: it had fresh ones.
    """

    step: int
    seconds: float
    sums: Tensor
    summed: int
    sessions: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    start: dict[str, Any] | None = None

    def facts(self, world: World) -> dict[str, Any]:
        """Plain values; the sums are means over all processes, so every process must call this."""
        sums = world.mean(self.sums).tolist()  # float32 as decimals, exact
        return {**vars(self), "sums": sums}

    @classmethod
    def of(cls, saved: "Saved", device: torch.device) -> "Progress":
        """The progress of a checkpoint."""
        facts = {name: saved.facts[name] for name in ("seconds", "summed", "sessions", "codes")}
        sums = torch.tensor(saved.facts["sums"], dtype=torch.float32, device=device)
        return cls(step=saved.step, sums=sums, start=saved.facts.get("start"), **facts)


def state_tensors(state: TrainState, finished: bool = False) -> dict[str, Tensor]:
    """The tensors of a training by name; for a ``finished`` one only those that the export needs.

    ``ema/...``, ``network/...``, and AdamW's ``step/...``, ``exp_avg/...``, ``exp_avg_sq/...`` of
    each parameter, which are allocated here before the first step. They share the memory of
    ``state``.
    """
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict  # 1 s

    tensors = {f"{EMA}{name}": t for name, t in state.ema.module.state_dict().items()}
    if finished:
        return tensors
    tensors |= {f"network/{name}": t for name, t in state.network.state_dict().items()}
    optimizer: Any = get_optimizer_state_dict(state.network, state.optimizer)["state"]
    for name, values in optimizer.items():
        tensors |= {f"{kind}/{name}": value for kind, value in values.items()}
    return tensors


def restore(state: TrainState, saved: "Saved", finished: bool, world: World) -> None:
    """Fill a training's tensors from a checkpoint; for a ``finished`` one only the EMA.

    Raises:
        DimrError: as ``load_tensors``.
    """
    load_tensors(state_tensors(state, finished), saved, world, EMA if finished else "")


def load_tensors(targets: dict[str, Tensor], saved: "Saved", world: World, prefix: str) -> None:
    """Fill tensors by name from a checkpoint, however many processes wrote it.

    All processes call this; sharded tensors get their own shard.

    Args:
        targets: all that the checkpoint must hold among the names that begin with ``prefix``.
        saved: the checkpoint.
        world: the processes that read together.
        prefix: of names; others are skipped.

    Raises:
        DimrError: a checkpoint of another network; the first tensor that does not fit is named.
    """
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load  # 1 s
    from torch.distributed.checkpoint.api import CheckpointException

    reader = HuggingFaceStorageReader(str(saved.folder))
    with world.agreed():
        try:
            stored = reader.read_metadata().state_dict_metadata
        except (OSError, SafetensorError) as error:
            reason = f"not readable as safetensors ({single_line(error)})"
            raise DimrError(f"{saved.folder}: {reason}") from None
        found = {name: getattr(tensor, "size", None) for name, tensor in stored.items()}
        for name in [*targets, *(name for name in found if name.startswith(prefix))]:
            has, wanted = found.get(name), targets[name].shape if name in targets else None
            if has != wanted:
                raise DimrError(
                    f"{saved.folder}: checkpoint of another network ({name}: {_shape(has)} in it, "
                    f"{_shape(wanted)} wanted)"
                )
    with world.agreed(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about reading in a single process
        try:
            load(targets, storage_reader=reader, process_group=world.control,
                 no_dist=world.size == 1)  # fmt: skip
        except CheckpointException as error:  # the same in all processes
            reason = single_line(next(iter(error.failures.values()))[0])
            raise DimrError(f"{saved.folder}: not readable ({reason})") from None


def _shape(shape: torch.Size | None) -> str:
    return "absent" if shape is None else f"shape {list(shape)}"


# --- on disk --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Saved:
    """A checkpoint that was found whole: its folder, the steps taken, and plain facts."""

    folder: Path
    step: int
    facts: dict[str, Any]


Part = Mapping[str, tuple[Tensor, Sequence[int]]]
"""What one process writes: CPU tensors by name, and where each begins in the whole tensor."""


class Checkpoints:
    """The checkpoints of one training in a folder.

    Args:
        folder: created if it does not exist.
        keep: how many of the newest to keep. The second newest is the fallback if the newest turns
            out to be damaged.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder, self.keep = folder, keep
        folder.mkdir(parents=True, exist_ok=True)

    def clean(self) -> None:
        """Remove what a process killed while saving has left."""
        for leftover in self.folder.glob(".step-*"):
            shutil.rmtree(leftover, ignore_errors=True)

    def folders(self) -> list[Path]:
        """Checkpoints from the oldest step to the newest."""
        return sorted((f for f in self.folder.iterdir() if step_of(f)), key=step_of)

    def begin(self, step: int) -> Path:
        """The hidden folder in which the checkpoint of a step is built."""
        building = self.folder / f".step-{step:09d}.tmp"
        building.mkdir(exist_ok=True)
        return building

    def write_part(self, step: int, number: int, part: Part) -> str:
        """Write one part of the checkpoint of a step; return its SHA-256.

        Raises:
            OSError, SafetensorError: it could not be written.
        """
        path = self.begin(step) / _part(number)
        offsets = {name: {"saved_offsets": list(begins)} for name, (_, begins) in part.items()}
        layout = {"DCP_SHARDING_INFO": json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"}
        save_file({name: tensor for name, (tensor, _) in part.items()}, path, metadata=layout)
        flush(path)
        return sha256(path)

    def commit(self, step: int, facts: Mapping[str, Any], sums: Sequence[str | None]) -> Path:
        """Complete the checkpoint of a step; then remove all but the newest and the finished.

        Args:
            step: steps taken.
            facts: plain values.
            sums: SHA-256 of each part; None for a process that wrote none.

        Raises:
            DimrError: a part is missing: processes on other machines write elsewhere.
        """
        building, path = self.begin(step), self.folder / f"step-{step:09d}"
        parts = {_part(i): total for i, total in enumerate(sums) if total is not None}
        for name in parts:
            if not (building / name).exists():
                raise DimrError(
                    f"{building / name}: written by another process, but not visible here; "
                    "--state must be on a file system that all machines share"
                )
        content = {"format": FORMAT, "step": step, "facts": dict(facts), "parts": parts}
        write_json(building / MANIFEST, {"sha256": checksum(content), "content": content})
        replace_directory(building, path)
        # Later steps are not newer: they turned out to be damaged when this training was resumed.
        before = [folder for folder in self.folders() if step_of(folder) <= step]
        finished = [folder for folder in before[: -self.keep] if _is_finished(folder)]
        for folder in set(self.folders()) - {*before[-self.keep :], *finished}:
            shutil.rmtree(folder, ignore_errors=True)
        return path

    def take(self, found: Saved) -> None:
        """Add another training's checkpoint: by hard links if the disk can, else as a copy."""
        self.clean()
        building = self.begin(found.step)
        for file in found.folder.iterdir():
            try:
                os.link(file, building / file.name)
            except OSError:
                shutil.copyfile(file, building / file.name)
        replace_directory(building, self.folder / found.folder.name)

    def newest(self, world: World) -> Saved | None:
        """The newest checkpoint that is whole; damaged ones are reported and skipped.

        All processes check the same ones, each its share of the parts.

        Raises:
            DimrError: there are checkpoints, but every one is damaged.
        """
        problems = []
        for name in world.gather([folder.name for folder in self.folders()])[0][::-1]:
            saved, problem = None, None
            try:
                saved = check(self.folder / name, world)
            except DimrError as error:
                problem = str(error)
            found = [text for text in world.gather(problem) if text is not None]
            if saved is not None and not found:
                return saved
            problems += found[:1]
            if world.is_first:
                log.warning("%s; trying the previous one", found[0])
        if problems:
            world.agree(
                DimrError(f"{problems[0]}; no intact one is left: remove {self.folder} to restart")
            )
        return None


def check(folder: Path, world: World | None = None) -> Saved:
    """A checkpoint, after this process has checked its share of the parts (by default all).

    Raises:
        DimrError: it is damaged, or of another format.
    """
    share = slice(world.rank, None, world.size) if world else slice(None)
    try:
        manifest = read_json(folder / MANIFEST)
        content, parts = manifest["content"], manifest["content"]["parts"]
        if manifest["sha256"] != checksum(content):
            raise DimrError(f"{MANIFEST} was changed since it was written")
        if content["step"] != step_of(folder):
            raise DimrError(f"it is of step {content['step']}")
        if stray := {file.name for file in folder.glob("*.safetensors")} ^ set(parts):
            raise DimrError(f"{min(stray)}: missing, or not listed in {MANIFEST}")
        compare_files(folder, dict(list(parts.items())[share]))
        saved = Saved(folder, content["step"], content["facts"])
        readable = content["format"] == FORMAT or (content["format"] == 1 and len(parts) == 1)
    except (DimrError, OSError, KeyError, TypeError, AttributeError) as error:
        problem = str(error).removeprefix(f"{folder}/")
        raise DimrError(f"{folder}: damaged checkpoint ({problem})") from None
    if not readable:
        raise DimrError(f"{folder}: of format {content['format']}; this code reads {FORMAT}")
    return saved


def step_of(folder: Path) -> int:
    """The step in a checkpoint's name; 0: not a checkpoint."""
    found = re.fullmatch(r"step-([0-9]{9,18})", folder.name)
    return int(found[1]) if found else 0


def steps_in(state: Path) -> list[int]:
    """The steps of the checkpoints in a state's folder, whole or not, from the oldest."""
    return sorted(filter(None, map(step_of, state.glob("checkpoints/step-*"))))


def newest_step(state: Path) -> int | None:
    """The last of ``steps_in``; None: there is none."""
    return max(steps_in(state), default=None)


def checksum(content: Any) -> str:
    """SHA-256 of a manifest's content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _is_finished(folder: Path) -> bool:
    try:
        return read_json(folder / MANIFEST)["content"]["facts"].get(FINISHED) is True
    except (DimrError, KeyError, TypeError, AttributeError):
        return False


def _part(number: int) -> str:
    return f"part-{number:04d}.safetensors"
