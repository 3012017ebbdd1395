"""Saving while training continues: the state is copied to host memory, a thread writes it."""

import re
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from torch import Tensor

from dimr.runtime.errors import SaveFailed
from dimr.runtime.files import single_line
from dimr.training.checkpoint import Checkpoints, Part
from dimr.training.distributed import World

Result = TypeVar("Result")


class Saver:
    """Writes the checkpoints of a training, one at a time.

    All processes call ``begin`` and ``commit`` at the same steps. The copies in host memory are
    reused, so memory does not grow; what is written is the state at ``begin``.

    Attributes:
        took: seconds that copying and writing the last checkpoint took this process.
    """

    def __init__(self, checkpoints: Checkpoints, world: World) -> None:
        self.checkpoints, self.world = checkpoints, world
        self.took = 0.0
        self._host: dict[str, Tensor] = {}
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._pending: tuple[int, Mapping[str, Any], Future[str] | None] | None = None

    @property
    def in_flight(self) -> bool:
        """Whether a checkpoint is yet to be committed; the same in all processes."""
        return self._pending is not None

    @property
    def writing(self) -> bool:
        """Whether this process's part of it is still being written."""
        part = self._pending[2] if self._pending else None
        return part is not None and not part.done()

    def begin(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Copy the state and begin to write it; the checkpoint before is committed first."""
        self.commit()
        begun = time.monotonic()
        part = self._copy(tensors)
        future = self._thread.submit(self._write, step, part, begun) if part else None
        self._pending = step, facts, future

    def commit(self) -> None:
        """Wait until all processes have written the pending checkpoint, and complete it.

        Raises:
            SaveFailed: it could not be written; earlier checkpoints stay.
        """
        if self._pending is None:
            return
        (step, facts, future), self._pending = self._pending, None
        try:
            with self.world.agreed():
                total = future.result() if future else None
            sums = self.world.gather(total)
            self.world.on_first(
                lambda: self._attempt(step, lambda: self.checkpoints.commit(step, facts, sums))
            )
        except (SaveFailed, SystemExit):
            if self.world.is_first:
                self.checkpoints.clean()  # an incomplete checkpoint only takes up space
            raise

    def close(self) -> None:
        """End the thread, which first finishes writing."""
        self._thread.shutdown()

    def _copy(self, tensors: Mapping[str, Tensor]) -> Part:
        """This process's part of the state, in host memory."""
        part = {}
        for name, tensor in tensors.items():
            own = self.world.part(tensor)
            if own is None:
                continue
            values, offsets = own
            host = self._host.get(name)
            if host is None or host.shape != values.shape:
                host = self._host[name] = torch.empty(values.shape, dtype=values.dtype)
            part[name] = host.copy_(values), offsets
        return part

    def _write(self, step: int, part: Part, begun: float) -> str:
        """In the thread: write the part; return its SHA-256."""
        write = self.checkpoints.write_part
        total = self._attempt(step, lambda: write(step, self.world.rank, part))
        self.took = time.monotonic() - begun
        return total

    def _attempt(self, step: int, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except (OSError, SafetensorError) as error:
            said = single_line(getattr(error, "strerror", None) or error)
            reason = re.sub(r"^.*I/O error: | \(os error \d+\).*$", "", said)  # of safetensors
            raise SaveFailed(
                f"{self.checkpoints.folder}: the checkpoint of step {step} could not be written "
                f"({reason}); earlier ones are kept: free some space, and the same command resumes"
            ) from None
