"""``dimr autoencoder`` of kind pretrained: from a folder or the hub, kept as safetensors."""

import shutil

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tests.support.messages import error_in

from dimr.cli import main
from dimr.config.runs import section_key
from dimr.config.schema import Pretrained
from dimr.data.autoencoder import load_autoencoder
from dimr.runtime.files import read_json, write_json

WEIGHTS = "diffusion_pytorch_model.safetensors"
COMMIT = "f04b2c4b98319346dad8c65879f680b1997b204a"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A folder as the hub has it: attention by its names of 2022, no scaling factor."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, sample_size=32,
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("hub") / COMMIT
    vae.save_pretrained(folder)
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    weights = load_file(folder / WEIGHTS)
    renamed = {}
    for name, tensor in weights.items():
        for new, before in old.items():
            name = name.replace(f".{new}.", f".{before}.")
        renamed[name] = tensor
    assert set(renamed) != set(weights)
    save_file(renamed, folder / WEIGHTS, metadata={"format": "pt"})
    keys = ("_class_name", "block_out_channels", "down_block_types", "up_block_types",
            "latent_channels", "layers_per_block", "norm_num_groups", "sample_size")  # fmt: skip
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {key: config[key] for key in keys})
    return folder, weights


@pytest.fixture
def fetch(tmp_path):
    """Run the command; return its exit code."""

    def run(repo, revision=None):
        config = {"kind": "pretrained", "repo": str(repo), "revision": revision}
        (tmp_path / "autoencoder.yaml").write_text(yaml.safe_dump(config))
        return main(["autoencoder", "--config", str(tmp_path / "autoencoder.yaml"),
                     "--out", str(tmp_path / "out")])  # fmt: skip

    return run


def test_a_folder_is_kept(published, fetch, tmp_path):
    folder, weights = published
    assert fetch(folder) == 0
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"config.json", WEIGHTS, "record.json"}
    kept = load_file(out / WEIGHTS)
    assert set(kept) == set(weights)  # by the names of today
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights.items())
    assert load_autoencoder(out).config.scaling_factor == 0.18215
    record = read_json(out / "record.json")
    section = Pretrained(kind="pretrained", repo=str(folder))
    assert record["key"] == section_key(section)
    assert (record["kind"], record["repo"], record["commit"]) == (
        *("pretrained", str(folder)),
        None,
    )
    assert record["params"] == sum(tensor.numel() for tensor in weights.values())


@pytest.mark.parametrize("revision", [None, "31f26fd"])
def test_the_hub_is_asked_for_the_revision(published, fetch, tmp_path, monkeypatch, revision):
    asked = []

    def download(repo, **arguments):
        asked.append((repo, arguments["revision"], sorted(arguments["allow_patterns"])))
        return str(published[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch("stabilityai/sd-vae-ft-ema", revision) == 0
    assert asked == [("stabilityai/sd-vae-ft-ema", revision, ["config.json", WEIGHTS])]
    record = read_json(tmp_path / "out/record.json")
    assert (record["revision"], record["commit"]) == (revision, COMMIT)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("x"), "the hub cannot be reached and it is not in"),
        (OSError("cut\noff"), "not downloaded (OSError: cut off)"),
    ],
)
def test_what_fails_is_one_line(fetch, tmp_path, caplog, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert fetch("who/what") == 2
    found = error_in(caplog)
    assert f"hub: who/what: {message}" in found
    assert "by hand" in found
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        ("none", None, "none: no such folder, and not a hub name (owner/name)"),
        ("/none/at/all", None, "/none/at/all: no such folder"),
        ("..", "main", "..: is a folder: revision 'main' is for the hub"),
    ],
)
def test_what_is_no_repository(fetch, caplog, repo, revision, message):
    assert fetch(repo, revision) == 2
    assert message in error_in(caplog)


def test_a_damaged_download_names_the_repository(published, fetch, tmp_path, caplog, monkeypatch):
    folder = tmp_path / "cache" / COMMIT
    shutil.copytree(published[0], folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    assert fetch("who/what") == 2
    assert error_in(caplog).startswith("dimr: who/what: not a loadable autoencoder")
    assert not (tmp_path / "out").exists()


def test_a_trained_one_needs_images(tmp_path, caplog):
    config = {"kind": "trained", "channels": [8], "steps": 1, "batch": 1, "lr": 0.1, "seed": 0}
    (tmp_path / "autoencoder.yaml").write_text(yaml.safe_dump(config))
    assert main(["autoencoder", "--config", str(tmp_path / "autoencoder.yaml"),
                 "--out", str(tmp_path / "out")]) == 2  # fmt: skip
    assert "--images: is needed" in error_in(caplog)


def test_pixels_need_none(tmp_path):
    (tmp_path / "autoencoder.yaml").write_text("{kind: identity, channels: 3}")
    assert main(["autoencoder", "--config", str(tmp_path / "autoencoder.yaml"),
                 "--out", str(tmp_path / "out")]) == 0  # fmt: skip
    assert read_json(tmp_path / "out/record.json")["channels"] == 3
