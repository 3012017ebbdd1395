"""What a step says about itself, under its job's name. Unlike bars, this needs no tqdm."""

import contextlib
import os
import sys
from typing import TextIO

JOB = "DIMR_JOB"
"""Environment variable: what this process does for the workflow, a name and a step."""

BOARD = "DIMR_BOARD"
"""Environment variable: number of the pipe to the terminal that shows a line for each job."""

MARK = "\x1f"
"""Begins a line that replaces the job's last one there."""


def named(description: str) -> str:
    """A step's description with the name of the job that it is a part of."""
    job = os.environ.get(JOB)
    if not job:
        return description
    step = job.split(" ")[-1].split("-")[0]
    return job if step == description else f"{job}, {description}"


def is_shown_live(file: TextIO) -> bool:
    """Whether what is written there goes to the terminal that shows a line for each job."""
    try:
        return str(os.fstat(file.fileno()).st_ino) == os.environ.get(BOARD)
    except (OSError, ValueError):
        return False


def state(line: str, file: TextIO) -> None:
    """Write what a step is doing now, replacing its last such line if it has one."""
    mark = MARK if is_shown_live(file) else ""
    with contextlib.suppress(OSError, ValueError):  # nobody reads it any more; work continues
        print(f"{mark}{line}", file=file, flush=True)


def say(description: str, text: str) -> None:
    """Write a line on what a step is doing."""
    state(f"{named(description)}: {text}", sys.stderr)


def clock(seconds: float) -> str:
    """2:41, or 1:02:41."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
