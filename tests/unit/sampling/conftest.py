"""Tiny networks of every family with weights of some size, and a tiny autoencoder."""

import json

import pytest
import torch
from safetensors.torch import save_file

from dimr import build

COMMON = {"input_size": 8, "num_classes": 5}
SIZES = {
    "dimr": {"layers": [1, 1], "dims": [8, 8], "heads": 2, "norm": "rms", **COMMON},
    "uvit": {"depth": 3, "dim": 8, "heads": 2, "patch": 2, **COMMON},
    "dit": {"depth": 2, "dim": 8, "heads": 2, "patch": 2, "learn_sigma": True, **COMMON},
}
SCHEDULES = {"dimr": "latent", "uvit": "pixel", "dit": "linear"}


def complete(family, channels):
    """The content of config.json."""
    time_map = "latent" if channels == 4 else "pixel"
    return {
        "family": family, "schedule": SCHEDULES[family], "channels": channels,
        "time_map": time_map, **SIZES[family],
    }  # fmt: skip


@pytest.fixture
def make_network():
    """A function of family and channels that gives a network and the content of its config."""

    def make(family, channels=3, **changes):
        config = {**complete(family, channels), **changes}
        sizes = {k: v for k, v in config.items() if k not in ("family", "schedule")}
        generator = torch.Generator().manual_seed(0)
        network = build(family, **sizes).eval()
        for name, parameter in network.named_parameters():
            # labels that make a difference
            std = 3.0 if "label" in name else 0.3
            torch.nn.init.normal_(parameter, std=std, generator=generator)
        return network, config

    return make


@pytest.fixture
def model_folder(make_network, tmp_path):
    """A function that writes a run's model folder, as training does, and gives its path."""

    def write(family="dimr", channels=3, record=None, sizes=None, changes=None):
        network, config = make_network(family, channels, **(sizes or {}))
        folder = tmp_path / f"runs/digits/{family}/0/model"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps({**config, **(changes or {})}))
        save_file(network.state_dict(), folder / "diffusion_pytorch_model.safetensors")
        if record is not None:
            (folder / "record.json").write_text(json.dumps(record))
        return folder

    return write
