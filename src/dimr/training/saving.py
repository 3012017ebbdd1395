"""Saving while training goes on: the state is copied to host memory, a thread writes it."""

import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dimr.runtime.errors import SaveFailed
from dimr.runtime.files import single_line
from dimr.training.checkpoint import Checkpoints
from dimr.training.distributed import World


@dataclass
class _Flight:
    """A checkpoint on its way: its facts, and the thread's writing of this process's part."""

    step: int
    facts: Mapping[str, Any]
    part: "Future[tuple[str, float]] | None"


class Saver:
    """Writes the checkpoints of a training, one at a time.

    All processes call ``begin`` and ``commit`` at the same steps. The copies in host memory are
    kept and filled again, so memory does not grow; what is written is what was at ``begin``.

    Attributes:
        took: seconds that copying and writing the last checkpoint took this process.
    """

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        self.checkpoints, self.world = checkpoints, world
        self.took = 0.0
        self._host: dict[str, Tensor] = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._flight: _Flight | None = None

    @property
    def in_flight(self) -> bool:
        """Whether a checkpoint is yet to be committed; the same on all processes."""
        return self._flight is not None

    @property
    def writing(self) -> bool:
        """Whether this process's part of it is still being written."""
        part = self._flight.part if self._flight else None
        return part is not None and not part.done()

    def begin(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the state and begin to write it; the one before is committed first."""
        self.commit()
        begun = time.monotonic()
        with self.world.agreed():
            part = self._copy(tensors)
            if self.world.is_first:
                self._tried(step, self.checkpoints.begin, step)
        future = self._thread.submit(self._write, step, part, begun) if part else None
        self._flight = _Flight(step, facts, future)

    def commit(self) -> None:
        """Wait until the checkpoint in flight is written, by all, and make it count.

        Raises:
            SaveFailed: it could not be written; what was there before stays.
        """
        if self._flight is None:
            return
        flight, self._flight = self._flight, None
        try:
            self._complete(flight)
        except (SaveFailed, SystemExit):
            if self.world.is_first:
                self.checkpoints.clean()  # what was written takes room for nothing
            raise

    def _complete(self, flight: _Flight) -> None:
        total = None
        with self.world.agreed():
            if flight.part is not None:
                total, self.took = flight.part.result()
        sums = self.world.gather(total)
        commit = self.checkpoints.commit
        self.world.on_first(
            lambda: self._tried(flight.step, commit, flight.step, flight.facts, sums)
        )

    def close(self) -> None:
        """End the thread, which finishes what it writes."""
        self._thread.shutdown()

    def _copy(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """This process's part of the state, in host memory."""
        part = {}
        for name, tensor in tensors.items():
            own = self.world.part(tensor)
            if own is None:
                continue
            host = self._host.get(name)
            if host is None or host.shape != own.shape:
                host = self._host[name] = torch.empty(own.shape, dtype=own.dtype)
            part[name] = host.copy_(own)
        return part

    def _write(self, step: int, part: Mapping[str, Tensor], begun: float) -> tuple[str, float]:
        """In the thread: the SHA-256 of what was written, and the seconds since ``begun``."""
        total = self._tried(step, self.checkpoints.write_part, step, self.world.rank, part)
        return total, time.monotonic() - begun

    def _tried(self, step: int, call: Any, *arguments: Any) -> Any:
        try:
            return call(*arguments)
        except OSError as error:
            raise SaveFailed(
                f"{self.checkpoints.folder}: the checkpoint of step {step} could not be written "
                f"({single_line(error.strerror or error)}); those before it stay: make room, and the "
                "same command resumes"
            ) from None
