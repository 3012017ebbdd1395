"""A line for each job at the foot of a terminal: a real one, with processes that write to it."""

import os
import re
import subprocess
import sys

import pytest
from tests.support.terminal import on_terminal

from dimr.config.project import ROOT
from dimr.runtime import say

SOURCE = str(ROOT / "src")
JOB = """
import sys, time
from dimr.runtime.progress import progress_bar
for step in progress_bar(range(8), description="train", unit="step"):
    time.sleep(0.1)
    if step == 4:
        print("a message", "x" * 300, file=sys.stderr)
        print("a result")
"""
HOST = f"""
import os, subprocess, sys
from dimr.runtime.board import Board
board = Board()
jobs = ["digits/a/0 train", "digits/b/0 train"]
for job in jobs:
    board.start(job)
started = [subprocess.Popen([sys.executable, "-c", {JOB!r}], env={{**os.environ, "DIMR_JOB": job}})
           for job in jobs]
print([one.wait() for one in started])
for job in jobs:
    board.end(job)
board.stop()
print("afterwards")
"""


@pytest.mark.slow
def test_each_job_has_one_line_and_messages_stand_above():
    said = on_terminal(sys.executable, "-c", HOST, environment={**os.environ, "PYTHONPATH": SOURCE})
    assert re.search(r"digits/a/0 train: [1-8]/8 steps.*\r\ndigits/b/0 train: [0-8]/8 steps", said)
    assert said.count("a message " + "x" * 300) == 2  # each once, whole
    assert said.count("a result\r\n") == 2
    assert said.index("[0, 0]") < said.index("afterwards")
    assert say.MARK not in said
    assert "\x1b[?25l" not in said  # the cursor is never hidden: a killed host could not show it


def test_a_log_has_no_marks(tmp_path, monkeypatch):
    with open(tmp_path / "log", "w+") as log:
        monkeypatch.setenv(say.BOARD, "1")  # another pipe
        say.state("train: 1/2 steps", log)
        log.seek(0)
        assert log.read() == "train: 1/2 steps\n"


def test_the_terminals_pipe_has_marks(monkeypatch):
    end, begin = os.pipe()
    with os.fdopen(end) as reader, os.fdopen(begin, "w") as writer:
        monkeypatch.setenv(say.BOARD, str(os.fstat(begin).st_ino))
        say.state("train: 1/2 steps", writer)
        assert reader.readline() == f"{say.MARK}train: 1/2 steps\n"


def test_without_a_terminal_nothing_changes():
    code = (
        "import os; from dimr.runtime.board import Board; board = Board(); print(1); board.stop()"
    )
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env=environment, check=True)  # fmt: skip
    assert done.stdout == "1\n"
