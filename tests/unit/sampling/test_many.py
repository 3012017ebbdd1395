"""``dimr sample`` as the workflow calls it: killed and resumed, in parts, in several processes."""

import copy
import json
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
from dimr.config.runs import section_key
from dimr.config.schema import SampleConfig
from dimr.data.autoencoder import load_decoder
from dimr.data.resumable_shards import Assembly
from dimr.data.shards import open_shards, verify
from dimr.runtime.files import read_json
from dimr.sampling import folder as folder_module
from dimr.sampling.folder import SHARD_SIZE, read_samples
from dimr.sampling.generate import generate, load_network

COUNT, CLASSES = 4 * SHARD_SIZE - 100, 5
CONSTANT = {"kind": "constant", "scale": 0.5}


@pytest.fixture
def asked(model_folder, vae, tmp_path):
    """The command's arguments but for ``--out``, and a function that writes another phase."""
    model = model_folder("dit", 4, record={"key": "model"}, changes={"schedule": "latent"})
    vae.save_pretrained(tmp_path / "vae")
    config = tmp_path / "sample-guided.yaml"

    def write(**changes):
        phase = {"seed": 3, "count": COUNT, "steps": 3, "solver": "authors", "guidance": CONSTANT}
        config.write_text(json.dumps({**phase, **changes}))
        return config

    write()
    common = ["sample", "--config", config, "--model", model, "--threads", 1, "--batch", 10,
              "--autoencoder", tmp_path / "vae"]  # fmt: skip
    return [str(argument) for argument in common], write


def run(asked, out, *more):
    return main([*asked[0], "--out", str(out), *map(str, more)])


