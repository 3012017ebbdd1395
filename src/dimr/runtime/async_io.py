"""What the host does while the device computes: read ahead, fetch one batch behind, write.

``prefetch`` makes the next items in a thread, ``one_behind`` collects an item once the next is
under way, and ``BackgroundWriter`` writes what is done.
"""

import collections
import contextlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

T = TypeVar("T")


class Waits:
    """Seconds that a loop waited, by cause: ``data``, ``device``, ``copy``, ``write``."""

    def __init__(self) -> None:
        self.seconds: collections.defaultdict[str, float] = collections.defaultdict(float)

    @contextlib.contextmanager
    def on(self, cause: str) -> Iterator[None]:
        """Count the time of the block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[cause] += time.perf_counter() - started


def prefetch(items: Iterable[T], depth: int = 4) -> Generator[T, None, None]:
    """The same items, with the next ``depth`` made in a thread, whose errors are raised here.

    Close the generator (``contextlib.closing``) if it may be left before the end.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1, "prefetch") as pool:
        pending = collections.deque(pool.submit(next, source, end) for _ in range(depth))
        try:
            while (item := pending.popleft().result()) is not end:
                pending.append(pool.submit(next, source, end))
                yield item  # type: ignore[misc]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def one_behind(items: Iterable[T], pending: Callable[[T], bool] = lambda _: True) -> Iterator[T]:
    """The same items, each yielded once the next one has been begun, so that nobody waits.

    An item that is not ``pending`` is yielded at once. An error of the source is raised after the
    item before it has been yielded.
    """
    held: list[T] = []
    try:
        for item in items:
            yield from held
            held = [item]
            if not pending(item):
                held = []
                yield item
    except Exception:
        yield from held
        raise
    yield from held


class Copy:
    """A CUDA tensor on its way to the host; calling it waits for the array."""

    def __init__(self, tensor: Tensor) -> None:
        self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        self._host.copy_(tensor, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record(torch.cuda.current_stream(tensor.device))

    def __call__(self) -> NDArray[Any]:
        """Wait for the array."""
        self._arrived.synchronize()
        return self._host.numpy()


def start_copy(tensor: Tensor) -> Callable[[], NDArray[Any]]:
    """Begin to copy a tensor to the host; what is returned waits for the array, if on CUDA."""
    return Copy(tensor) if tensor.device.type == "cuda" else tensor.cpu().numpy


def fetch(images: Iterable[Tensor | NDArray[Any]], waits: Waits) -> Iterator[NDArray[Any]]:
    """Tensors as arrays, in order; from CUDA one behind, so that copies cost no time."""
    copies = (start_copy(torch.as_tensor(batch)) for batch in images)
    for copy in one_behind(copies, lambda copy: isinstance(copy, Copy)):
        with waits.on("copy") if isinstance(copy, Copy) else contextlib.nullcontext():
            array = copy()
        yield array


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A CPU tensor on the device; for CUDA without waiting for its running work."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class BackgroundWriter:
    """Calls made one after another in their own thread: one runs, and none is queued.

    So at most one result is held besides the one being computed. An error in a call is raised by
    the next ``check`` or ``submit``, or on leaving the block; if the block is left by an error, a
    running call is finished first.
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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._settle()
        finally:
            self._thread.shutdown(wait=True)
