"""A training killed at any moments ends in the weights of one that was left alone."""

import os
import random
import signal
import time

import pytest

from .conftest import same_run

KILLS = 20


@pytest.mark.slow
def test_twenty_kills_end_in_the_same_weights(commands):
    """SIGKILL at random moments, many of them while a checkpoint is being written."""
    command = commands(steps=1000, log_every=50)
    assert command.run("whole") == [0]
    moments, interrupted, often = random.Random(0), 0, ("--checkpoint-every", 2)
    for _ in range(KILLS):
        reached = command.checkpoints("killed")[-1:] or [0]
        process = command.start("killed", *often)
        while (command.checkpoints("killed")[-1:] or [0]) <= reached and process.poll() is None:
            time.sleep(0.002)  # it begins: every session takes a step or two
        time.sleep(moments.uniform(0, 0.2))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, command.messages("killed")[-500:]
        interrupted += any((command.folder / "killed").glob("state/*/checkpoints/.step-*"))
    assert interrupted > 0
    assert not (command.folder / "killed/model").exists()
    assert command.run("killed") == [0]
    assert same_run(command.folder / "whole", command.folder / "killed")