def start(asked, out, *more):
    command = [sys.executable, "-m", "dimr", *asked[0], "--out", str(out), *map(str, more)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def images_of(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "record.json"}


def error_of(caplog, asked, out, *more, code=2):
    caplog.clear()
    assert run(asked, out, *more) == code
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert "\n" not in record.getMessage()
    assert record.exc_info is None
    return record.getMessage()


@pytest.mark.slow
def test_killed_split_and_shared_out_work_gives_the_same_folder(asked, tmp_path, capfd):
    whole = tmp_path / "whole"
    assert run(asked, whole) == 0
    assert verify(whole).count == COUNT
    images, labels = read_samples(whole)
    assert np.bincount(labels).tolist() == [COUNT // CLASSES] * CLASSES
    assert images.std() > 10

    killed = tmp_path / "killed"
    process = start(asked, killed)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".killed.part-*/notes/00000.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not killed.exists()
    (left,) = tmp_path.glob(".killed.part-*/store")
    made = {path.name: path.stat().st_mtime_ns for path in left.glob("0000?.npy")}
    assert 1 <= len(made) < 4
    assert run(asked, killed) == 0
    assert images_of(killed) == images_of(whole)
    for name, written in made.items():
        assert (killed / name).stat().st_mtime_ns == written  # not made again

    parts = tmp_path / "parts"
    for part in ("3/3", "1/3", "2/3"):
        assert run(asked, parts, "--part", part) == 0
        assert not parts.exists()
    assert run(asked, parts) == 0
    assert images_of(parts) == images_of(whole)

    capfd.readouterr()
    shared = tmp_path / "shared"
    process = start(asked, shared, "--processes", 2)
    said = process.communicate()[1]
    assert process.returncode == 0, said
    assert "[1/2]" in said
    assert "[2/2]" in said
    assert "0 shards to do" in said  # what is left for the process that completes
    difference = read_samples(shared)[0].astype(int) - images
    assert np.abs(difference).max() <= 1
    assert {path.name for path in tmp_path.iterdir() if path.name.startswith(".")} == set()


def test_a_folder_that_is_there_is_left_alone(asked, tmp_path, caplog):
    asked[1](count=10)
    out = tmp_path / "s"
    assert run(asked, out) == 0
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    caplog.set_level("INFO")
    for more in ([], ["--part", "2/2"]):
        caplog.clear()
        assert run(asked, out, *more) == 0
        assert "nothing to do" in caplog.text
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    assert not list(tmp_path.glob(".s.part-*"))
    (out / "record.json").unlink()
    assert run(asked, out) == 0
    assert (out / "record.json").is_file()


def test_record_and_key(asked, tmp_path):
    config = asked[1](count=10)
    assert run(asked, tmp_path / "s") == 0
    record = read_json(tmp_path / "s/record.json")
    phase = SampleConfig.model_validate_json(config.read_text())
    # as dimr.sharing.adopt expects it, of an autoencoder that the workflow made
    assert record["key"] == section_key(phase, "model", str(tmp_path / "vae"))
    assert record["config"] == phase.model_dump(mode="json")
    assert record["model"]["key"] == "model"
    assert record["engine"] == {"compile": False, "precision": "float32"}
    assert read_json(tmp_path / "s/manifest.json")["key"] != record["key"]


def test_work_with_other_weights_is_not_continued(asked, tmp_path):
    asked[1](count=SHARD_SIZE + 5)
    weights = tmp_path / "runs/digits/dit/0/model/diffusion_pytorch_model.safetensors"
    assert run(asked, tmp_path / "s", "--part", "1/2") == 0
    tensors = load_file(weights)
    save_file({name: 1.5 * tensor for name, tensor in tensors.items()}, weights)
    assert run(asked, tmp_path / "fresh") == 0
    assert run(asked, tmp_path / "s") == 0
    assert images_of(tmp_path / "s") == images_of(tmp_path / "fresh")


def test_options_of_the_engine_are_of_the_work_and_not_of_the_result(asked, tmp_path):
    asked[1](count=20, steps=4)
    records, images, keys = [], [], set()
    for name, options in {
        "plain": [],
        "eager": ["--no-compile", "--precision", "float32"],
        "rounded": ["--precision", "bfloat16"],
    }.items():
        assert run(asked, tmp_path / name, *options) == 0
        records.append(read_json(tmp_path / name / "record.json"))
        keys.add(read_json(tmp_path / name / "manifest.json")["key"])
        images.append(read_samples(tmp_path / name)[0].astype(int))
    assert [record["engine"]["precision"] for record in records] == ["float32"] * 2 + ["bfloat16"]
    assert len({record["key"] for record in records}) == 1
    assert len(keys) == 2  # automatic is float32 on a CPU, and so few are not worth compiling
    assert np.array_equal(images[0], images[1])
    assert 0 < np.abs(images[2] - images[0]).mean() < 10


@pytest.mark.slow
def test_compiled_work_that_was_cut_goes_on_bit_by_bit(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(folder_module, "SHARD_SIZE", 15)
    asked[1](count=40, steps=4)
    assert run(asked, tmp_path / "eager", "--no-compile") == 0
    assert run(asked, tmp_path / "whole", "--compile") == 0
    assert read_json(tmp_path / "whole/record.json")["engine"]["compile"] is True
    assert run(asked, tmp_path / "cut", "--compile", "--part", "2/3") == 0
    (left,) = tmp_path.glob(".cut.part-*/store")
    assert [path.name for path in left.glob("0000?.npy")] == ["00001.npy"]
    assert run(asked, tmp_path / "cut", "--compile") == 0
    assert images_of(tmp_path / "cut") == images_of(tmp_path / "whole")
    folders = [read_samples(tmp_path / name)[0].astype(int) for name in ("eager", "whole")]
    assert np.abs(folders[0] - folders[1]).max() <= 1


def test_a_configuration_that_changes_meanwhile_is_refused(asked, tmp_path, caplog, monkeypatch):
    asked[1](count=10)
    fill = folder_module.fill

    def slow(*arguments):
        fill(*arguments)
        asked[1](count=10, seed=4)

    monkeypatch.setattr(folder_module, "fill", slow)
    assert "changed while this step ran" in error_of(caplog, asked, tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_damaged_shard_of_an_earlier_start_is_made_again(asked, tmp_path, caplog):
    asked[1](count=SHARD_SIZE + 5)
    assert run(asked, tmp_path / "s", "--part", "2/2") == 0
    (shard,) = tmp_path.glob(".s.part-*/store/00001.npy")
    shard.write_bytes(shard.read_bytes()[:-7])
    assert run(asked, tmp_path / "s") == 0
    assert f"{shard}: has " in caplog.text
    assert verify(tmp_path / "s").count == SHARD_SIZE + 5


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(28, "No space left on device", "00000.npy"), 3, "no space left on the disk"),
        (torch.OutOfMemoryError("CUDA out of memory"), 2, "cpu: too little memory for 10 images"),
    ],
)
def test_what_runs_out_is_one_line(error, code, message, asked, tmp_path, caplog, monkeypatch):
    asked[1](count=10)

    def fail(*_):
        raise error

    monkeypatch.setattr(Assembly, "write", fail)
    assert message in error_of(caplog, asked, tmp_path / "s", code=code)
    assert not (tmp_path / "s").exists()
    monkeypatch.undo()
    assert run(asked, tmp_path / "s") == 0


def test_a_part_that_is_being_made_is_not_made_twice(asked, tmp_path, caplog):
    asked[1](count=SHARD_SIZE + 5)
    assert run(asked, tmp_path / "s", "--part", "1/2") == 0
    (left,) = tmp_path.glob(".s.part-*")
    with FileLock(left / "2-of-2.lock"):
        message = error_of(caplog, asked, tmp_path / "s", "--part", "2/2")
    assert "another process is making part 2/2" in message


def test_each_class_has_as_many(asked, tmp_path, caplog):
    asked[1](count=12)
    message = error_of(caplog, asked, tmp_path / "s")
    assert "sample-guided.yaml: count: 12 is no multiple of the 5 classes" in message
    assert not list(tmp_path.glob(".s.part-*"))
    asked[1](count=12, guidance={"kind": "unconditional"})
    assert run(asked, tmp_path / "s") == 0
    assert open_shards(tmp_path / "s").manifest.count == 12


def test_a_picture_has_no_parts(asked, tmp_path, caplog):
    picture = [asked[0][0], *asked[0][3:]], None
    for more in (["--part", "1/2"], ["--processes", 2]):
        message = error_of(caplog, picture, tmp_path / "s.png", *more)
        assert "--part and --processes are for a folder, which needs --config" in message


def test_every_guidance_in_pieces(asked, tmp_path, monkeypatch):
    """The folder holds what ``generate`` draws at once, and no two settings draw the same."""
    monkeypatch.setattr(folder_module, "SHARD_SIZE", 4)
    network, sizes = load_network(tmp_path / "runs/digits/dit/0/model")
    settings = [
        {"kind": "none"},
        {"kind": "constant", "scale": 1.5},
        {"kind": "constant", "scale": 1.5, "channels": 1},
        {"kind": "power_cosine", "scale": 4.0, "power": 2.0},
        {"kind": "power_cosine", "scale": 4.0, "power": 2.0, "channels": 2},
        {"kind": "unconditional"},
    ]
    drawn = []
    for number, guidance in enumerate(settings):
        config = asked[1](count=10, steps=4, guidance=guidance)
        out = tmp_path / str(number)
        assert run(asked, out, "--part", "2/2") == 0
        assert run(asked, out) == 0
        phase = SampleConfig.model_validate_json(config.read_text())
        options = {"batch": 10, "device": torch.device("cpu")}
        decoder = load_decoder(tmp_path / "vae")
        whole = np.concatenate(list(generate(network, sizes, phase, decoder, **options)))
        images = read_samples(out)[0]
        assert np.abs(images.astype(int) - whole).max() <= 1
        assert all((images != other).mean() > 0.01 for other in drawn)
        drawn.append(images)


def test_latents_are_decoded_to_the_size_that_was_planned(model_folder, vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    model = model_folder("dit", 4, record={"key": "m"}, changes={"schedule": "latent"})
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({
        "seed": 0, "count": 5, "steps": 3, "solver": "authors", "guidance": CONSTANT,
    }))  # fmt: skip
    arguments = ["sample", "--config", config, "--model", model, "--autoencoder"], None
    assert run(([*map(str, arguments[0]), str(tmp_path / "vae")], None), tmp_path / "s") == 0
    assert read_samples(tmp_path / "s")[0].shape == (5, 16, 16, 3)
    first = read_json(tmp_path / "s/manifest.json")["key"]
    other = copy.deepcopy(vae)
    other.decoder.conv_out.bias.data += 0.1
    other.save_pretrained(tmp_path / "other")
    assert run(([*map(str, arguments[0]), str(tmp_path / "other")], None), tmp_path / "t") == 0
    assert read_json(tmp_path / "t/manifest.json")["key"] != first
    keys = {read_json(tmp_path / name / "record.json")["key"] for name in "st"}
    assert len(keys) == 2  # another autoencoder, another result


def test_help_is_about_parts(capsys):
    with pytest.raises(SystemExit):
        main(["sample", "--help"])
    shown = capsys.readouterr().out
    assert "--part I/N" in shown
    assert "--processes N" in shown
