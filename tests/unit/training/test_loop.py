"""Training that is stopped, killed or damaged goes on, and ends in bitwise the same weights."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from dimr.cli import main
from dimr.data.reader import ShardReader
from dimr.errors import DimrError, StoppedEarly, TrainingFailed
from dimr.models import build
from dimr.training.checkpoint import Checkpoints, locked
from dimr.training.engine import Engine, prepare_forward
from dimr.training.loop import Limits, Training, train

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path, latents):
    """Train in ``tmp_path / name``; returns the final weights."""

    def start(phase, name="a", limits=None, code="", batches=None, **engine):
        reader = batches or ShardReader(latents, phase.train.batch, phase.seed)
        engine = Engine(**{"prefetch": batches is None, **engine})  # stops are at a step then
        state = tmp_path / name / "state"
        training = Training(phase, reader, state, device=CPU, code=code, engine=engine)
        folder = tmp_path / name
        train(training, limits or Limits(), folder / "model", folder / "log.csv", "key")
        return load_file(folder / "model/diffusion_pytorch_model.safetensors")

    return start


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def log_without_times(path):
    with open(path) as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in r.items() if k not in ("images_per_second", "seconds")} for r in rows]


class StopsAt:
    """Batches that raise a signal in this process at some steps."""

    def __init__(self, reader, steps):
        self.reader, self.steps = reader, set(steps)

    def batch(self, step):
        if step in self.steps:
            self.steps.discard(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return self.reader.batch(step)


def test_stopped_twice_is_bitwise_uninterrupted(run, phase, latents, tmp_path):
    whole = run(phase())
    batches = StopsAt(ShardReader(latents, 8, 3), {10, 20})
    for step in (11, 21):
        with pytest.raises(StoppedEarly, match=f"SIGTERM at step {step} of 30") as stopped:
            run(phase(), "b", batches=batches)
        assert stopped.value.exit_code == 128 + signal.SIGTERM
        assert not (tmp_path / "b/model").exists()
    assert same(run(phase(), "b", batches=batches), whole)
    assert log_without_times(tmp_path / "a/log.csv") == log_without_times(tmp_path / "b/log.csv")
    record = json.loads((tmp_path / "b/model/record.json").read_text())
    assert record["steps"] == 30
    assert record["images"] == 240
    assert len(record["sessions"]) == 3


def test_stop_after_leaves_with_75(run, phase):
    with pytest.raises(StoppedEarly, match="time is up") as stopped:
        run(phase(), limits=Limits(stop_after=0.001))
    assert stopped.value.exit_code == 75
    run(phase())


def test_log_has_the_mean_losses(run, phase, tmp_path):
    run(phase())
    rows = log_without_times(tmp_path / "a/log.csv")
    assert [int(row["step"]) for row in rows] == [7, 14, 21, 28, 30]
    for row in rows:
        weighted = 0.25 * float(row["loss_branch_1"]) + float(row["loss_branch_2"])
        assert float(row["loss"]) == pytest.approx(weighted, abs=2e-6)


def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(
    run, phase, latents, tmp_path, caplog
):
    whole = run(phase())
    folder = tmp_path / "b/state/checkpoints"
    run_some(run, phase, folder, latents)
    newest = Checkpoints(folder).files()[-1]
    data = bytearray(newest.read_bytes())
    data[len(data) // 2] ^= 1
    newest.write_bytes(data)
    assert same(run(phase(), "b"), whole)
    assert newest.name in caplog.text
    assert "damaged" in caplog.text


def run_some(run, phase, folder, latents):
    """Leave two checkpoints in ``folder`` and no result."""
    reader = Stops(15, ShardReader(latents, 8, 3))
    with pytest.raises(RuntimeError, match="pulled"):
        run(phase(), "b", limits=Limits(checkpoint_every=5), batches=reader)
    assert len(Checkpoints(folder).files()) == 2


class Stops:
    """Batches that end with an error: the plug is pulled."""

    def __init__(self, at, reader):
        self.at = at
        self.reader = reader

    def batch(self, step):
        if step == self.at:
            raise RuntimeError("pulled")
        return self.reader.batch(step)


def test_all_checkpoints_damaged_is_an_error(run, phase, latents, tmp_path):
    folder = tmp_path / "b/state/checkpoints"
    run_some(run, phase, folder, latents)
    for file in Checkpoints(folder).files():
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DimrError, match=r"step-0000000\d+\.pt: damaged .*no whole one is left"):
        run(phase(), "b")


def test_checkpoint_of_another_network_is_refused(run, phase, latents, tmp_path):
    run_some(run, phase, tmp_path / "b/state/checkpoints", latents)
    other = phase()
    other = other.model_copy(update={"network": other.network.model_copy(update={"dims": (16, 8)})})
    with pytest.raises(DimrError, match="checkpoint of another network") as refused:
        run(other, "b")
    assert "\n" not in str(refused.value)


def test_a_pickle_with_code_is_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/owned",))

    checkpoints = Checkpoints(tmp_path / "c")
    path = checkpoints.save(1, {})
    path.write_bytes(pickle.dumps(Evil()))
    from dimr.files import sha256

    path.with_name(path.name + ".sha256").write_text(sha256(path))
    with pytest.raises(DimrError, match="not readable as a checkpoint"):
        checkpoints.newest()
    assert not (tmp_path / "owned").exists()


def test_a_non_finite_loss_names_its_step_and_stays_failed(run, phase, latents, tmp_path):
    class Explodes(Stops):
        def batch(self, step):
            x, y = super().batch(step)
            return (x * float("nan") if step == 9 else x), y

    with pytest.raises(TrainingFailed, match="not finite at step 9"):
        run(phase(), batches=Explodes(99, ShardReader(latents, 8, 3)))
    failure = json.loads((tmp_path / "a/state/failure.json").read_text())
    assert failure["step"] == 9
    assert not (tmp_path / "a/model").exists()
    with pytest.raises(TrainingFailed, match="not finite at step 9"):
        run(phase())  # at once, without training
    assert Checkpoints(tmp_path / "a/state/checkpoints").files() == []


def test_a_second_writer_is_refused(run, phase, tmp_path):
    with locked(tmp_path / "a/state"), pytest.raises(DimrError, match=f"process {os.getpid()} is"):
        run(phase())


def test_a_finished_state_is_exported_again_but_not_for_other_code(run, phase, latents, caplog):
    whole = run(phase(), code="x")
    no_data = Stops(0, ShardReader(latents, 8, 3))
    assert same(run(phase(), code="x", batches=no_data), whole)
    with pytest.raises(RuntimeError, match="pulled"):  # it starts training again
        run(phase(), code="y", batches=no_data)
    assert "finished by other code" in caplog.text


def test_a_compiler_that_fails_is_done_without(monkeypatch, caplog):
    network = build("dimr-xs-2r", input_size=4, channels=4, num_classes=10)

    def broken(_):
        def call(*_):
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    assert prepare_forward(network, Engine(), True, torch.float32, 2) is network
    assert "no compiler" in caplog.text


def test_killed_processes_end_in_the_same_weights(phase, latents, tmp_path):
    """SIGKILL at two moments, a real process each time: the last one ends bitwise the same."""
    config = tmp_path / "train.yaml"
    config.write_text(yaml.safe_dump(phase(steps=1200).model_dump(mode="json")))

    def command(name):
        folder = tmp_path / name
        return [
            sys.executable, "-m", "dimr", "train", "--config", str(config), "--data", str(latents),
            "--out", str(folder / "model"), "--log-csv", str(folder / "log.csv"),
            "--state", str(folder / "state"), "--checkpoint-every", "20", "--threads", "1",
        ]  # fmt: skip

    assert main(command("whole")[3:]) == 0
    for kills in (40, 400):
        process = subprocess.Popen(command("killed"), stderr=subprocess.DEVNULL)
        wait_for_step(tmp_path / "killed/state", kills, process)
        process.kill()
        assert process.wait() == -signal.SIGKILL
        assert not (tmp_path / "killed/model").exists()
    subprocess.run(command("killed"), check=True, stderr=subprocess.DEVNULL)
    weights = [
        load_file(tmp_path / name / "model/diffusion_pytorch_model.safetensors")
        for name in ("whole", "killed")
    ]
    assert same(*weights)


def wait_for_step(state: Path, step: int, process: subprocess.Popen) -> None:
    """Until a checkpoint of at least that step is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        found = [int(f.stem.split("-")[1]) for f in state.glob("*/checkpoints/step-*.pt")]
        if any(n >= step for n in found):
            return
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.005)
    raise AssertionError(f"no checkpoint of step {step} in time")
