"""What a target still needs: the jobs of Snakemake's own dry run, in a process of its own.

Its text is read, as Snakemake prints a job's files in no other form: ``rule`` or ``localrule`` with
the name, then indented ``input:`` and ``output:`` lists. A test holds this to the locked version.
"""

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.snakemake_messages import complaint

COMMAND = ("-m", "snakemake", "--dry-run", "--cores", "1", "--nocolor", "--quiet", "host",
           "progress")  # fmt: skip
JOB = re.compile(r"(?:local)?(?:rule|checkpoint) (\w+):")
FILES = re.compile(r" +(input|output): (.*)")


@dataclass(frozen=True)
class Job:
    """A job that would run: its rule, and the files that it reads and makes."""

    rule: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def planned_jobs(targets: Sequence[str], root: Path) -> list[Job]:
    """The jobs that ``snakemake TARGET...`` would run in ``root``; none if all is there.

    Raises:
        DimrError: the workflow's own complaint, in one line (an unknown target, a mistake in a
            file), or an answer that is not understood.
    """
    unknown = [target for target in targets if target.startswith("-")]
    if unknown:
        raise DimrError(f"target {unknown[0]!r} should be a file or a rule of the workflow")
    # A profile of the user's (a cluster's) would say how jobs run, not which.
    environment = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
    done = subprocess.run(
        [sys.executable, *COMMAND, "--", *targets],
        cwd=root, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    text = done.stdout + done.stderr
    if done.returncode:
        raise DimrError(f"snakemake: {complaint(text)}")
    jobs = parse_jobs(text)
    if not jobs and "Nothing to be done" not in text:
        raise DimrError(f"snakemake: a dry run that is not understood: {single_line(text)[-200:]}")
    return jobs


def parse_jobs(text: str) -> list[Job]:
    """The jobs in the text of a dry run, in its order."""
    jobs: list[Job] = []
    for line in text.splitlines():
        if found := JOB.fullmatch(line):
            jobs.append(Job(found[1], (), ()))
        elif jobs and (found := FILES.fullmatch(line)):
            files = tuple(found[2].split(", "))
            given = {"input": jobs[-1].inputs, "output": jobs[-1].outputs, found[1]: files}
            jobs[-1] = Job(jobs[-1].rule, given["input"], given["output"])
    return jobs
