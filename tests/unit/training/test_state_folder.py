"""Where a training's state lies, and what is said where it cannot be used."""

import os
import shutil

import pytest

from dimr.data.reader import ShardReader
from dimr.runtime.errors import DimrError
from dimr.runtime.files import temporary_name
from dimr.training.checkpoint import steps_in
from dimr.training.state_folder import begin, state_folder
from dimr.training.stopping import Limits

from .conftest import forget, log_of, same, weights_of

UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.fixture
def states(tmp_path):
    """A folder of states; ``reach(folder, step)`` leaves a checkpoint's folder there."""

    def reach(folder, step, config=None, data="d"):
        if config is not None:
            begin(folder, config, data)
        (folder / f"checkpoints/step-{step:09d}").mkdir(parents=True)
        return folder

    return tmp_path / "state", reach


def test_the_number_of_steps_is_no_part_of_it(states, config):
    root, _ = states
    own = state_folder(root, config(steps=30), "d")
    assert own == state_folder(root, config(steps=50, log_every=1, compile=True), "d")
    others = (
        config(lr=2e-3),
        config(batch=16),
        config(warmup_steps=6),
        config(precision="bfloat16"),
    )
    folders = {state_folder(root, other, "d") for other in others}
    assert len(folders | {own, state_folder(root, config(), "other data")}) == 6


def test_a_shorter_training_leaves_the_longer_one_its_checkpoints(states, config):
    root, reach = states
    own = state_folder(root, config(steps=30), "d")
    reach(own, 30)
    shorter = state_folder(root, config(steps=20), "d")
    assert shorter == own.with_name(f"{own.name}-20")
    reach(shorter, 20)
    reach(own.with_name(f"{own.name}-25"), 40)  # by older code: not to be cut back
    assert state_folder(root, config(steps=25), "d") == own.with_name(f"{own.name}-25-1")
    assert state_folder(root, config(steps=40), "d") == own


def test_what_differs_is_said_in_one_line(states, config, caplog):
    root, reach = states
    first, second = config(lr=1e-3), config(lr=2e-3, batch=16)
    old = reach(state_folder(root, first, "d"), 5800, first)
    new = state_folder(root, second, "d")
    begin(new, second, "d")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{old}: is at step 5,800 and differs in train.batch 8, now 16; train.lr 0.001, now 0.002; "
        "training begins at step 0, and that state stays"
    )
    caplog.clear()
    begin(old, first, "d")  # it resumes
    assert not caplog.records
    begin(state_folder(root, config(steps=100), "d"), config(steps=100), "d")
    assert "is at step 5,800, beyond the 100 that are requested" in caplog.text


def test_a_state_that_does_not_say_what_it_is_of(states, config, caplog):
    root, reach = states
    reach(root / "0123456789abcdef", 7)
    begin(state_folder(root, config(), "d"), config(), "d")
    assert "differs in configuration unknown" in caplog.text


def test_a_training_that_was_made_longer_and_short_again(run, config, latents, tmp_path):
    """The step at which it had ended stays, and nothing up to there is trained again."""
    often, reader = Limits(checkpoint_every=1), ShardReader(latents, 8, 3)
    short, medium = run(config(steps=10), data="d"), run(config(steps=12), "medium")
    long = run(config(steps=15), limits=often, data="d")
    (own,) = (tmp_path / "a/state").iterdir()
    assert steps_in(own) == [10, 14, 15]
    assert same(run(config(steps=10), batches=Never(), data="d"), short)
    assert [row["step"] for row in log_of(tmp_path / "a")] == ["7", "10"]
    assert same(run(config(steps=12), batches=From(10, reader), data="d"), medium)
    assert same(run(config(steps=15), batches=Never(), data="d"), long)
    assert steps_in(own) == [10, 14, 15]


def test_a_damaged_checkpoint_is_not_taken_over(run, config, latents, tmp_path, caplog):
    for steps in (10, 12, 15):
        long = run(config(steps=steps), data="d")
    (own,) = (tmp_path / "a/state").iterdir()
    part = own / "checkpoints/step-000000012/part-0000.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    reader = ShardReader(latents, 8, 3)
    run(config(steps=13), batches=From(10, reader), data="d")
    assert f"{part}: damaged" in caplog.text
    assert same(run(config(steps=15), batches=Never(), data="d"), long)


class From:
    """Batches of later steps: those before are not asked for."""

    def __init__(self, first, reader):
        self.first, self.reader = first, reader

    def batch(self, step):
        assert step >= self.first
        return self.reader.batch(step)


class Never(From):
    """No batch at all."""

    def __init__(self):
        super().__init__(float("inf"), None)


