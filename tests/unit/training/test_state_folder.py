"""Where a training's state lies, and what is said where it cannot be used."""

import os
import shutil
import signal

import pytest
from tests.support.train_commands import wait_for

from dimr.runtime.atomic import temporary_name
from dimr.runtime.errors import DimrError
from dimr.training.checkpoint import steps_in
from dimr.training.state_folder import begin, state_folder
from dimr.training.stopping import Limits

from .conftest import NEVER, forget, log_of, same, same_run, weights_of

UMASK = os.umask(0o022)
os.umask(UMASK)


@pytest.fixture
def place(tmp_path):
    """The folder of a training's state; of one at a step, with a checkpoint's folder."""

    def find(config, step=None):
        folder = state_folder(tmp_path / "state", config, "d")
        if step is not None:
            begin(folder, config, "d")
            (folder / f"checkpoints/step-{step:09d}").mkdir(parents=True)
        return folder

    return find


@pytest.fixture
def own(tmp_path):
    """The only state of run ``a``."""

    def find():
        (folder,) = (tmp_path / "a/state").iterdir()
        return folder

    return find


def test_the_number_of_steps_is_no_part_of_it(place, config, tmp_path):
    own = place(config(steps=30))
    assert own == place(config(steps=50, log_every=1, compile=True))
    others = {"lr": 2e-3}, {"batch": 16}, {"warmup_steps": 6}, {"precision": "bfloat16"}
    folders = {place(config(**other)) for other in others}
    folders.add(state_folder(tmp_path / "state", config(), "other data"))
    assert len(folders | {own}) == 6


def test_a_shorter_training_leaves_the_longer_one_its_checkpoints(place, config):
    own = place(config(steps=30), 30)
    shorter = place(config(steps=20), 20)
    assert shorter == own.with_name(f"{own.name}-20")
    later = own.with_name(f"{own.name}-25")  # by older code: not to be cut back
    (later / "checkpoints/step-000000040").mkdir(parents=True)
    assert place(config(steps=25)) == own.with_name(f"{own.name}-25-1")
    assert place(config(steps=40)) == own


def test_what_differs_is_said_in_one_line(place, config, caplog):
    first, second = config(lr=1e-3), config(lr=2e-3, batch=16)
    old = place(first, 5800)
    begin(place(second), second, "d")
    (record,) = caplog.records
    assert record.getMessage() == (
        f"{old}: is at step 5,800 and differs in train.batch 8, now 16; train.lr 0.001, now 0.002; "
        "training starts at step 0; that state is kept"
    )
    caplog.clear()
    begin(old, first, "d")  # it resumes
    assert not caplog.records
    begin(place(config(steps=100)), config(steps=100), "d")
    assert "is at step 5,800, beyond the 100 that are requested" in caplog.text


def test_a_state_that_does_not_say_what_it_is_of(place, config, tmp_path, caplog):
    (tmp_path / "state/0123456789abcdef/checkpoints/step-000000007").mkdir(parents=True)
    begin(place(config()), config(), "d")
    assert "differs in configuration unknown" in caplog.text


@pytest.mark.slow
def test_a_training_that_was_made_longer_and_short_again(run, config, tmp_path, own):
    """The step at which it had ended stays, and nothing up to there is trained again."""
    short, medium = run(config(steps=10), data="d"), run(config(steps=12), "medium")
    long = run(config(steps=15), limits=Limits(checkpoint_every=1), data="d")
    folder = own()
    assert steps_in(folder) == [10, 14, 15]
    assert same(run(config(steps=10), first=NEVER, data="d"), short)
    assert [row["step"] for row in log_of(tmp_path / "a")] == ["7", "10"]
    assert same(run(config(steps=12), first=10, data="d"), medium)
    assert same(run(config(steps=15), first=NEVER, data="d"), long)
    assert steps_in(folder) == [10, 14, 15]


def test_a_damaged_checkpoint_is_not_taken_over(run, config, own, caplog):
    for steps in (10, 12, 15):
        long = run(config(steps=steps), data="d")
    part = own() / "checkpoints/step-000000012/part-0000.safetensors"
    part.write_bytes(part.read_bytes()[:-1])
    run(config(steps=13), first=10, data="d")
    assert f"{part.parent}: damaged checkpoint ({part.name}: " in caplog.text
    assert same(run(config(steps=15), first=NEVER, data="d"), long)


