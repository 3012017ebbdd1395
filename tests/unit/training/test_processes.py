"""One training by 1, 2 and 4 processes: the same batches, losses and weights; stops and deaths.

Tolerance: gradients are the same sums in another order. After 30 steps the logged losses agree
within 1e-4 (relative; they are written with 6 digits) and weights within 1e-4, or 1e-5 absolute.
"""

import json
import os
import re
import signal

import pytest
import torch
from tests.support.train_commands import wait_for

from dimr.checkpoints import read_class_names
from dimr.runtime.errors import DimrError
from dimr.training.distributed import World, join, own_device

from .conftest import log_of, same_run, weights_of

CPU = torch.device("cpu")
STATED = {"rtol": 1e-4, "atol": 1e-5}


def agree(command, a, b):
    """Losses and weights of two runs within the stated tolerance."""
    for ours, theirs in zip(log_of(command.folder / a), log_of(command.folder / b), strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert float(ours[name]) == pytest.approx(float(theirs[name]), rel=1e-4), (name, ours)
    one, other = weights_of(command.folder / a), weights_of(command.folder / b)
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], **STATED, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.slow
def test_1_2_and_4_processes_agree(commands):
    command = commands()
    for name, size, more in (
        ("one", 1, ()),
        ("two", 2, ("--accumulate", 2)),
        ("four", 4, ()),
        ("sharded", 2, ("--sharding", "full")),
    ):
        assert command.run(name, *more, size=size) == [0] * size, command.messages(name)
    for name in ("two", "four", "sharded"):
        agree(command, "one", name)
        assert read_class_names(command.folder / name / "model") == list("0123456789")
    record = json.loads((command.folder / "sharded/model/provenance.json").read_text())
    (session,) = record["sessions"]
    assert (session["processes"], session["engine"]["sharding"]) == (2, "full")


@pytest.mark.slow
@pytest.mark.parametrize(
    "network",
    [
        {"norm": "adaln_zero", "feed_forward": "mlp", "outputs": "last"},
        {"first": "convnext", "cascade": "concat", "branch_skips": True},
    ],
)
def test_networks_of_the_papers_tables(commands, network):
    command = commands(network=network)
    assert command.run("one") == [0], command.messages("one")
    for name, more in (("two", ("--checkpointing", "block")), ("sharded", ("--sharding", "full"))):
        assert command.run(name, *more, size=2) == [0, 0], command.messages(name)
        agree(command, "one", name)


@pytest.mark.slow
def test_the_number_of_processes_may_change(commands):
    """1 process, then 2 sharded, then 4, then 2 sharded, then 1: each reads what the last wrote."""
    command = commands()
    assert command.run("one") == [0]
    steps = []
    for size, more in ((1, ()), (2, ("--sharding", "full")), (4, ()), (2, ("--sharding", "full"))):
        codes = command.run("many", *more, "--stop-after", "0.001", size=size)
        assert codes == [75] * size, command.messages("many")
        steps += command.checkpoints("many")[-1:]
    newest = sorted((command.folder / "many").glob("state/*/checkpoints/step-*"))[-1]
    assert len(list(newest.glob("part-*"))) == 2
    assert command.run("many") == [0]
    assert steps == sorted(set(steps))
    agree(command, "one", "many")


@pytest.mark.slow
def test_a_sharded_resume_is_bitwise(commands):
    command = commands(grad_clip=0.5)
    sharded = ("--sharding", "full")
    assert command.run("whole", *sharded, size=2) == [0, 0]
    assert command.run("parts", *sharded, "--stop-after", "0.001", size=2) == [75, 75]
    assert command.run("parts", *sharded, size=2) == [0, 0]
    assert same_run(command.folder / "whole", command.folder / "parts")


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_one_step(commands):
    command = commands(steps=3000)
    started = command.start_together(2, "a", "--checkpoint-every", 20)
    wait_for(lambda: command.checkpoints("a"))
    os.kill(started[1].pid, signal.SIGTERM)
    assert [process.wait() for process in started] == [143, 143]
    stops = re.findall(r"stopped by SIGTERM at step (\d+) of 3000", command.messages("a"))
    assert [int(step) for step in stops] == command.checkpoints("a")[-1:]
    assert "Traceback" not in command.messages("a")


@pytest.mark.slow
def test_errors_are_told_once(commands):
    command = commands(batch=9)
    assert command.run("a", size=2) == [2, 2]
    text = command.messages("a")
    assert text.count("train.batch: 9 cannot be divided equally among 2 processes") == 1
    assert len(text.splitlines()) == 1


@pytest.mark.slow
def test_only_the_first_process_shows_training(commands):
    """One trace, not several written over one another; what cannot be shown is told once."""
    command = commands(steps=16)
    trace = command.folder / "trace.json"
    assert command.run("a", "--profile", trace, size=2) == [0, 0], command.messages("a")
    assert json.loads(trace.read_text())["traceEvents"]
    assert command.run("b", "--profile", command.folder, size=2) == [2, 2]
    (line,) = [line for line in command.messages("b").splitlines() if line.startswith("dimr:")]
    assert f"--profile {command.folder}: is a folder" in line


