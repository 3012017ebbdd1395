"""Training that is stopped or damaged resumes, and ends in bitwise the same weights."""

import os
import shutil
import signal

import pytest
import torch

from dimr.checkpoints import read_class_names
from dimr.runtime.errors import DimrError, StoppedEarly, TrainingFailed
from dimr.runtime.files import read_json
from dimr.runtime.record import read_record
from dimr.training import loop
from dimr.training.checkpoint import Checkpoints
from dimr.training.loop import train
from dimr.training.state_folder import locked
from dimr.training.stopping import Limits, record_failure
from dimr.training.train_state import make_train_state, prepare

from .conftest import NEVER, WORLD, forget, log_of, pull, same


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def stopped_twice(run, config, steps, **engine):
    """Final weights of a run ``b`` that a signal stops at two steps."""
    events = {10: sigterm, 20: sigterm}
    for step in steps:
        with pytest.raises(StoppedEarly, match=f"SIGTERM at step {step} of 30") as stopped:
            run(config, "b", events=events, **engine)
        assert stopped.value.exit_code == 128 + signal.SIGTERM
    return run(config, "b", events=events, **engine)


@pytest.mark.slow
def test_stopped_twice_is_bitwise_uninterrupted(run, config, tmp_path):
    assert same(stopped_twice(run, config(), (11, 21)), run(config()))
    assert log_of(tmp_path / "a") == log_of(tmp_path / "b")
    record = read_json(tmp_path / "b/model/record.json")
    assert (record["steps"], record["images"]) == (30, 240)
    assert len(read_json(tmp_path / "b/model/provenance.json")["sessions"]) == 3


@pytest.mark.parametrize("accumulate", [1, 2])
def test_resume_with_the_thread_ahead_is_bitwise(run, config, accumulate):
    """Batches come from the prefetching thread, which the signal finds anywhere in its work."""
    engine = {"accumulate": accumulate, "prefetch": True}
    assert same(stopped_twice(run, config(), (r"\d+", r"\d+"), **engine), run(config(), **engine))


def test_the_engine_may_change_between_sessions(run, config):
    """Fused and not, in microbatches and whole: the same to rounding, and each reads the state."""
    whole, events = run(config()), {10: sigterm, 20: sigterm}
    for engine in ({"fused": False, "checkpointing": "block"}, {"accumulate": 4}):
        with pytest.raises(StoppedEarly):
            run(config(), "b", events=events, **engine)
    for name, tensor in run(config(), "b").items():
        torch.testing.assert_close(tensor, whole[name], rtol=1e-4, atol=1e-6, msg=name)


def test_stop_after_leaves_with_75(run, config):
    with pytest.raises(StoppedEarly, match="stopped by the time limit") as stopped:
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


@pytest.fixture
def interrupted(run, config, tmp_path):
    """The folder of a run ``b`` with two checkpoints, the newer of step 10, and no result."""
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), "b", limits=Limits(checkpoint_every=5), events={15: pull})
    folder = tmp_path / "b/state/checkpoints"
    assert len(Checkpoints(folder).folders()) == 2
    return folder


def test_a_damaged_newest_checkpoint_is_reported_and_passed_over(run, config, interrupted, caplog):
    newest = Checkpoints(interrupted).folders()[-1]
    part = newest / "part-0000.safetensors"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert same(run(config(), "b"), run(config()))
    assert f"{newest.name}: damaged checkpoint ({part.name}: checksum differs" in caplog.text


def test_all_checkpoints_damaged_is_an_error(run, config, interrupted):
    for file in interrupted.glob("*/part-*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(
        DimrError, match=r"step-\d+: damaged checkpoint \(part-\d+.*no intact one is left"
    ):
        run(config(), "b")


def test_checkpoint_of_another_network_is_refused(run, config, interrupted):
    """By what it says of itself; one of older code by its tensors."""
    other = config(network={"dims": [16, 8]})
    differs = r"step-\d+: belongs to another training \(network.dims \[8, 8\], now \[16, 8\]\)"
    with pytest.raises(DimrError, match=differs):
        run(other, "b")
    with pytest.raises(DimrError, match="is at step 10, beyond the last one"):
        run(config(steps=8), "b")
    forget(interrupted.parent, "of", "finished")
    with pytest.raises(DimrError, match="checkpoint of another network") as refused:
        run(other, "b")
    assert "\n" not in str(refused.value)
    assert same(run(config(), "b"), run(config()))


