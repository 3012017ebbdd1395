"""How the process of ``dimr`` ends: with all that is to be done then, and without a second more."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import atexit, sys
from dimr import __main__ as program

class Large:
    def __del__(self):
        print("taken apart")

def main():
    global large
    large = Large()
    atexit.register(print, "registered")
    print("done")
    {end}

program.main = main
program.run()
"""


def run(end, **streams):
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    command = [sys.executable, "-c", PROGRAM.format(end=end)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.run(command, env=buffered, text=True, **streams)


@pytest.mark.parametrize(("end", "code"), [("return 0", 0), ("return 75", 75), ("sys.exit(2)", 2)])
def test_it_ends_at_once_with_what_was_registered_and_its_code(end, code):
    done = run(end)
    assert (done.returncode, done.stdout, done.stderr) == (code, "done\nregistered\n", "")


def test_what_is_no_code_ends_it_as_python_does():
    done = run("raise RuntimeError('why')")
    assert done.returncode == 1
    assert done.stdout == "done\nregistered\ntaken apart\n"
    assert done.stderr.endswith("RuntimeError: why\n")


def test_what_could_not_be_written_is_told():
    """Python keeps what is printed to a pipe to the end, and finds nobody who reads it."""
    read, write = os.pipe()
    os.close(read)
    done = run("return 0", stdout=write)
    os.close(write)
    assert done.returncode == 120
    assert "Broken pipe" in done.stderr