@pytest.mark.slow
def test_a_loss_that_is_not_finite_fails_all(commands):
    command = commands(lr=1e30, log_every=3)
    assert command.run("a", size=2) == [3, 3]
    assert command.messages("a").count("loss is not finite at step") == 1
    (failure,) = (command.folder / "a").glob("state/*/failure.json")
    assert "remove" in json.loads(failure.read_text())["message"]
    assert command.run("a", size=2) == [3, 3]


@pytest.mark.slow
def test_a_full_disk_of_one_fails_all(commands):
    command = commands(steps=300)
    assert command.run("a", "--stop-after", "0.001", size=2) == [75, 75]
    before = command.checkpoints("a")
    arguments = ("a", "--checkpoint-every", 10, "--sharding", "full")
    started = command.start_together(2, *arguments, file_sizes=[None, 10_000])
    assert [process.wait() for process in started] == [3, 3]
    assert command.messages("a").count("could not be written (File too large)") == 1
    assert command.checkpoints("a") == before
    assert command.run("a") == [0]


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_a_rank_that_dies_ends_torchrun_and_the_state_is_usable(commands, sharding):
    command = commands(steps=600)
    launched = command.launch("a", "--checkpoint-every", "10", "--sharding", sharding)
    wait_for(lambda: command.checkpoints("a"))
    ranks = command.children(launched)
    assert len(ranks) == 2
    os.kill(ranks[1], signal.SIGKILL)
    assert launched.wait(60) == 128 + signal.SIGKILL
    assert not (command.folder / "a/model").exists()
    reached = command.checkpoints("a")[-1]
    assert command.run("a") == [0]
    assert f"resuming at step {reached} of 600" in command.messages("a")


@pytest.mark.slow
def test_torchrun_stopped_by_time_or_signal_leaves_with_that_code(commands):
    command = commands(steps=3000)
    launched = command.launch("a", "--stop-after", "0.5")
    assert launched.wait(60) == 75
    (first,) = command.checkpoints("a")
    launched = command.launch("a", "--checkpoint-every", "20")
    wait_for(lambda: command.checkpoints("a")[-1] > first)
    launched.send_signal(signal.SIGTERM)
    assert launched.wait(60) == 128 + signal.SIGTERM
    assert "stopped by SIGTERM" in command.messages("a")


NO_COMPILER = """
import os
if os.environ.get("RANK") == "1":
    os.environ["CXX"] = "/no/such/compiler"
"""


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["none", "full"])
def test_where_one_process_has_no_compiler_none_compiles(commands, sharding, monkeypatch):
    """None waits in a collective for one that compiles or does not."""
    command = commands(compile=True, steps=3)
    (command.folder / "sitecustomize.py").write_text(NO_COMPILER)  # python runs it when it starts
    monkeypatch.setenv("PYTHONPATH", str(command.folder))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(command.folder / "cache"))
    assert command.launch("a", "--sharding", sharding).wait(100) == 0
    assert "all processes continue without it" in command.messages("a")


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 300, "", None])
def test_a_meeting_place_that_is_no_host_is_refused_at_once(host, monkeypatch):
    """torch would ask for it for half an hour."""
    launched = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": host, "MASTER_PORT": "29512"}
    for name, value in launched.items():
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: 1 / 0)
    refused = r"do not meet \(MASTER_ADDR(=.* is not a host| is not set)"
    with pytest.raises(DimrError, match=refused), join("cpu"):
        pass


def test_world_size_without_torchrun_is_one_line(commands):
    command = commands()
    assert command.start("a", environment={"WORLD_SIZE": "2"}).wait() == 2
    (line,) = command.messages("a").splitlines()
    assert "WORLD_SIZE=2, but the processes do not meet" in line


def test_processes_have_a_device_each(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert own_device("cuda") == "cuda:3"
    assert own_device("cpu") == "cpu"
    with pytest.raises(DimrError, match="--device cuda:1: each process has a device of its own"):
        own_device("cuda:1")


def test_rows_of_processes_make_up_the_batch():
    rows = [World(CPU, rank, 4).rows(24, accumulate=3) for rank in range(4)]
    assert [i for part in rows for i in range(24)[part]] == list(range(24))
    with pytest.raises(DimrError, match="24 cannot be divided equally among 5 processes x"):
        World(CPU, 0, 5).rows(24)


def test_auto_shards_large_networks_on_several_gpus_only():
    with torch.device("meta"):
        large, small = torch.nn.Linear(30_000, 30_000), torch.nn.Linear(1000, 1000)
    gpus = World(torch.device("cuda", 0), 0, 8)
    assert gpus.shards(large, "auto")
    assert not gpus.shards(small, "auto")
    assert gpus.shards(small, "full")
    assert not gpus.shards(large, "none")
    assert not World(CPU, 0, 8).shards(large, "auto")
    assert not World(torch.device("cuda", 0)).shards(large, "full")
