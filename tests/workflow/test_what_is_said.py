"""What a person sees of the workflow: of its start, its end, its mistakes, and Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.support.terminal import on_terminal

from dimr.config.project import ROOT

PATIENCE = 120
MODEL = "runs/digits/dimr-xs-2r/0/model"


@pytest.fixture
def demo(stubbed):
    """A clone after `make setup`, whose trainings take a while."""
    (stubbed.folder / "results/digits").mkdir(parents=True)
    for name in ("seeds.csv", "study.json", "table1.csv"):
        shutil.copy(ROOT / "results/digits" / name, stubbed.folder / "results/digits" / name)
    stubbed.commit("results")
    (stubbed.folder / ".venv").mkdir()
    (stubbed.folder / ".venv/bin").symlink_to(Path(sys.executable).parent)
    (stubbed.folder / ".venv/ready").touch()
    return stubbed


def dirty(project):
    return project.run("git", "status", "--porcelain").stdout


def test_the_demo_leaves_the_clone_as_it_was(demo):
    said = demo.run("make", "demo")
    assert "results/demo/digits/table1.csv" in said.stdout
    assert "Beside what results/digits/seeds.csv records" in said.stdout
    assert (demo.folder / "results/demo/digits/table1.png").is_file()
    assert dirty(demo) == ""
    calls = demo.calls()
    assert (calls.count("train"), calls.count("compile")) == (3, 1)
    again = demo.run("make", "demo")
    assert "Nothing to be done" in again.stderr
    assert demo.calls() == []
    assert dirty(demo) == ""


def test_it_says_what_it_does_and_no_more(demo):
    said = demo.run("make", "demo").stderr
    lines = said.splitlines()
    names = "digits/dimr-xs-2r/0, digits/dit-xs-2/0, digits/uvit-xs-2/0"
    (announced,) = [line for line in lines if line.startswith("this will train")]
    assert announced.startswith(f"this will train 3 networks ({names}), about ")
    assert lines.index(announced) < next(
        number for number, line in enumerate(lines) if line.startswith("started: train")
    )
    assert "started: train digits/dimr-xs-2r/0" in lines
    assert any(line.endswith("done: sample digits/dimr-xs-2r/0 guided") for line in lines)
    for noise in ("Select jobs", "Execute ", "Provided cores", "Shutting down"):
        assert noise not in said


def test_a_terminal_shows_a_line_for_each_running_job(demo):
    demo.edit("experiments/recipes.yaml", "digits.train.steps", 60)
    command = ("snakemake", "--quiet", "rules", "host", "--", "results/demo/digits/table1.csv")
    environment = demo.environment(SLOW="1", TERM="xterm")
    said = on_terminal(*command, environment=environment, folder=demo.folder)
    assert re.search(r"digits/\S+/0 train: starting, 0:0\d\r\ndigits/\S+/0 train: starting", said)
    assert "started: train" not in said  # its line says it
    assert "this will train 3 networks" in said
    finished = re.findall(r"of \d+ steps \(\d+%\) done: (.*?)\x1b", said)
    done = ", ".join(finished).split(", ")
    assert {"train digits/dimr-xs-2r/0", "train digits/uvit-xs-2/0"} <= set(done), finished
    assert "Nothing to be done" in demo.snakemake("--", command[-1]).stderr


def test_ctrl_c_says_what_is_kept_and_shows_no_code(demo, tmp_path):
    """To the whole group, as a terminal sends it: make, Snakemake, and the steps."""
    demo.edit("experiments/recipes.yaml", "digits.train.steps", 100_000)
    with open(tmp_path / "said", "w+") as said:
        process = subprocess.Popen(
            ["make", "demo"], cwd=demo.folder, env=demo.environment(SLOW="1"), stdout=said,
            stderr=said, start_new_session=True, preexec_fn=with_ctrl_c,
        )  # fmt: skip
        try:
            wait(lambda: len([*demo.folder.glob("runs/digits/*/0/state/*/steps")]) == 2, process)
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(PATIENCE) != 0
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        said.seek(0)
        text = said.read()
    *_, last = [line for line in text.splitlines() if not line.startswith("make: ***")]
    assert last == (
        "stopped; what is finished is kept, and a training resumes from its last checkpoint: start "
        "the same command again"
    )
    for code in ("--config", "set -euo", "Traceback", "Error in rule", "RuleException", "failed"):
        assert code not in text, code
    assert not [*demo.folder.glob(".snakemake/locks/*")]
    assert (demo.folder / "data/digits/latents/record.json").is_file()


def with_ctrl_c():
    """A shell lets what it starts in the background, these tests perhaps, ignore the signal."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def wait(until, process):
    """Until something is there, while a process runs."""
    end = time.monotonic() + PATIENCE
    while not until():
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_failed_step_is_named_with_its_log_and_without_its_command(demo):
    done = demo.snakemake("--quiet", "rules", "--", MODEL, check=False, STOP_AT="7")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    log = "logs/digits/dimr-xs-2r/0/train.log"
    assert f"failed: train digits/dimr-xs-2r/0 (messages: {log})" in lines
    assert any(line.startswith("a step failed, its message is above;") for line in lines)
    for code in ("--config", "RuleException", "CalledProcessError", "set -euo"):
        assert code not in done.stderr, code
    loud = demo.snakemake("--", MODEL, check=False, STOP_AT="8").stderr
    assert "rule train:" in loud  # plain Snakemake still says what a job is
    assert "CalledProcessError" not in loud


@pytest.mark.parametrize(
    ("edit", "target", "message"),
    [
        (("params.yaml", "train.steps", -5), "all",
         "params.yaml: train.steps: -5: input should be greater than 0; if `dvc exp run -S` set "
         "it, it is still in the file: git checkout params.yaml"),
        (("experiments/recipes.yaml", "digits.train.lr", "fast"), MODEL,
         "recipes.yaml: digits.train.lr: 'fast'"),
        (None, "runs/workspace/samples/gided", "workspace: no setting 'gided' (allowed: "),
        (None, "runs/nothing", "No rule to produce runs/nothing"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(demo, edit, target, message):
    if edit:
        demo.edit(*edit)
    done = demo.snakemake("-n", "--quiet", "host", "--", target, check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr  # a dry run has its messages on standard output
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert message in error
    for place in ('File "', ", line ", "WorkflowError", "Traceback"):
        assert place not in said, place


def test_a_locked_folder_says_how_to_unlock_it(demo):
    locks = demo.folder / ".snakemake/locks"
    demo.snakemake("--", "data/digits/images")
    locks.mkdir(parents=True, exist_ok=True)
    for kind in ("input", "output"):
        (locks / f"0.{kind}.lock").write_text("data/digits/latents\n")
    done = demo.snakemake("--", "data/digits/latents", check=False)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Directory cannot be locked" in error
    assert error.endswith("snakemake --unlock")
