"""The two matrices are scripts; tests run a part of them. A file each: they run side by side."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def matrix():
    """A function that runs a part of a matrix, in which no fault may be; it returns how many."""

    def run(script, every, counted):
        path = Path(__file__).with_name(f"{script}.py")
        command = [sys.executable, path, "--every", str(every)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        line = next(line for line in done.stdout.splitlines() if line.endswith(counted))
        return int(line.split()[0])

    return run
