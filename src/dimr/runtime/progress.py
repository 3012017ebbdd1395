"""Progress for people: a live bar on a terminal, a line now and then elsewhere.

Jobs of the workflow share one terminal. They write lines too, each with the job's name, which
``workflow/environment.sh`` puts into ``DIMR_JOB``: "digits/dimr-xs-2r/0 train".
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from tqdm import tqdm

JOB = "DIMR_JOB"
"""Environment variable: what this process does for the workflow, a name and a step."""
FIRST_SECONDS, LINE_SECONDS = 2.0, 10.0
"""When the first line is written at the latest, and the time between two lines."""
ABOUT_CUDA = ("torch.utils.cpp_extension", "No CUDA runtime is found")
"""A logger, and how its message begins that torch's compiler causes wherever a CUDA toolkit but no
GPU is installed, also for programs of a CPU."""


def progress_bar(
    iterable: Any = None,
    *,
    total: int | None = None,
    description: str,
    unit: str = "it",
    initial: int = 0,
    scale: bool = False,
    shown: bool = True,
) -> "tqdm[Any]":
    """A tqdm bar on standard error; lines where that is no terminal, or several jobs share it.

    ``scale`` writes large numbers short, as for bytes: 138G. Of several processes that do the same
    work, one has it ``shown``.
    """
    live = sys.stderr.isatty() and JOB not in os.environ
    return (tqdm if live else _Lines)(
        iterable,
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        unit_scale=scale,
        disable=not shown,
        file=sys.stderr,
        mininterval=0.2 if live else LINE_SECONDS,
        dynamic_ncols=live,
        gui=not live,  # of _Lines: nothing but its own lines is written
    )


def named(description: str) -> str:
    """A step's description with the name of the job that it is a part of."""
    job = os.environ.get(JOB)
    if not job:
        return description
    step = job.split(" ")[-1].split("-")[0]
    return job if step == description else f"{job}, {description}"


def say(description: str, text: str) -> None:
    """Write a line on what a step is doing."""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more: work continues
        print(f"{named(description)}: {text}", file=sys.stderr, flush=True)


@contextlib.contextmanager
def compiling(doing: str | None) -> Iterator[None]:
    """Say that ``torch.compile`` is at work, which is silent for a minute or two; None: do not.

    Meanwhile the warning that there is no GPU is left out, and no other one: what is compiled is
    for the device that was chosen.
    """
    name, begins = ABOUT_CUDA
    logger = logging.getLogger(name)

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(begins)

    if doing is not None:
        say(doing, "compiling (a minute or two the first time)")
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


class _Lines(tqdm):
    """A bar as lines: the first soon, the others now and then, and the last at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._written: float | None = None
        self._writing = threading.Lock()
        self._first = threading.Timer(FIRST_SECONDS, self.display)
        self._first.daemon = True
        if not self.disable:
            self._first.start()

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line, unless the last one was written moments ago."""
        with self._writing:
            now = time.monotonic()
            due = self._written is None or now - self._written >= LINE_SECONDS
            if due and not self.disable:
                self._write(now)

    def close(self) -> None:
        """Write the last line."""
        self._first.cancel()
        with self._writing:
            if not self.disable:
                self._write(time.monotonic())
        super().close()

    def _write(self, now: float) -> None:
        self._written = now
        with contextlib.suppress(OSError, ValueError):  # a full disk, or a log that is closed
            self.fp.write(f"{_line(self.format_dict)}\n")
            self.fp.flush()


def _line(facts: Mapping[str, Any]) -> str:
    """``train: 414/5800 steps, loss 0.39, 610 images/s, 2:41 left``.

    Args:
        facts: of a bar, ``tqdm.format_dict``.
    """
    done, total, unit = facts["n"], facts["total"], facts["unit"]

    def shown(number: float) -> str:
        return tqdm.format_sizeof(number) if facts["unit_scale"] else f"{number:g}"

    plural = unit if facts["unit_scale"] else f" {unit}{'es' if unit[-1] in 'sh' else 's'}"
    parts = [f"{shown(done)}/{shown(total)}{plural}" if total else f"{shown(done)}{plural}"]
    fresh, seconds = done - facts["initial"], facts["elapsed"]
    speed = fresh / seconds if fresh > 0 and seconds > 0 else None
    if facts["postfix"]:
        parts.append(facts["postfix"])
    elif speed and seconds >= 1:
        parts.append(f"{shown(round(speed, 1))}{plural}/s")
    if speed and total and done < total:
        parts.append(f"{_clock((total - done) / speed)} left")
    elif total and done >= total and seconds >= 1:
        parts.append(f"{_clock(seconds)} in all")
    return f"{named(facts['prefix'])}: {', '.join(parts)}"


def _clock(seconds: float) -> str:
    """2:41, or 1:02:41."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
