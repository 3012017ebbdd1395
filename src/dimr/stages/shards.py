"""A stage as several processes on this machine: the same command line, once per share."""

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
"""How long a process that was asked to end may take (its data workers end with it)."""


class ProcessFailed(DimrError):
    """A process left with an error, which it has printed; ``exit_code`` is its own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def processes_for(options: Any, device: Any) -> int:
    """How many processes a stage runs in: as ``--processes`` says, else one per GPU here."""
    if options.processes or str(device) != "cuda":
        return options.processes or 1
    import torch

    return max(1, torch.cuda.device_count())


def run_processes(processes: int, device: Any = None, threads: int | None = None) -> None:
    """Run this very command line as ``--shard 1/N`` to ``--shard N/N`` at once, and wait for all.

    On CUDA each has its own device as long as there are enough, and on a CPU its share of the
    threads. What a process writes to standard error is shown line by line, after its number. If
    one fails, or this process is asked to end, all are ended. With one process there is nothing to
    do: the caller continues by itself (so a share does not start more processes).

    Args:
        processes: how many.
        device: of the step, as ``--device`` says or ``prepare_device`` gives it.
        threads: for all processes together, as ``--threads`` says; None: all cores.

    Raises:
        DimrError: the device is a certain one of several.
        ProcessFailed: with the exit code of the first that failed.
    """
    if processes == 1:
        return
    if str(device).startswith("cuda:"):
        raise DimrError(
            f"--device {device}: --processes takes one device after the other; use --device cuda, "
            "and CUDA_VISIBLE_DEVICES to say which"
        )
    # The last of repeated options counts: these replace those of the command line.
    command = [sys.executable, "-m", "dimr", *sys.argv[1:], "--processes", "1"]
    running: list[subprocess.Popen[str]] = []
    readers: list[threading.Thread] = []
    with _ended_by_sigterm():
        try:
            for index, (options, change) in enumerate(_shares(processes, device, threads)):
                name = f"{index + 1}/{processes}"
                running.append(_start([*command, *options, "--shard", name], change))
                reader = threading.Thread(
                    target=_show, args=(running[-1], f"[{name}] "), daemon=True
                )
                reader.start()
                readers.append(reader)
            _wait(running)
        finally:
            _end(running)
            for reader in readers:
                reader.join(GRACE_SECONDS)


def _shares(
    processes: int, device: Any, threads: int | None
) -> Iterator[tuple[list[str], dict[str, str]]]:
    """For each process: further options, and what is different in its environment."""
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
    """Start a process in its own group, so that its workers can be ended with it."""
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


def _show(process: "subprocess.Popen[str]", prefix: str) -> None:
    """Copy a process's messages; a progress bar's carriage returns arrive as line ends."""
    assert process.stderr is not None
    for line in process.stderr:
        if line.strip():
            sys.stderr.write(f"{prefix}{line.rstrip()}\n")


def _wait(processes: "Sequence[subprocess.Popen[str]]") -> None:
    """Return when all have ended well; ``ProcessFailed`` as soon as one has not."""
    while True:
        codes = [process.poll() for process in processes]
        for index, code in enumerate(codes):
            if code:
                how = f"exit code {code}" if code > 0 else f"killed by signal {-code}"
                message = (
                    f"process {index + 1}/{len(processes)} failed ({how}); the others were stopped"
                )
                raise ProcessFailed(message, code if code > 0 else 1)
        if None not in codes:
            return
        time.sleep(POLL_SECONDS)


def _end(processes: "Sequence[subprocess.Popen[str]]") -> None:
    """End what still runs, with its workers: politely, then with SIGKILL."""
    running = [process for process in processes if process.poll() is None]
    for process in running:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for process in running:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for process in processes:
        _signal(process, signal.SIGKILL)  # its workers, should they have outlived it
        process.wait()


def _signal(process: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends this process by an exception, so that it can end its processes before."""

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
