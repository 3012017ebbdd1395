"""One line for each running job, kept up to date at the foot of the terminal.

What the workflow and its jobs write goes through a pipe: a job's progress replaces its last line,
everything else is printed above. None of this is used without a terminal.
"""

import os
import threading
import time

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from dimr.runtime.say import BOARD, MARK, clock

SHOWN = 16
"""Most jobs that have a line; on a cluster there may be hundreds."""


class Board:
    """The lines; from its creation until ``stop`` it owns the screen's file descriptors."""

    def __init__(self) -> None:
        file = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=file, force_terminal=True, legacy_windows=False)
        self._console.show_cursor = lambda *_: False  # type: ignore[method-assign]
        self._lines: dict[str, str] = {}
        self._begun: dict[str, float] = {}
        self._taken = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        self._pipe, end = os.pipe()
        os.environ[BOARD] = str(os.fstat(end).st_ino)
        for fd in self._taken:
            os.dup2(end, fd)
        os.close(end)
        self._live = Live(
            console=self._console, get_renderable=self._shown, transient=True,
            refresh_per_second=4, redirect_stdout=False, redirect_stderr=False,
        )  # fmt: skip
        self._live.start()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def start(self, job: str) -> None:
        """A job begins: ``digits/dimr-xs-2r/0 train``."""
        self._begun[job] = time.monotonic()

    def end(self, job: str) -> None:
        """A job has ended, successfully or not."""
        self._begun.pop(job, None)
        self._lines.pop(job, None)

    def stop(self) -> None:
        """Release the screen, after showing everything that was written."""
        if not self._taken:
            return
        os.environ.pop(BOARD, None)
        for fd, own in self._taken.items():
            os.dup2(own, fd)
            os.close(own)
        self._taken = {}
        self._reader.join(1.0)  # a job that was left behind may hold the pipe open
        self._live.stop()

    def _read(self) -> None:
        with os.fdopen(self._pipe, encoding="utf-8", errors="replace", newline="\n") as pipe:
            for line in pipe:
                text = line.rstrip("\r\n")
                if text.startswith(MARK):
                    self._keep(text.removeprefix(MARK))
                elif text:  # the last state of another program's bar
                    said = Text.from_ansi(text.rpartition("\r")[2])
                    self._console.print(said, soft_wrap=True)

    def _keep(self, text: str) -> None:
        job = text.partition(": ")[0].partition(", ")[0]
        if job in self._begun:
            self._lines[job] = text

    def _shown(self) -> Group:
        now, begun = time.monotonic(), dict(self._begun)
        lines = [
            self._lines.get(job) or f"{job}: starting, {clock(now - since)}"
            for job, since in list(begun.items())[:SHOWN]
        ]
        if len(begun) > SHOWN:
            lines.append(f"and {len(begun) - SHOWN} more")
        return Group(*(Text(line, no_wrap=True, overflow="ellipsis") for line in lines))
