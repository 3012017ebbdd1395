"""What a step says of itself, under the name of its job. Needs no tqdm, as bars do."""

import contextlib
import os
import sys

JOB = "DIMR_JOB"
"""Environment variable: what this process does for the workflow, a name and a step."""


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