@pytest.mark.parametrize("copied", ["all", "description", "checkpoints", "one", "beside"])
def test_another_training_s_state_is_refused(run, config, tmp_path, copied):
    """A folder that somebody copied, in the hope that training resumes from there."""
    other, wanted = config(steps=10), config(steps=10, lr=2e-3)
    run(other, data="d")
    theirs, ours = (state_folder(tmp_path / "a/state", one, "d") for one in (other, wanted))
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


def test_a_description_that_is_damaged_is_written_again(run, config, own, caplog):
    run(config(steps=10), data="d")
    description = own() / "state.json"
    whole = description.read_text()
    description.write_text(whole[:40])
    forget(own(), "of", "finished")  # of older code
    run(config(steps=10), first=NEVER, data="d")
    assert description.read_text() == whole
    assert "state.json: not readable as JSON" in caplog.text


@pytest.mark.slow
def test_longer_training_of_a_finished_run(commands):
    """At a shell: nothing is trained again, and the result is the uninterrupted one."""
    assert commands(steps=40).run("whole") == [0]
    assert commands(steps=30).run("a") == [0]

    def messages(**train):
        command = commands(**train)
        os.truncate(command.folder / "a.txt", 0)
        assert command.run("a") == [0]
        return command.messages("a")

    assert "resuming at step 30 of 40" in messages(steps=40)
    folder = commands().folder
    assert same(weights_of(folder / "whole"), weights_of(folder / "a"))
    assert log_of(folder / "whole")[-1] == log_of(folder / "a")[-1]
    # another rate begins at step 0, and the old state stays: back again, there is nothing to do
    differs = "differs in train.lr 0.001, now 0.002; training starts at step 0"
    assert differs in messages(steps=40, lr=2e-3)
    assert "resuming at step 40 of 40" in messages(steps=40)
    assert same(weights_of(folder / "whole"), weights_of(folder / "a"))
    # shorter than what exists: a state of its own
    assert "beyond the 20 that are requested" in messages(steps=20)
    assert len(list((folder / "a/state").iterdir())) == 3


@pytest.mark.slow
def test_a_milestone_and_the_training_that_goes_on_from_it(commands):
    """One state for both, the second killed on its way: nothing is lost or trained twice."""
    short, long = ({"steps": steps, "log_every": 50} for steps in (100, 300))
    assert commands(**long).run("whole") == [0]
    folder = commands().folder
    early = ("--out", folder / "early/model", "--log-csv", folder / "early/log.csv")
    further = ("--milestone", folder / "early/model")
    assert commands(**short).run("a", *early) == [0]
    model = weights_of(folder / "early")
    command = commands(**long)
    for _ in range(2):
        reached = command.checkpoints("a")[-1]
        process = command.start("a", *further, "--checkpoint-every", 2)
        wait_for(lambda last=reached: command.checkpoints("a")[-1] > last)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, command.messages("a")
    shutil.rmtree(folder / "early")  # it is exported again, from the checkpoint that was kept
    assert commands(**short).run("a", *early) == [0]
    assert "resuming at step 100 of 100" in command.messages("a")
    assert same(weights_of(folder / "early"), model)
    assert commands(**long).run("a", *further) == [0]
    assert same_run(folder / "a", folder / "whole")
    assert "are trained again" not in command.messages("a")
    assert command.run("b", *further) == [0]  # whose state is another one
    said = f"{folder}/early/model: ended at step 100, but {folder}/b/state/"
    assert said in command.messages("b")
    assert same_run(folder / "b", folder / "whole")


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
    folder = command.folder / "a"
    assert command.run("a") == [0]
    before = weights_of(folder)
    shutil.rmtree(folder / "model")
    os.truncate(command.folder / "a.txt", 0)
    assert command.start("a", file_size=3_000).wait() == 3, command.messages("a")
    assert f"{folder}/model: no space left on the disk" in command.messages("a").splitlines()[-1]
    assert "Traceback" not in command.messages("a")
    assert not (folder / "model").exists()
    own = temporary_name(folder / "model").name.removesuffix(str(os.getpid()))
    leftover = folder / f"{own}999999999"  # of a start that was killed
    leftover.mkdir()
    assert command.run("a") == [0]
    assert same(weights_of(folder), before)
    assert not leftover.exists()
    weights = folder / "model/diffusion_pytorch_model.safetensors"
    assert weights.stat().st_mode & 0o777 == 0o666 & ~UMASK
