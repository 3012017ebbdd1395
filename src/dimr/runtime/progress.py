"""Progress for people: a live bar on a terminal, an occasional line elsewhere.

Jobs of the workflow share one terminal. They also write lines, each with the job's name, which
``workflow/environment.sh`` puts into ``DIMR_JOB``: "digits/dimr-xs-2r/0 train"; on a terminal
``dimr.runtime.board`` shows each job's last one.
"""

import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

from tqdm import tqdm

from dimr.runtime.say import JOB, clock, is_shown_live, named, state

FIRST_SECONDS, LINE_SECONDS = 2.0, 10.0
"""The latest time of the first line, and the time between two lines."""

LIVE_SECONDS = 0.5
"""The same if a terminal shows only the last line."""


def progress_bar(
    iterable: Any = None,
    *,
    description: str,
    scale: bool = False,
    shown: bool = True,
    **options: Any,
) -> "tqdm[Any]":
    """A tqdm bar on standard error; lines if that is not a terminal, or several jobs share it.

    Args:
        iterable: what is counted, if anything.
        description: the step, or what it is doing.
        scale: abbreviate large numbers, as for bytes: 138G.
        shown: true in one of several processes that do the same work.
        options: of ``tqdm``: total, unit, initial.
    """
    live = sys.stderr.isatty() and JOB not in os.environ
    rare = LIVE_SECONDS if is_shown_live(sys.stderr) else LINE_SECONDS
    kind, seconds = (tqdm, 0.2) if live else (_Lines, rare)
    own = {"unit_scale": scale, "disable": not shown, "file": sys.stderr, "mininterval": seconds}
    # gui: for _Lines, so that only its own lines are written
    return kind(iterable, desc=description, dynamic_ncols=live, gui=not live, **own, **options)


class _Lines(tqdm):
    """A bar as lines: one soon after the start, then at intervals, and one at the end."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._written: float | None = None
        self._between = options["mininterval"]
        self._writing = threading.Lock()
        self._first = threading.Timer(FIRST_SECONDS, self.display)
        self._first.daemon = True
        if not self.disable:
            self._first.start()

    def display(self, *_: Any, **__: Any) -> None:
        """Write a line, unless the last one was written moments ago."""
        with self._writing:
            now = time.monotonic()
            due = self._written is None or now - self._written >= self._between
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
        state(_line(self.format_dict), self.fp)


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
        parts.append(f"{clock((total - done) / speed)} left")
    elif total and done >= total and seconds >= 1:
        parts.append(f"{clock(seconds)} in all")
    return f"{named(facts['prefix'])}: {', '.join(parts)}"
