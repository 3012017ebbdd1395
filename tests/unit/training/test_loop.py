"""Training that is stopped or damaged goes on, and ends in bitwise the same weights."""

import json
import os
import shutil
import signal

import pytest
import torch

from dimr.data.reader import ShardReader
from dimr.runtime.errors import DimrError, StoppedEarly, TrainingFailed
from dimr.runtime.files import read_json
from dimr.training import loop
from dimr.training.checkpoint import Checkpoints
from dimr.training.distributed import World
from dimr.training.state_folder import locked
from dimr.training.stopping import Limits, record_failure
from dimr.training.train_state import make_train_state, prepare

from .conftest import Stops, forget, log_of, same

WORLD = World(torch.device("cpu"))


class StopsAt:
    """Batches that raise a signal in this process at some steps."""

    def __init__(self, reader, steps):
        self.reader, self.steps = reader, set(steps)

    def batch(self, step):
        if step in self.steps:
            self.steps.discard(step)
            os.kill(os.getpid(), signal.SIGTERM)
        return self.reader.batch(step)


def test_stopped_twice_is_bitwise_uninterrupted(run, config, latents, tmp_path):
    whole = run(config())
    batches = StopsAt(ShardReader(latents, 8, 3), {10, 20})
    for step in (11, 21):
        with pytest.raises(StoppedEarly, match=f"SIGTERM at step {step} of 30") as stopped:
            run(config(), "b", batches=batches)
        assert stopped.value.exit_code == 128 + signal.SIGTERM
        assert not (tmp_path / "b/model").exists()
    assert same(run(config(), "b", batches=batches), whole)
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    record = read_json(tmp_path / "b/model/record.json")
    assert record["steps"] == 30
    assert record["images"] == 240
    assert len(read_json(tmp_path / "b/model/provenance.json")["sessions"]) == 3


def test_stop_after_leaves_with_75(run, config):
    with pytest.raises(StoppedEarly, match="time is up") as stopped:
        run(config(), limits=Limits(stop_after=0.001))
    assert stopped.value.exit_code == 75
    run(config())


def test_log_has_the_mean_losses(run, config, tmp_path):
    run(config())
    rows = log_of(tmp_path / "a")
    assert [int(row["step"]) for row in rows] == [7, 14, 21, 28, 30]
    for row in rows:
        weighted = 0.25 * float(row["loss_branch_1"]) + float(row["loss_branch_2"])
        assert float(row["loss"]) == pytest.approx(weighted, abs=2e-6)


def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(
    run, config, latents, tmp_path, caplog
):
    whole = run(config())
    folder = tmp_path / "b/state/checkpoints"
    run_some(run, config, folder, latents)
    newest = Checkpoints(folder).folders()[-1]
    part = newest / "part-0000.safetensors"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert same(run(config(), "b"), whole)
    assert f"{newest.name}/{part.name}" in caplog.text
    assert "damaged" in caplog.text


def run_some(run, config, folder, latents):
    """Leave two checkpoints in ``folder`` and no result."""
    reader = Stops(15, ShardReader(latents, 8, 3))
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), "b", limits=Limits(checkpoint_every=5), batches=reader)
    assert len(Checkpoints(folder).folders()) == 2


def test_all_checkpoints_damaged_is_an_error(run, config, latents, tmp_path):
    folder = tmp_path / "b/state/checkpoints"
    run_some(run, config, folder, latents)
    for file in folder.glob("*/part-*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        DimrError, match=r"step-0000000\d+/part-\d+.* damaged .*no whole one is left"
    ):
        run(config(), "b")


def test_checkpoint_of_another_network_is_refused(run, config, latents, tmp_path):
    """By what it says of itself; one of older code by its tensors."""
    run_some(run, config, tmp_path / "b/state/checkpoints", latents)
    other = config()
    other = other.model_copy(update={"network": other.network.model_copy(update={"dims": (16, 8)})})
    differs = r"step-\d+: belongs to another training \(network.dims \[8, 8\], now \[16, 8\]\)"
    with pytest.raises(DimrError, match=differs):
        run(other, "b")
    with pytest.raises(DimrError, match="is at step 10, beyond the last one"):
        run(config(steps=8), "b")
    forget(tmp_path / "b/state", "of", "finished")
    with pytest.raises(DimrError, match="checkpoint of another network") as refused:
        run(other, "b")
    assert "\n" not in str(refused.value)
    assert same(run(config(), "b"), run(config()))


def test_a_non_finite_loss_names_its_step_and_stays_failed(run, config, latents, tmp_path):
    class Explodes(Stops):
        def batch(self, step):
            x, y = super().batch(step)
            return (x * float("nan") if step == 9 else x), y

    with pytest.raises(TrainingFailed, match="not finite at step 9"):
        run(config(), batches=Explodes(99, ShardReader(latents, 8, 3)))
    failure = json.loads((tmp_path / "a/state/failure.json").read_text())
    assert failure["step"] == 9
    assert not (tmp_path / "a/model").exists()
    with pytest.raises(TrainingFailed, match="not finite at step 9"):
        run(config())  # at once, without training
    assert Checkpoints(tmp_path / "a/state/checkpoints").folders() == []


def test_a_gradient_that_is_not_finite_fails_as_its_loss_does(run, config, tmp_path, monkeypatch):
    """Also after the last step, whose loss says nothing of the weights that it leaves."""
    step_of = loop.train_step

    def overflows(state, batch, step):
        losses = step_of(state, batch, step)
        losses[-1] = float("inf") if step == 29 else losses[-1]
        return losses

    monkeypatch.setattr(loop, "train_step", overflows)
    with pytest.raises(TrainingFailed, match="not finite at step 29, or its gradient"):
        run(config())
    assert not (tmp_path / "a/model").exists()
    assert Checkpoints(tmp_path / "a/state/checkpoints").folders() == []


