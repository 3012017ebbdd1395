"""``dimr sample --config``: interrupted and resumed, in shares, in several processes."""

import logging
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.schema import SampleConfig
from dimr.data.autoencoder import load_decoder
from dimr.data.resumable_shards import Assembly
from dimr.data.shards import open_shards, verify
from dimr.runtime.files import read_json
from dimr.sampling import folder as folder_module
from dimr.sampling.folder import SHARD_SIZE, read_samples
from dimr.sampling.model import load_network

from .conftest import draw_all, sampling_of

COUNT, CLASSES = 4 * SHARD_SIZE - 100, 5


class Command:
    """``dimr sample`` of a configuration in ``folder``; ``config`` writes another one."""

    def __init__(self, folder, model, autoencoder):
        self.folder, self.model = folder, model
        self.path = folder / "sample-guided.yaml"
        self.options = ["sample", "--config", self.path, "--model", model, "--threads", 1,
                        "--batch", 10, "--autoencoder", autoencoder]  # fmt: skip
        self.config(count=COUNT)

    def config(self, **changes):
        sampling = sampling_of(**{"seed": 3, "count": 10, "steps": 3, **changes})
        self.path.write_text(sampling.model_dump_json())
        return sampling

    def words(self, name, *more):
        return list(map(str, [*self.options, "--out", self.folder / name, *more]))

    def run(self, name, *more):
        return main(self.words(name, *more))

    def start(self, name, *more):
        command = [sys.executable, "-m", "dimr", *self.words(name, *more)]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)

    def made(self, name, *more):
        """The images after a run that must succeed."""
        assert self.run(name, *more) == 0
        return read_samples(self.folder / name)[0].astype(int)

    def files(self, name):
        own = ("record.json", "provenance.json")
        return {p.name: p.read_bytes() for p in (self.folder / name).iterdir() if p.name not in own}

    def key(self, name, file="manifest"):
        return read_json(self.folder / name / f"{file}.json")["key"]

    def error(self, caplog, name, *more, code=2):
        caplog.clear()
        assert self.run(name, *more) == code
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "\n" not in record.getMessage()
        assert record.exc_info is None
        return record.getMessage()


@pytest.fixture
def command(model_folder, vae, tmp_path):
    model = model_folder("dit", 4, record={"key": "model"}, changes={"schedule": "latent"})
    vae.save_pretrained(tmp_path / "vae")
    return Command(tmp_path, model, tmp_path / "vae")


@pytest.mark.slow
def test_killed_and_shared_out_work_gives_the_same_folder(command, tmp_path, capfd):
    images = command.made("whole")
    assert verify(tmp_path / "whole").count == COUNT
    labels = read_samples(tmp_path / "whole")[1]
    assert np.bincount(labels).tolist() == [COUNT // CLASSES] * CLASSES
    assert images.std() > 10

    process = command.start("killed")
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".killed.part-*/notes/00000.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()
    (left,) = tmp_path.glob(".killed.part-*/store")
    made = {path.name: path.stat().st_mtime_ns for path in left.glob("0000?.npy")}
    assert 1 <= len(made) < 4
    assert command.run("killed") == 0
    assert command.files("killed") == command.files("whole")
    for name, written in made.items():
        assert (tmp_path / "killed" / name).stat().st_mtime_ns == written  # not made again

    for share in ("3/3", "1/3", "2/3"):
        assert command.run("shares", "--shard", share) == 0
        assert not (tmp_path / "shares").exists()
    assert command.run("shares") == 0
    assert command.files("shares") == command.files("whole")

    capfd.readouterr()
    process = command.start("shared", "--processes", 2)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "[1/2]" in said
    assert "[2/2]" in said
    assert "0 shards to do" in said  # what is left for the process that completes
    difference = read_samples(tmp_path / "shared")[0].astype(int) - images
    assert np.abs(difference).max() <= 1
    assert not list(tmp_path.glob(".*"))


def test_a_complete_folder_is_left_alone(command, tmp_path, caplog):
    command.config()
    out = tmp_path / "s"
    assert command.run("s") == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    caplog.set_level("INFO")
    for more in ([], ["--shard", "2/2"]):
        caplog.clear()
        assert command.run("s", *more) == 0
        assert "nothing to do" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".s.part-*"))
    (out / "record.json").unlink()
    assert command.run("s") == 0
    assert (out / "record.json").is_file()


def test_record_and_key(command, tmp_path):
    sampling = command.config()
    assert command.run("s") == 0
    record = read_json(tmp_path / "s/record.json")
    assert record["key"] == section_key(sampling, "model", str(tmp_path / "vae"))
    assert SampleConfig.model_validate_json(command.path.read_text()) == sampling
    assert record["config"] == sampling.model_dump(mode="json")
    assert read_json(tmp_path / "s/provenance.json")["model"]["key"] == "model"
    assert record["engine"] == {"compile": False, "precision": "float32"}
    assert command.key("s") != record["key"]


@pytest.mark.slow
def test_work_with_other_weights_is_not_continued(command):
    command.config(count=SHARD_SIZE + 5)
    weights = command.model / "diffusion_pytorch_model.safetensors"
    assert command.run("s", "--shard", "1/2") == 0
    save_file({name: 1.5 * tensor for name, tensor in load_file(weights).items()}, weights)
    assert command.run("fresh") == command.run("s") == 0
    assert command.files("s") == command.files("fresh")


