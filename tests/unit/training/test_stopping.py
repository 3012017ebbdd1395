"""When the processes decide: one at every step, several about once a second at the same steps."""

import itertools
import signal

import pytest
import torch

from dimr.training import stopping
from dimr.training.distributed import World
from dimr.training.stopping import SAVE_INTERVAL, Decisions, Limits, Signals

CPU = torch.device("cpu")
ONE = World(CPU)


class Pair(World):
    """Two processes, of which the other wishes nothing."""

    def most(self, values):
        return list(values)


@pytest.fixture
def decided(monkeypatch):
    """The decisions by step, if each step takes this many seconds."""

    def decide(world, limits, seconds, steps, writing=False, took=0.0):
        now = 0.0
        monkeypatch.setattr(stopping.time, "monotonic", lambda: now)
        decisions = Decisions(world, limits, Signals(world), steps)
        found = {}
        for step in range(1, steps + 1):
            now += seconds
            decision = decisions.after(step, writing, took)
            if decision is not None:
                found[step] = decision
                if decision.save:
                    decisions.saved = now
                if decision.preview:
                    decisions.previewed()
        return found

    return decide


def saves(found):
    return [step for step, decision in found.items() if decision.save]


def test_previews_come_after_two_thirds_and_every_ten_minutes(decided):
    def previews(every, seconds, steps, world=ONE):
        found = decided(world, Limits(preview_every=every), seconds, steps)
        return [step for step, decision in found.items() if decision.preview]

    assert previews(600, 0.02, 4000) == [2666]
    assert previews(600, 0.02, 60) == []  # too short to wait for one
    assert previews(600, 1.0, 4000) == [601, 1202, 1803, 2404, 2666, 3267, 3868]
    assert previews(30, 1.0, 100) == [31, 62, 93]
    assert previews(None, 1.0, 4000) == previews(600, 1.0, 4000, Pair(CPU, 1, 2)) == []
    # by the first of two processes, although they decide about once a second only
    assert previews(600, 0.02, 4000, Pair(CPU, 0, 2)) == [2666]


def test_one_process_decides_at_every_step(decided):
    assert list(decided(ONE, Limits(), 0.01, 50)) == list(range(1, 51))


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, 100), (0.3, 3), (5.0, 1)])
def test_several_decide_about_once_a_second(decided, seconds, expected):
    found = decided(Pair(CPU, 0, 2), Limits(), seconds, 2000)
    steps = [step for step in found if step < 1333]  # there a preview may be due
    gaps = {b - a for a, b in itertools.pairwise(steps[1:])}
    assert all(abs(gap - expected) <= 1 for gap in gaps)


def test_steps_of_checkpoints_are_decided_by_all(decided):
    found = decided(Pair(CPU, 1, 2), Limits(checkpoint_every=7), 0.001, 30)
    assert saves(found) == [7, 14, 21, 28]


def test_checkpoints_by_time_take_two_percent_and_are_the_first_process_s(decided):
    assert saves(decided(ONE, Limits(), 1.0, 100)) == [SAVE_INTERVAL + 1, 42, 63, 84]
    assert saves(decided(ONE, Limits(), 1.0, 120, took=1.0)) == [51, 102]
    assert saves(decided(Pair(CPU, 1, 2), Limits(), 1.0, 100)) == []
    assert saves(decided(ONE, Limits(), 1.0, 100, writing=True)) == []


def test_time_is_up(decided):
    found = decided(ONE, Limits(stop_after=10), 1.0, 12)
    assert [step for step, decision in found.items() if decision.stop] == [11, 12]
    error = found[11].stopped(11, 12)
    assert error.exit_code == 75
    assert str(error).startswith("stopped by the time limit at step 11 of 12")


def test_a_second_signal_acts_at_once_unless_torchrun_passes_them_on():
    for launched in (False, True):
        with Signals(World(CPU, launched=launched)).caught() as signals:
            signal.raise_signal(signal.SIGINT)
            assert signals.received == signal.SIGINT
            if launched:
                signal.raise_signal(signal.SIGINT)
            else:
                with pytest.raises(KeyboardInterrupt):
                    signal.raise_signal(signal.SIGINT)