@pytest.mark.parametrize(("step", "which"), [(9, 0), (29, -1)])
def test_what_is_not_finite_names_its_step_and_stays_failed(
    run, config, tmp_path, monkeypatch, step, which
):
    """A loss; or the gradient of the last step, whose loss does not tell of the final weights."""
    step_of = loop.train_step

    def overflows(state, batch, number):
        losses = step_of(state, batch, number)
        losses[which] = float("inf") if number == step else losses[which]
        return losses

    monkeypatch.setattr(loop, "train_step", overflows)
    for _ in range(2):  # the second time at once, without training
        with pytest.raises(TrainingFailed, match=f"not finite at step {step}, or its gradient"):
            run(config())
        monkeypatch.undo()
    assert read_json(tmp_path / "a/state/failure.json")["step"] == step
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


def test_a_preview_is_of_the_weights_as_they_are(trainer, config):
    """Their average would show a short training as it was near its beginning."""
    shown = []

    def preview(step, network):
        weights, state = network.state_dict(), made.state
        average = state.ema.module.state_dict()
        shown.append((step, same(weights, state.network.state_dict()), same(weights, average)))

    made = trainer(config(), more={"preview": preview})
    made.run(Limits(preview_every=1e-9))
    assert shown[1:] == [(step, True, False) for step in range(2, made.progress.step)]


def test_a_preview_that_fails_does_not_end_training(trainer, config, caplog):
    def preview(step, _):
        raise torch.OutOfMemoryError(f"no memory at {step}")

    made = trainer(config(), more={"preview": preview})
    made.run(Limits(preview_every=1e-9))
    assert made.finished
    assert "no preview of step 1 (no memory at 1); training continues" in caplog.text


def test_the_model_has_the_names_of_its_classes(trainer, config, tmp_path):
    """Beside config.json, whose schema is the network's; the record has its checksum."""
    names = [f"caf\u00e9 {n}" for n in range(10)]
    made = trainer(config(), more={"class_names": names})
    train(made, Limits(), tmp_path / "a/model", tmp_path / "a/log.csv", "key")
    assert read_class_names(tmp_path / "a/model") == names
    assert "class_names.json" in read_record(tmp_path / "a/model")["files"]
    (tmp_path / "a/model/class_names.json").unlink()
    with pytest.raises(DimrError, match=r"class_names\.json: no such file, and it belongs to"):
        read_class_names(tmp_path / "a/model")


def test_a_second_writer_is_refused(run, config, tmp_path):
    with locked(tmp_path / "a/state"), pytest.raises(DimrError, match=f"process {os.getpid()} on "):
        run(config())


def test_a_finished_state_is_exported_whatever_the_code(run, config, tmp_path, caplog):
    whole = run(config(), code="x")
    assert same(run(config(), code="x", first=NEVER), whole)
    assert "a different version of the code" not in caplog.text
    assert same(run(config(), code="y", first=NEVER), whole)
    assert "finished by a different version of the code" in caplog.text
    assert read_json(tmp_path / "a/model/provenance.json")["codes"] == ["x"]


def test_code_that_changes_half_way_is_in_the_record(run, config, tmp_path):
    """Killed after the last checkpoint, started again with other code: nothing is trained again."""
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), events={20: pull}, code="x", limits=Limits(checkpoint_every=10))
    whole = run(config(), code="y")
    shutil.rmtree(tmp_path / "a/model")
    assert same(run(config(), code="z", first=NEVER), whole)
    assert read_json(tmp_path / "a/model/provenance.json")["codes"] == ["x", "y"]


def test_more_steps_resume_where_the_shorter_training_ended(run, config):
    run(config(steps=30))
    assert same(run(config(steps=40), first=30), run(config(steps=40), name="whole"))


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


def test_an_error_of_the_thread_that_makes_batches_is_raised(run, config):
    with pytest.raises(RuntimeError, match="pulled"):
        run(config(), events={12: pull}, prefetch=True)


def test_a_batch_that_cannot_be_divided_is_refused(run, config):
    with pytest.raises(DimrError, match=r"train\.batch: 8 cannot .* 1 processes x --accumulate 3"):
        run(config(), accumulate=3)


@pytest.mark.slow
def test_memory_is_steady(run, config):
    """Resident memory after 400 steps and after 2,000, with a checkpoint every 40."""
    resident = []

    def measure():
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    events, limits = {400: measure, 1999: measure}, Limits(checkpoint_every=40)
    run(config(steps=2000, log_every=100), events=events, limits=limits, prefetch=True)
    first, last = resident
    assert last - first < 4e6, resident