def test_the_engine_belongs_to_the_work_and_not_to_the_result(command):
    command.config(count=20, steps=4)
    plain = command.made("plain")
    eager = command.made("eager", "--no-compile", "--precision", "float32")
    rounded = command.made("rounded", "--precision", "bfloat16")
    # automatic is float32 on a CPU, and so few are not worth compiling
    assert command.key("plain") == command.key("eager") != command.key("rounded")
    assert len({command.key(name, "record") for name in ("plain", "eager", "rounded")}) == 1
    assert np.array_equal(plain, eager)
    assert 0 < np.abs(rounded - plain).mean() < 10


@pytest.mark.slow
def test_interrupted_compiled_work_resumes_bit_by_bit(command, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "SHARD_SIZE", 15)
    command.config(count=40, steps=4)
    eager, whole = command.made("eager", "--no-compile"), command.made("whole", "--compile")
    assert np.abs(eager - whole).max() <= 1
    assert read_json(tmp_path / "whole/record.json")["engine"]["compile"] is True
    assert command.run("cut", "--compile", "--shard", "2/3") == 0
    (left,) = tmp_path.glob(".cut.part-*/store")
    assert [path.name for path in left.glob("0000?.npy")] == ["00001.npy"]
    assert command.run("cut", "--compile") == 0
    assert command.files("cut") == command.files("whole")


def test_a_configuration_that_changes_meanwhile_is_refused(command, tmp_path, caplog, monkeypatch):
    command.config()
    fill = folder_module.fill

    def slow(*arguments):
        fill(*arguments)
        command.config(seed=4)

    monkeypatch.setattr(folder_module, "fill", slow)
    assert "changed while this stage ran" in command.error(caplog, "s")
    assert not (tmp_path / "s").exists()


def test_a_damaged_shard_of_an_earlier_start_is_made_again(command, tmp_path, caplog):
    command.config(count=SHARD_SIZE + 5)
    assert command.run("s", "--shard", "2/2") == 0
    (shard,) = tmp_path.glob(".s.part-*/store/00001.npy")
    shard.write_bytes(shard.read_bytes()[:-7])
    assert command.run("s") == 0
    assert f"{shard}: has " in caplog.text
    assert verify(tmp_path / "s").count == SHARD_SIZE + 5


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device", "00000.npy"), 3, "no space left on the disk"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "cpu: too little memory for 10 images"),
    ],
)
def test_what_runs_out_is_one_line(error, code, message, command, tmp_path, caplog, monkeypatch):
    command.config()

    def fail(*_):
        raise error

    monkeypatch.setattr(Assembly, "write", fail)
    assert message in command.error(caplog, "s", code=code)
    assert not (tmp_path / "s").exists()
    monkeypatch.undo()
    assert command.run("s") == 0


def test_a_share_that_is_being_made_is_not_made_twice(command, tmp_path, caplog):
    command.config(count=SHARD_SIZE + 5)
    assert command.run("s", "--shard", "1/2") == 0
    (left,) = tmp_path.glob(".s.part-*")
    with FileLock(left / "2-of-2.lock"):
        assert "another process is making" in command.error(caplog, "s", "--shard", "2/2")


def test_each_class_has_as_many(command, tmp_path, caplog):
    command.config(count=12)
    message = command.error(caplog, "s")
    assert "sample-guided.yaml: count: 12 is no multiple of the 5 classes" in message
    assert not list(tmp_path.glob(".s.part-*"))
    command.config(count=12, guidance={"kind": "unconditional"})
    assert command.run("s") == 0
    assert open_shards(tmp_path / "s").manifest.count == 12


def test_a_picture_has_no_shares(command, caplog):
    del command.options[1:3]  # --config
    for more in (["--shard", "1/2"], ["--processes", 2]):
        message = command.error(caplog, "s.png", *more)
        assert "--shard and --processes are for a folder, which needs --config" in message


@pytest.mark.slow
def test_every_guidance_in_pieces(command, tmp_path, monkeypatch):
    """The folder holds what is drawn at once, and no two settings draw the same."""
    monkeypatch.setattr(folder_module, "SHARD_SIZE", 4)
    network, config = load_network(command.model)
    decoder, drawn = load_decoder(tmp_path / "vae"), []
    for number, guidance in enumerate((
        {"kind": "none"},
        {"kind": "constant", "scale": 1.5},
        {"kind": "constant", "scale": 1.5, "channels": 1},
        {"kind": "power_cosine", "scale": 4.0, "power": 2.0},
        {"kind": "power_cosine", "scale": 4.0, "power": 2.0, "channels": 2},
        {"kind": "unconditional"},
    )):  # fmt: skip
        sampling = command.config(steps=4, guidance=guidance)
        assert command.run(str(number), "--shard", "2/2") == 0
        images = command.made(str(number))
        assert images.shape == (10, 16, 16, 3)
        whole = draw_all(network, config, sampling, decode=decoder)
        assert np.abs(images - whole).max() <= 1
        assert all((images != other).mean() > 0.01 for other in drawn)
        drawn.append(images)


def test_another_autoencoder_is_another_result(command, vae, tmp_path):
    command.config()
    assert command.run("s") == 0
    with torch.no_grad():
        bias = vae.decoder.conv_out.bias.clone()
        vae.decoder.conv_out.bias += 0.1
        vae.save_pretrained(tmp_path / "other")
        vae.decoder.conv_out.bias.copy_(bias)
    assert command.run("t", "--autoencoder", tmp_path / "other") == 0
    for file in ("manifest", "record"):
        assert command.key("s", file) != command.key("t", file)
