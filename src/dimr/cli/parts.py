"""A step as several processes of this machine: the same command line, once for each part."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from dimr.runtime.errors import DimrError

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0
"""How long a part that was asked to end may take (its data workers end with it)."""


class PartFailed(DimrError):
    """A part left with an error, which it has printed; ``exit_code`` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def processes_for(options: Any, device: Any) -> int:
    """How many parts a step is run in: as ``--processes`` says, else one a GPU of this machine."""
    if options.processes or str(device) != "cuda":
        return options.processes or 1
    import torch

    return max(1, torch.cuda.device_count())


def run_parts(processes: int, device: Any = None, threads: int | None = None) -> None:
    """Run this very command line as ``--part 1/N`` to ``--part N/N`` at once, and wait for all.

    On CUDA each has a device of its own while there are enough of them, and on a CPU its share of
    the threads. What they write to standard error is shown line by line, with the part's number in
    front. If one fails, or this process is told to end, all are ended. With one process there is
    nothing to do: the caller goes on as it is (which is how a part knows not to start more).

    Args:
        processes: how many.
        device: of the step, as ``--device`` says or ``prepare_device`` gives it.
        threads: of all parts together, as ``--threads`` says; None: all cores.

    Raises:
        DimrError: the device is a certain one of several.
        PartFailed: with the exit code of the first part that failed.
    """
    if processes == 1:
        return
    if str(device).startswith("cuda:"):
        raise DimrError(
            f"--device {device}: --processes takes one device after the other; use --device cuda, "
            "and CUDA_VISIBLE_DEVICES to say which"
        )
    # A part reads the last of several equal options: these replace those of the command line.
    command = [sys.executable, "-m", "dimr", *sys.argv[1:], "--processes", "1"]
    parts: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    with _ended_by_sigterm():
        try:
            for index, (options, change) in enumerate(_shares(processes, device, threads)):
                name = f"{index + 1}/{processes}"
                parts.append(_start([*command, *options, "--part", name], change))
                reader = threading.Thread(target=_show, args=(parts[-1], f"[{name}] "), daemon=True)
                reader.start()
                readers.append(reader)
            _wait(parts)
        finally:
            _end(parts)
            for reader in readers:
                reader.join(GRACE_SECONDS)


def _shares(
    processes: int, device: Any, threads: int | None
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """For each part: further options, and what is different in its environment."""
    import torch

    cuda = str(device).startswith("cuda") or (device is None and torch.cuda.is_available())
    share = str(max(1, (threads or torch.get_num_threads()) // processes))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    devices = (
        visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count() or 1)]
    )
    for index in range(processes):
        change = {"OMP_NUM_THREADS": share}
        if cuda:
            change["CUDA_VISIBLE_DEVICES"] = devices[index % len(devices)]
        yield ["--threads", share, *(["--device", "cuda"] if cuda else [])], change


def _start(command: Sequence[str], change: dict[str, str]) -> "subprocess.Popen[str]":
    """A process at the head of a group of its own, so that its workers can be ended with it."""
    return subprocess.Popen(
        command,
        env=os.environ | change,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        process_group=0,
        preexec_fn=_end_with_parent if sys.platform == "linux" else None,
    )


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent is gone, even if it was killed (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _show(part: "subprocess.Popen[str]", prefix: str) -> None:
    """Copy a part's messages; a progress bar's carriage returns arrive as line ends."""
    assert part.stderr is not None
    for line in part.stderr:
        if line.strip():
            sys.stderr.write(f"{prefix}{line.rstrip()}\n")


def _wait(parts: "Sequence[subprocess.Popen[str]]") -> None:
    """Return when all have ended well; ``PartFailed`` as soon as one has not."""
    while True:
        codes = [part.poll() for part in parts]
        for index, code in enumerate(codes):
            if code:
                how = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
                message = f"part {index + 1}/{len(parts)} failed ({how}); the others were ended"
                raise PartFailed(message, code if code > 0 else 1)
        if None not in codes:
            return
        time.sleep(POLL_SECONDS)


def _end(parts: "Sequence[subprocess.Popen[str]]") -> None:
    """End what still runs, with its workers: politely, then for good."""
    running = [part for part in parts if part.poll() is None]
    for part in running:
        _signal(part, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for part in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            part.wait(max(0.0, deadline - time.monotonic()))
    for part in parts:
        _signal(part, signal.SIGKILL)  # its workers, should they have outlived it
        part.wait()


def _signal(part: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(part.pid, number)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends this process by an exception, so that it can end its parts before."""

    def leave(number: int, _: Any) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    old = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, old)
