"""The exit code of several processes, and what torchrun does not take."""

import sys
from types import SimpleNamespace

import pytest
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from dimr.cluster import launch


def failed(*codes, times=None):
    """The failures of processes 0, 1, ... as torchrun tells them: in whole seconds."""
    times = times or [100] * len(codes)
    return {
        rank: SimpleNamespace(exitcode=code, timestamp=time)
        for rank, (code, time) in enumerate(zip(codes, times, strict=True))
    }


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        (failed(75, 75), 75),  # stopped early, together
        (failed(75, 2), 2),  # process 0 has only lost the other one, in the same second
        (failed(75, 3, times=[100, 101]), 3),
        (failed(75, -9), 137),
        (failed(75, -15), 75),  # stopped early, and torchrun's SIGTERM met the slower one leaving
        (failed(-15, 3, times=[100, 101]), 3),
        (failed(143, 75), 75),
        (failed(143, -15), 143),
        (failed(3, 2, times=[101, 100]), 2),
    ],
)
def test_the_code_is_that_of_the_cause(failures, code, monkeypatch):
    def fails(_):
        error = ChildFailedError.__new__(ChildFailedError)
        error.failures = failures
        raise error

    monkeypatch.setattr(torchrun, "run", fails)
    assert launch.main(["--nproc-per-node", "2", "train"]) == code


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_a_number_of_processes_that_cannot_be_is_one_line(number, capsys):
    assert launch.main(["--standalone", "--nproc-per-node", number, "train"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--nproc-per-node {number}" in line
    assert "train" not in sys.argv


def test_slurm_s_variables_that_are_not_there_are_one_line(monkeypatch, capsys):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert launch.main(["--nproc-per-node", "2", "--slurm", "train"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "SLURM_JOB_ID is not set" in line
