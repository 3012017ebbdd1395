"""A training that starts from other weights: at step 0 only, and as its key and record say."""

import logging
import re
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.support.messages import error_in

from dimr.checkpoints.model_folder import write_class_names, write_model
from dimr.cli import main
from dimr.models import build
from dimr.runtime.record import content_key, read_record, seal
from dimr.training.checkpoint import Checkpoints
from dimr.training.start import Start

from .conftest import log_of, make_config, same, same_run, weights_of

LABEL = "lowest.label.weight"
DIGITS = list("0123456789")
OWN = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(tmp_path):
    """Write a model folder with random weights, a record, and the names of its classes."""

    def write(config, names=DIGITS, name="other", seed=0):
        folder = tmp_path / name
        folder.mkdir()
        torch.manual_seed(seed)
        write_model(folder, config.network, build(config.network.sizes).state_dict(), "noise")
        write_class_names(folder, names)
        seal(folder, "model", {"key": "known"})
        return folder

    return write


def start(folder, names=DIGITS):
    return Start("own/model", folder, content_key(folder), names)


@pytest.fixture
def started(trainer, config):
    """A trainer at step 0 that has started from a folder."""

    def make(folder, names=DIGITS, **network):
        made = trainer(config(network=network), more={"start": start(folder, names)})
        made.folder.mkdir(parents=True, exist_ok=True)
        made.resume(Checkpoints(made.folder / "checkpoints"))
        return made

    return make


def parameters(network):
    return {name: value.detach() for name, value in network.named_parameters()}


def test_the_weights_are_the_starts_at_step_0_and_so_is_the_average(started, model, config):
    folder = model(config())
    state = started(folder).state
    weights = load_file(folder / OWN)
    assert same(parameters(state.network), weights)
    assert same(parameters(state.ema.module), weights)
    assert not state.optimizer.state


def test_what_was_taken_is_in_the_log_and_the_facts(started, model, config, caplog):
    caplog.set_level(logging.INFO)
    folder = model(config(network={"num_classes": 3, "input_size": 2}), ["7", "fox", "3"])
    made = started(folder)
    facts = made.progress.start
    assert facts["kept"] == ["3", "7"]
    assert facts["new"] == ["0", "1", "2", "4", "5", "6", "8", "9"]
    assert facts["positions"] == ["1x1 -> 2x2", "2x2 -> 4x4"]
    assert (facts["from"], facts["content"]) == ("own/model", content_key(folder))
    lines = caplog.messages
    assert f"starts from own/model (content {content_key(folder)})" in lines
    said = "label embedding: 2 of 10 classes kept by name (3, 7); 8 new (0, 1, 2, 4, 5, 6, 8, 9)"
    assert said in lines
    assert "positions 1x1 -> 2x2, 2x2 -> 4x4, bicubic" in lines
    old, new = load_file(folder / OWN)[LABEL], made.state.network.state_dict()[LABEL]
    assert torch.equal(new[[3, 7, 10]], old[[2, 0, 3]])


def test_new_rows_are_those_of_a_fresh_training(started, model, config, trainer):
    """Whatever the start, a seed gives the same ones."""
    fresh = trainer(config(), "fresh").state.network.state_dict()[LABEL]
    other = [*DIGITS[:9], "ten"]
    found = started(model(config(), other)).state.network.state_dict()[LABEL]
    assert torch.equal(found[9], fresh[9])
    assert not torch.equal(found[0], fresh[0])


def test_an_interrupted_training_is_bitwise_the_whole_one(commands, model, config, tmp_path):
    """It is resumed without the start, which is not read again; its content is in the key."""
    folder = model(config())
    command = commands(**{"from": str(folder)})
    assert command.run("whole", "--start", folder) == [0], command.messages("whole")
    assert command.run("parts", "--start", folder, "--stop-after", "0.001") == [75]
    assert command.run("parts", "--start", folder) == [0]
    assert same_run(tmp_path / "whole", tmp_path / "parts")
    text = command.messages("parts")
    assert text.count("starts from") == 1
    assert f"initial weights came from {folder}; not read again" in text
    records = [read_record(tmp_path / name / "model") for name in ("whole", "parts")]
    assert records[0]["start"] == records[1]["start"]
    assert records[0]["start"]["kept"] == DIGITS
    assert records[0]["config"]["train"]["from"] == str(folder)
    # fresh weights, or others under the same path: other states, other keys
    changed = model(config(), name="changed", seed=1)
    shutil.rmtree(folder)
    shutil.move(changed, folder)
    assert command.run("parts", "--start", folder) == [0]
    assert len(list((tmp_path / "parts/state").iterdir())) == 2
    again = read_record(tmp_path / "parts/model")
    assert again["key"] != records[0]["key"]
    assert "start own/" not in command.messages("parts")
    assert "differs in start" in command.messages("parts")


@pytest.mark.slow
def test_sharded_processes_start_from_the_same(commands, model, config, tmp_path):
    folder = model(config(network={"num_classes": 3, "input_size": 2}), ["7", "fox", "3"])
    command = commands(steps=1, warmup_steps=0, **{"from": str(folder)})
    assert command.run("one", "--start", folder) == [0], command.messages("one")
    for name, more in (("two", ()), ("sharded", ("--sharding", "full"))):
        assert command.run(name, "--start", folder, *more, size=2) == [0, 0], command.messages(name)
        for key, value in weights_of(tmp_path / "one").items():
            torch.testing.assert_close(
                weights_of(tmp_path / name)[key], value, atol=1e-5, rtol=1e-4
            )
        assert command.messages(name).count("label embedding: 2 of 10") == 1


@pytest.mark.slow
def test_the_loss_begins_far_below_that_of_fresh_weights(commands, tmp_path):
    """From the weights of a training on the same data: mean losses of the first 20 steps."""
    teacher = commands(steps=400)
    assert teacher.run("teacher") == [0]
    teacher.config.write_text(yaml.safe_dump(_as_file(steps=20, log_every=20, lr=1e-4)))
    assert teacher.run("fresh") == [0]
    folder = tmp_path / "teacher/model"
    changed = _as_file(steps=20, log_every=20, lr=1e-4, **{"from": str(folder)})
    teacher.config.write_text(yaml.safe_dump(changed))
    assert teacher.run("tuned", "--start", folder) == [0]
    ends = {name: float(log_of(tmp_path / name)[-1]["loss"]) for name in ("fresh", "tuned")}
    assert ends["tuned"] < 0.6 * ends["fresh"], ends


def _as_file(**train):
    return make_config(**train).model_dump(mode="json")


@pytest.mark.parametrize(
    ("train", "given", "message"),
    [
        ({"from": "digits/dimr-xs-2r/0"}, None, "train.from: digits/dimr-xs-2r/0: give its weigh"),
        ({}, "other", "no train.from, but --start"),
        ({"from": "w.pth"}, "w.pth", "train.from: .*w.pth: no such file"),
    ],
)
def test_the_option_belongs_to_the_setting(
    train, given, message, tmp_path, latents, caplog, model, config
):
    model(config())
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(_as_file(**train)))
    words = ["train", "--config", path, "--data", latents, "--out", tmp_path / "out/model",
             "--log-csv", tmp_path / "out/log.csv", "--state", tmp_path / "out/state",
             "--device", "cpu"]  # fmt: skip
    words += ["--start", tmp_path / given] if given else []
    assert main([str(word) for word in words]) == 2
    assert re.search(message, error_in(caplog))
    assert not (tmp_path / "out/model").exists()
