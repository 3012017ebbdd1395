"""Published autoencoders, from a folder or the hub, kept as safetensors."""

import shutil

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from safetensors.torch import load_file, save_file
from tests.support.messages import error_in

from dimr.cli import main
from dimr.data.autoencoder import WEIGHTS, load_autoencoder, save_pretrained
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json

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
    """Save as ``out``; return the facts."""

    def run(repo, revision=None):
        (tmp_path / "out").mkdir(exist_ok=True)
        return save_pretrained(str(repo), revision, tmp_path / "out")

    return run


def refused(fetch, *arguments):
    with pytest.raises(DimrError, match=r"^[^\n]*$") as caught:
        fetch(*arguments)
    return str(caught.value)


def test_a_folder_is_kept(published, fetch, tmp_path):
    folder, weights = published
    facts = fetch(folder)
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {"config.json", WEIGHTS}
    kept = load_file(out / WEIGHTS)
    assert set(kept) == set(weights)  # by the names of today
    assert all(torch.equal(kept[name], tensor) for name, tensor in weights.items())
    assert load_autoencoder(out).config.scaling_factor == 0.18215
    count = sum(tensor.numel() for tensor in weights.values())
    assert facts == {"commit": None, "params": count, "scaling_factor": 0.18215}


@pytest.mark.parametrize("revision", [None, "31f26fd"])
def test_the_hub_is_asked_for_the_revision(published, fetch, monkeypatch, revision):
    asked = []

    def download(repo, **arguments):
        asked.append((repo, arguments["revision"], sorted(arguments["allow_patterns"])))
        return str(published[0])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert fetch("stabilityai/sd-vae-ft-ema", revision)["commit"] == COMMIT
    assert asked == [("stabilityai/sd-vae-ft-ema", revision, ["config.json", WEIGHTS])]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("x"), "the hub cannot be reached and it is not in"),
        (OSError("cut\noff"), "not downloaded (OSError: cut off)"),
    ],
)
def test_what_fails_is_one_line(fetch, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    found = refused(fetch, "who/what")
    assert f"hub: who/what: {message}" in found
    assert "by hand" in found


@pytest.mark.parametrize(
    ("repo", "revision", "message"),
    [
        ("none", None, "none: no such folder, and not a hub name (owner/name)"),
        ("/none/at/all", None, "/none/at/all: no such folder"),
        ("..", "main", "..: is a folder: revision 'main' is for the hub"),
    ],
)
def test_what_is_no_repository(fetch, repo, revision, message):
    assert message in refused(fetch, repo, revision)


def test_a_damaged_download_names_the_repository(published, fetch, tmp_path, monkeypatch):
    folder = tmp_path / "cache" / COMMIT
    shutil.copytree(published[0], folder)
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-100])
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *_, **__: str(folder))
    assert refused(fetch, "who/what").startswith("who/what: not a loadable autoencoder")


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"kind": "trained", "channels": [8], "steps": 1, "batch": 1, "lr": 0.1, "seed": 0}, 2),
        ({"kind": "identity", "channels": 3}, 0),
    ],
)
def test_only_a_trained_one_needs_images(config, code, tmp_path, caplog):
    (tmp_path / "autoencoder.yaml").write_text(yaml.safe_dump(config))
    assert main(["autoencoder", "--config", str(tmp_path / "autoencoder.yaml"),
                 "--out", str(tmp_path / "out")]) == code  # fmt: skip
    if code:
        assert "--images: is needed" in error_in(caplog)
    else:
        assert read_json(tmp_path / "out/record.json")["channels"] == 3
