"""What the host does while the device computes: fetch the results, and write them."""

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

import torch
from numpy.typing import NDArray
from torch import Tensor


class Waits:
    """Seconds that the loop stood still, by what for: ``copy`` from the device, ``write``."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @contextlib.contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Count the time of the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[what] += time.perf_counter() - started


def fetch(images: Iterable[Tensor | NDArray[Any]], waits: Waits) -> Iterator[NDArray[Any]]:
    """The arrays of tensors, in order; from CUDA one behind, so that copies cost no time.

    A batch is handed out when the next one has been launched; by then its copy is through.
    """
    copied: Callable[[], NDArray[Any]] | None = None
    for batch in images:
        tensor = torch.as_tensor(batch)
        if tensor.device.type != "cuda":
            yield tensor.cpu().numpy()
            continue
        following = start_copy(tensor)
        if copied is not None:
            with waits.on("copy"):
                array = copied()
            yield array
        copied = following
    if copied is not None:
        with waits.on("copy"):
            array = copied()
        yield array


def start_copy(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    """Begin to copy a tensor to the host; the function returned waits for the array, if on CUDA."""
    if tensor.device.type != "cuda":
        return tensor.cpu().numpy
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    arrived = torch.cuda.Event()
    arrived.record(torch.cuda.current_stream(tensor.device))

    def array() -> NDArray[Any]:
        arrived.synchronize()
        return host.numpy()

    return array


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; to CUDA without waiting for what runs there."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class BackgroundWriter:
    """Calls made one after another in a thread of their own: one runs, and none waits.

    So at most one result is held besides that which is being made. An error of a call is raised
    by the next ``check`` or ``submit``, or on leaving the block; a call that runs when the block is
    left by an error is finished first.
    """

    def __init__(self, waits: Waits) -> None:
        self.waits = waits
        self._thread = ThreadPoolExecutor(1, "writer")
        self._running: Future[Any] | None = None

    def submit(self, call: Callable[..., object], *arguments: Any) -> None:
        """Begin a call as soon as the one before is done; raises what that raised."""
        self._settle()
        self._running = self._thread.submit(call, *arguments)

    def check(self) -> None:
        """Raise what a call raised, if it has; does not wait."""
        if self._running is not None and self._running.done():
            self._settle()

    def _settle(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            with self.waits.on("write"):
                running.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._settle()
        finally:
            self._thread.shutdown(wait=True)
