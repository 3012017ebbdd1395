"""Progress as lines: what they say, how often, whose they are."""

import io
import os
import subprocess
import time
from types import SimpleNamespace

import pytest

from dimr.config.project import ROOT
from dimr.runtime import progress, say

JOB = "digits/dimr-xs-2r/0 train"


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """Standard error of a terminal, on which bars would be live."""
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=terminal))
    return terminal.getvalue


@pytest.fixture
def job(screen, monkeypatch):
    monkeypatch.setenv(progress.JOB, JOB)
    return screen


def test_a_terminal_has_a_live_bar(screen, monkeypatch):
    monkeypatch.delenv(progress.JOB, raising=False)
    with progress.progress_bar(total=3, description="train", unit="step") as bar:
        bar.update(3)
    assert "\r" in screen()


def test_a_job_of_the_workflow_writes_lines_with_its_name(job, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    with progress.progress_bar(total=5800, description="train", unit="step") as bar:
        bar.set_postfix_str("loss 0.39, 610 images/s")
        bar.update(400)
    first, *_, last = job().splitlines()
    assert first == f"{JOB}: 0/5800 steps, loss 0.39, 610 images/s"
    assert last.startswith(f"{JOB}: 400/5800 steps, loss 0.39, 610 images/s, 0:")
    assert last.endswith(" left")
    assert "\r" not in job()
    assert job().endswith("\n")


def test_a_log_has_lines_too(monkeypatch):
    monkeypatch.delenv(progress.JOB, raising=False)
    log = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=log))
    assert list(progress.progress_bar(range(3), description="look through", unit="class")) == [
        0, 1, 2,
    ]  # fmt: skip
    assert log.getvalue() == "look through: 3/3 classes\n"


def test_lines_come_now_and_then_and_one_at_the_end(job):
    for _ in progress.progress_bar(range(1000), description="train", unit="step"):
        pass
    assert job() == f"{JOB}: 1000/1000 steps\n"


def test_the_first_line_does_not_wait_for_progress(job, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.05)
    with progress.progress_bar(total=10, description="train", unit="step"):
        until = time.monotonic() + 5
        while not job() and time.monotonic() < until:
            time.sleep(0.01)
        assert job() == f"{JOB}: 0/10 steps\n"


def test_the_speed_is_that_of_this_session(job):
    with progress.progress_bar(total=100, initial=90, description="train", unit="step") as bar:
        bar.start_t -= 10
        bar.update(5)
    assert job() == f"{JOB}: 95/100 steps, 0.5 steps/s, 0:10 left\n"


def test_bytes_are_short_and_hours_are_told(job):
    with progress.progress_bar(total=138e9, description="MD5", unit="B", scale=True) as bar:
        bar.start_t -= 60
        bar.update(10**9)
    assert job().startswith(f"{JOB}, MD5: 1.00G/138GB, 16.")
    assert "MB/s, 2:1" in job()


def test_a_part_of_a_job_is_named_beside_it(monkeypatch):
    monkeypatch.setenv(progress.JOB, JOB)
    assert progress.named("train") == JOB
    assert progress.named("samples.npz") == f"{JOB}, samples.npz"
    monkeypatch.setenv(progress.JOB, "digits/dimr-xs-2r/0 sample-guided")
    assert progress.named("sample") == "digits/dimr-xs-2r/0 sample-guided"
    monkeypatch.delenv(progress.JOB)
    assert progress.named("sample") == "sample"


def test_hidden_bars_say_nothing(job):
    with progress.progress_bar(total=10, description="train", shown=False) as bar:
        bar.update(10)
    assert job() == ""


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("dimr --log logs/digits/dimr-xs-2r/0/train.log train --config x", JOB),
        ("srun python -m dimr.cluster.launch --log logs/digits/dimr-xs-2r/0/train.log train", JOB),
        ("left=logs/a/train.exit; dimr --log logs/data/digits/encode.log encode",
         "data/digits encode"),
        ("dimr models", ""),
    ],
)  # fmt: skip
def test_a_rules_command_says_the_jobs_name(command, name):
    """What Snakemake gives bash: a prefix that sources the file, and the command."""
    programs = "dimr() { true; }; srun() { true; }"
    text = f". {ROOT}/workflow/environment.sh src bin; {programs}; {command}; echo $DIMR_JOB"
    environment = {k: v for k, v in os.environ.items() if k != progress.JOB}
    done = subprocess.run(
        ["bash", "-c", text], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == name


def test_work_goes_on_when_nobody_reads_what_is_said(monkeypatch):
    """As of ``dimr train 2>&1 | head -1``: it ended with exit code 0, and without a result."""

    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr(say, "sys", SimpleNamespace(stderr=Gone()))
    say.say("train", "compiling")
