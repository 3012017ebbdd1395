"""A part of the two matrices, as CI has minutes and not an hour: the scripts run them whole."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "every", "least"), [("corruption", 13, 100), ("hostile", 20, 200)]
)
def test_no_fault_is_left(script, every, least):
    """No corruption that a checksum can show is silent; no hostile input ends in a traceback."""
    command = [sys.executable, HERE / f"{script}.py", "--every", str(every)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    count = next(
        line for line in done.stdout.splitlines() if line.endswith(("corruptions", "inputs"))
    )
    assert int(count.split()[0]) >= least