@pytest.mark.parametrize("content", ["[]", "{}", '{"message": 5}'])
def test_a_record_of_a_failure_that_says_nothing_is_named(run, config, tmp_path, content):
    (tmp_path / "a/state").mkdir(parents=True)
    (tmp_path / "a/state/failure.json").write_text(content)
    with pytest.raises(TrainingFailed, match=r"failure\.json: training failed here before"):
        run(config())


def test_a_failure_is_told_where_it_cannot_be_recorded(tmp_path, caplog):
    (tmp_path / "state").write_text("a file")
    error = record_failure(tmp_path / "state", 7, write=True)
    assert "not finite at step 7" in str(error)
    assert "failure.json: could not be written" in caplog.text


def test_a_preview_that_fails_does_not_end_training(config, latents, tmp_path, caplog):
    def preview(step, _):
        raise torch.OutOfMemoryError(f"no memory at {step}")

    reader = ShardReader(latents, 8, 3)
    trainer = loop.Trainer(config(), reader, tmp_path / "state", WORLD, preview=preview)
    trainer.run(Limits(preview_every=1e-9))
    assert trainer.finished
    assert "no preview of step 1 (no memory at 1); training continues" in caplog.text


def test_a_second_writer_is_refused(run, config, tmp_path):
    with locked(tmp_path / "a/state"), pytest.raises(DimrError, match=f"process {os.getpid()} on "):
        run(config())


def test_a_finished_state_is_exported_whatever_the_code(run, config, latents, tmp_path, caplog):
    whole = run(config(), code="x")
    no_data = Stops(0, ShardReader(latents, 8, 3))
    assert same(run(config(), code="x", batches=no_data), whole)
    assert "other code" not in caplog.text
    assert same(run(config(), code="y", batches=no_data), whole)
    assert "finished by other code" in caplog.text
    assert read_json(tmp_path / "a/model/provenance.json")["codes"] == ["x"]


def test_code_that_changes_half_way_is_in_the_record(run, config, latents, tmp_path):
    """Killed after the last checkpoint, started again with other code: nothing is trained again."""
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), batches=Stops(20, ShardReader(latents, 8, 3)), code="x",
            limits=Limits(checkpoint_every=10))  # fmt: skip
    whole = run(config(), code="y")
    shutil.rmtree(tmp_path / "a/model")
    assert same(run(config(), code="z", batches=Stops(0, ShardReader(latents, 8, 3))), whole)
    assert read_json(tmp_path / "a/model/provenance.json")["codes"] == ["x", "y"]


def test_more_steps_resume_where_the_shorter_training_ended(run, config):
    whole = run(config(steps=40), name="whole")
    run(config(steps=30))
    assert same(run(config(steps=40)), whole)


@pytest.mark.parametrize("damage", [lambda _: "", lambda text: text[: len(text) // 2], None])
def test_a_log_that_lost_lines_is_a_warning(run, config, tmp_path, caplog, damage):
    run(config())
    path = tmp_path / "a/state/log.csv"
    assert "missing or were changed" not in caplog.text
    if damage is None:
        path.unlink()
    else:
        path.write_text(damage(path.read_text()))
    run(config(steps=35))
    assert f"{path}: lines up to step 30 are missing or were changed" in caplog.text


def test_a_compiler_that_fails_is_done_without(config, monkeypatch, caplog):
    state = make_train_state(config(compile=True), WORLD)

    def broken(_, **__):
        def call(*_):
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    prepare(state, WORLD)
    assert state.forward is state.network
    assert "no compiler" in caplog.text


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_with_the_thread_ahead_is_bitwise(run, config, latents, accumulate):
    """Batches come from the prefetching thread, which the signal finds anywhere in its work."""
    whole = run(config(), accumulate=accumulate, prefetch=True)
    batches = StopsAt(ShardReader(latents, 8, 3), {10, 20})
    for _ in range(2):
        with pytest.raises(StoppedEarly):
            run(config(), "b", batches=batches, accumulate=accumulate, prefetch=True)
    assert same(run(config(), "b", batches=batches, accumulate=accumulate, prefetch=True), whole)


def test_an_error_of_the_thread_that_makes_batches_is_raised(run, config, latents):
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), batches=Stops(12, ShardReader(latents, 8, 3)), prefetch=True)


def test_a_batch_that_cannot_be_cut_is_refused(run, config):
    with pytest.raises(DimrError, match=r"train\.batch: 8 cannot .* 1 processes x --accumulate 3"):
        run(config(), accumulate=3)


def test_the_engine_may_change_between_sessions(run, config, latents):
    """Fused and not, cut and whole: the same to rounding, and the state is read by each."""
    whole = run(config())
    batches = StopsAt(ShardReader(latents, 8, 3), {10, 20})
    engines = [{"fused": False, "checkpointing": "block"}, {"accumulate": 4}]
    for engine in engines:
        with pytest.raises(StoppedEarly):
            run(config(), "b", batches=batches, **engine)
    for name, tensor in run(config(), "b").items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.slow
def test_memory_is_steady(run, config, latents):
    """Resident memory after 400 steps and after 2,000, with a checkpoint every 40."""
    resident = {}

    class Measures(Stops):
        def batch(self, step):
            if step in (400, 1999):
                with open("/proc/self/statm") as file:
                    resident[step] = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            return super().batch(step)

    batches = Measures(None, ShardReader(latents, 8, 3))
    limits = Limits(checkpoint_every=40)
    run(config(steps=2000, log_every=100), batches=batches, limits=limits, prefetch=True)
    assert resident[1999] - resident[400] < 4e6, resident