@pytest.mark.parametrize("copied", ["all", "description", "checkpoints", "one", "beside"])
def test_another_training_s_state_is_refused(run, config, tmp_path, copied):
    """A folder that somebody copied, in the hope that training goes on from there."""
    other, wanted = config(steps=10), config(steps=10, lr=2e-3)
    run(other, data="d")
    theirs = state_folder(tmp_path / "a/state", other, "d")
    ours = state_folder(tmp_path / "a/state", wanted, "d")
    if copied == "all":
        shutil.copytree(theirs, ours)
    elif copied == "description":
        ours.mkdir()
        shutil.copy(theirs / "state.json", ours)
    elif copied == "checkpoints":
        shutil.copytree(theirs / "checkpoints", ours / "checkpoints")
    elif copied == "one":
        run(config(steps=8, lr=2e-3), data="d")
        shutil.copytree(*(f / "checkpoints/step-000000010" for f in (theirs, ours)))
    else:
        shutil.copytree(theirs / "checkpoints", ours.with_name(f"{ours.name}-10") / "checkpoints")
    with pytest.raises(DimrError, match="belongs to another training") as refused:
        run(wanted, data="d")
    assert "train.lr 0.001, now 0.002" in str(refused.value)
    assert str(refused.value).startswith(str(ours))
    assert "\n" not in str(refused.value)


def test_a_description_that_is_damaged_is_written_again(run, config, tmp_path, caplog):
    run(config(steps=10), data="d")
    (own,) = (tmp_path / "a/state").iterdir()
    whole = (own / "state.json").read_text()
    (own / "state.json").write_text(whole[:40])
    forget(own, "of", "finished")  # of older code
    run(config(steps=10), batches=Never(), data="d")
    assert (own / "state.json").read_text() == whole
    assert "state.json: not readable as JSON" in caplog.text


@pytest.mark.slow
def test_longer_training_of_a_finished_run(commands):
    """At a shell: nothing is trained again, and the result is the uninterrupted one."""
    assert commands(steps=40).run("whole") == [0]
    assert commands(steps=30).run("a") == [0]
    longer = commands(steps=40)
    assert longer.run("a") == [0]
    assert "resuming at step 30 of 40" in longer.messages("a")
    assert same(weights_of(longer.folder / "whole"), weights_of(longer.folder / "a"))
    assert log_of(longer.folder / "whole")[-1]["step"] == log_of(longer.folder / "a")[-1]["step"]
    # another rate begins anew, and the old state stays: back again, nothing is to be done
    other = commands(steps=40, lr=2e-3)
    assert other.run("a") == [0]
    assert "differs in train.lr 0.001, now 0.002; training begins at step 0" in other.messages("a")
    back = commands(steps=40)
    os.truncate(back.folder / "a.txt", 0)
    assert back.run("a") == [0]
    assert "resuming at step 40 of 40" in back.messages("a")
    assert same(weights_of(back.folder / "whole"), weights_of(back.folder / "a"))
    # shorter than what is there: a state of its own
    shorter = commands(steps=20)
    assert shorter.run("a") == [0]
    assert "beyond the 20 that are requested" in shorter.messages("a")
    assert len(list((shorter.folder / "a/state").iterdir())) == 3


@pytest.mark.slow
def test_damaged_data_is_found_before_training(commands, latents, tmp_path):
    """A third of a shard zeroed: its header and its size are as they were."""
    command = commands(steps=5)
    command.latents = tmp_path / "latents"
    shutil.copytree(latents, command.latents)
    shard = command.latents / "00001.npy"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: 2 * len(whole) // 3] + bytes(len(whole) - 2 * len(whole) // 3))
    assert command.run("a") == [2]
    assert "latents/00001.npy: checksum differs" in command.messages("a")
    shard.write_bytes(whole)
    assert command.run("a") == [0]


@pytest.mark.slow
def test_a_full_disk_at_the_export_is_one_line(commands):
    """Training has ended, and its model is larger than what may be written."""
    command = commands(steps=10)
    assert command.run("a") == [0]
    model = command.folder / "a/model"
    before = weights_of(command.folder / "a")
    shutil.rmtree(model)
    os.truncate(command.folder / "a.txt", 0)
    process = command.start("a", file_size=3_000)
    assert process.wait() == 3, command.messages("a")
    last = command.messages("a").splitlines()[-1]
    assert f"{model}: no space left on the disk" in last
    assert "Traceback" not in command.messages("a")
    assert not model.exists()
    own = temporary_name(model).name.removesuffix(str(os.getpid()))
    leftover = model.with_name(f"{own}999999999")  # of a start that was killed
    leftover.mkdir()
    assert command.run("a") == [0]
    assert same(weights_of(command.folder / "a"), before)
    assert not leftover.exists()
    weights = model / "diffusion_pytorch_model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o666 & ~UMASK
