"""When the processes decide: one at every step, several about once a second at the same steps."""

import argparse
import itertools
import signal

import pytest
import torch

from dimr.cli import make_parser
from dimr.runtime.errors import DimrError
from dimr.stages.train import engine_of
from dimr.training import Engine, stopping
from dimr.training.distributed import World, _own_device
from dimr.training.stopping import SAVE_INTERVAL, Decisions, Limits, Signals

CPU = torch.device("cpu")


class Pair(World):
    """Two processes, of which the other wishes nothing."""

    def most(self, values):
        return list(values)


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(stopping.time, "monotonic", lambda: now[0])
    return now


def decided(world, limits, clock, seconds, steps, **state):
    """The steps at which there is a decision, and the decisions, with steps of so many seconds."""
    decisions = Decisions(world, limits, Signals(world))
    found = {}
    for step in range(1, steps + 1):
        clock[0] += seconds
        decision = decisions.after(step, state.get("writing", False), state.get("took", 0.0))
        if decision is not None:
            found[step] = decision
            if decision.save:
                decisions.saved = clock[0]
    return found


def test_one_process_decides_at_every_step(clock):
    assert list(decided(World(CPU), Limits(), clock, 0.01, 50)) == list(range(1, 51))


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, 100), (0.3, 3), (5.0, 1)])
def test_several_decide_about_once_a_second(clock, seconds, expected):
    steps = list(decided(Pair(CPU, 0, 2), Limits(), clock, seconds, 1000))
    gaps = {b - a for a, b in itertools.pairwise(steps[1:])}
    assert all(abs(gap - expected) <= 1 for gap in gaps)


def test_steps_of_checkpoints_are_decided_by_all(clock):
    found = decided(Pair(CPU, 1, 2), Limits(checkpoint_every=7), clock, 0.001, 30)
    assert [step for step, decision in found.items() if decision.save] == [7, 14, 21, 28]


def test_checkpoints_by_time_take_two_percent_and_are_the_first_process_s(clock):
    found = decided(World(CPU), Limits(), clock, 1.0, 100)
    assert [s for s, d in found.items() if d.save] == [SAVE_INTERVAL + 1, 42, 63, 84]
    slow = decided(World(CPU), Limits(), clock, 1.0, 120, took=1.0)
    assert [s for s, d in slow.items() if d.save] == [51, 102]
    assert not any(d.save for d in decided(Pair(CPU, 1, 2), Limits(), clock, 1.0, 100).values())
    busy = decided(World(CPU), Limits(), clock, 1.0, 100, writing=True)
    assert not any(d.save for d in busy.values())


def test_time_is_up(clock):
    found = decided(World(CPU), Limits(stop_after=10), clock, 1.0, 12)
    assert [step for step, decision in found.items() if decision.stop] == [11, 12]
    error = found[11].stopped(11, 12)
    assert error.exit_code == 75
    assert str(error).startswith("stopped as time is up at step 11 of 12")


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


def test_processes_have_a_device_each(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert _own_device("cuda") == "cuda:3"
    assert _own_device("cpu") == "cpu"
    with pytest.raises(DimrError, match="--device cuda:1: each process has a device of its own"):
        _own_device("cuda:1")


def options(*more) -> argparse.Namespace:
    paths = [f"--{name}=x" for name in ("config", "data", "out", "log-csv", "state")]
    return make_parser().parse_args(["train", *paths, *more])


def test_options_make_the_engine():
    assert engine_of(options()) == Engine()
    assert engine_of(options("--plain")) == Engine.plain()
    assert engine_of(options("--no-compile", "--accumulate", "4", "--checkpointing", "block")) == (
        Engine(compile=False, accumulate=4, checkpointing="block")
    )
    assert engine_of(options("--plain", "--checkpointing", "none", "--sharding", "full")) == (
        Engine(False, "none", fused=False, prefetch=False, sharding="full")
    )


def test_world_size_without_torchrun_is_one_line(commands):
    command = commands()
    process = command.start("a", environment={"WORLD_SIZE": "2"})
    assert process.wait() == 2
    assert "WORLD_SIZE=2, but the processes do not meet" in command.messages("a")
    assert len(command.messages("a").splitlines()) == 1
