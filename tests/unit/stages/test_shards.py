"""``--shard`` and ``--processes``: several processes of one command line, ended together."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from dimr.data.resumable_shards import Part
from dimr.runtime.errors import DimrError
from dimr.stages.options import add_shards
from dimr.stages.shards import ProcessFailed, run_processes

STEP = """
import json, os, signal, subprocess, sys, time
part = sys.argv[sys.argv.index("--shard") + 1]
number = part.split("/")[0]
facts = {"arguments": sys.argv[1:], "pid": os.getpid(), "part": part}
facts |= {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
what = os.environ["WHAT"]
if "sleep" in what:  # with a worker of its own, as one that reads images
    facts["worker"] = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid
with open(os.path.join(os.environ["SEEN"], number + ".tmp"), "w") as file:
    json.dump(facts, file)
os.rename(file.name, file.name[:-4] + ".json")
sys.stderr.write(f"10%\\r20%\\rmessage of {number}\\n")
if "fail" in what and number == "2":
    sys.exit(3)
if "die" in what and number == "2":
    os.kill(os.getpid(), signal.SIGKILL)
if "sleep" in what:
    time.sleep(600)
"""


@pytest.fixture
def seen(tmp_path, monkeypatch):
    """In place of ``dimr``, a step that notes how it was called; returns what was noted."""
    package = tmp_path / "stub/dimr"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(STEP)
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("SEEN", str(tmp_path))
    monkeypatch.setenv("WHAT", "")
    monkeypatch.setattr(sys, "argv", ["dimr", "encode", "--processes", "3", "--out", "x"])

    def read(count=None):
        deadline = time.monotonic() + 30
        while count is not None and len(list(tmp_path.glob("*.json"))) < count:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return [json.loads(path.read_text()) for path in sorted(tmp_path.glob("*.json"))]

    return read


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def assert_gone(parts):
    pids = [pid for part in parts for pid in (part["pid"], part.get("worker")) if pid]
    deadline = time.monotonic() + 10
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "processes were left"
        time.sleep(0.05)


def parse(*arguments):
    parser = argparse.ArgumentParser(prog="dimr encode")
    add_shards(parser)
    return parser.parse_args(arguments)


def test_arguments():
    assert vars(parse()) == {"shard": None, "processes": None}
    assert parse("--shard", "2/8").shard == Part(1, 8)
    assert parse("--processes", "8").processes == 8


def test_a_part_takes_back_the_processes_of_its_command_line():
    options = parse("--processes", "3", "--processes", "1", "--shard", "2/3")
    assert (options.shard, options.processes) == (Part(1, 3), 1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "3/2"], "argument --shard: '3/2' is not allowed; use I/N"),
        (["--shard", "two"], "argument --shard: 'two' is not allowed; use I/N"),
        (["--processes", "0"], "argument --processes: '0' is not allowed (1 to 256)"),
        (["--shard", "1/2", "--processes", "4"], "--shard and --processes: use one of the two"),
        (["--processes", "4", "--shard", "1/2"], "--shard and --processes: use one of the two"),
    ],
)
def test_bad_arguments(arguments, message, capsys):
    with pytest.raises(SystemExit) as left:
        parse(*arguments)
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_one_process_starts_none(seen):
    run_processes(1)
    assert seen() == []


def test_every_part_is_run_with_its_share(seen, capsys, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    run_processes(3, "cpu")
    parts = seen()
    assert [part["part"] for part in parts] == ["1/3", "2/3", "3/3"]
    assert {part["OMP_NUM_THREADS"] for part in parts} == {"2"}
    arguments = ["encode", "--processes", "3", "--out", "x", "--processes", "1"]
    assert parts[0]["arguments"] == [*arguments, "--threads", "2", "--shard", "1/3"]
    shown = capsys.readouterr().err.splitlines()
    for number in (1, 2, 3):
        assert f"[{number}/3] message of {number}" in shown
        assert f"[{number}/3] 20%" in shown


@pytest.mark.parametrize(("threads", "share"), [(8, "2"), (2, "1")])
def test_threads_are_of_all_parts_together(seen, monkeypatch, threads, share):
    monkeypatch.setattr(sys, "argv", ["dimr", "encode", "--threads", str(threads)])
    run_processes(3, "cpu", threads)
    for part in seen():
        assert part["OMP_NUM_THREADS"] == share
        assert part["arguments"][-4:] == ["--threads", share, "--shard", part["part"]]


def test_a_certain_gpu_is_not_for_several_processes(seen):
    with pytest.raises(DimrError, match=r"--device cuda:1: .*CUDA_VISIBLE_DEVICES"):
        run_processes(3, "cuda:1")
    assert seen() == []


@pytest.mark.parametrize("visible", [None, "4,GPU-5"])
def test_each_part_has_a_gpu(seen, monkeypatch, visible):
    if visible:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    else:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    run_processes(3, "cuda")
    first, second = (visible or "0,1").split(",")
    assert [part["CUDA_VISIBLE_DEVICES"] for part in seen()] == [first, second, first]
    assert seen()[0]["arguments"][-4:] == ["--device", "cuda", "--shard", "1/3"]


@pytest.mark.parametrize(
    ("what", "message", "code"),
    [("fail", "exit code 3", 3), ("die", "killed by signal 9", 1)],
)
def test_the_others_are_ended_when_one_fails(seen, monkeypatch, what, message, code):
    monkeypatch.setenv("WHAT", f"{what} sleep")
    with pytest.raises(ProcessFailed, match=rf"process 2/3 failed \({message}\)") as caught:
        run_processes(3, "cpu")
    assert caught.value.exit_code == code
    assert_gone(seen())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_none_outlives_the_command(seen, monkeypatch, number):
    script = "import sys; from dimr.stages.shards import run_processes; import os, signal;"
    # a shell's background jobs, as tests may be, ignore it and so would this process
    script += "signal.signal(signal.SIGINT, signal.default_int_handler);"
    script += "os.environ['PYTHONPATH'] = os.environ['STUB']; run_processes(3, 'cpu')"
    monkeypatch.setenv("WHAT", "sleep")
    monkeypatch.setenv("STUB", os.environ["PYTHONPATH"])
    monkeypatch.delenv("PYTHONPATH")
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as command:
        parts = seen(3)
        time.sleep(0.2)
        command.send_signal(number)
        code = command.wait(30)
    assert code == {signal.SIGTERM: 143, signal.SIGINT: -2, signal.SIGKILL: -9}[number]
    if number == signal.SIGKILL:  # Linux ends the parts; real workers look for theirs themselves
        for worker in [part.pop("worker") for part in parts]:
            os.kill(worker, signal.SIGKILL)
    assert_gone(parts)
