"""Tiny networks of every family with weights of some size, as run folders, and what they draw.

Networks of text learned from captions of digits, by the encoder ``words``.
"""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import dimr
from dimr.config.schema import SampleConfig, Words
from dimr.config.variants import check_network
from dimr.data.autoencoder import to_uint8
from dimr.data.text.encoders import DESCRIPTION
from dimr.data.text.words import WordsEncoder, describe
from dimr.runtime.files import write_json
from dimr.sampling.sampler import Sampler, in_batches

COMMON = {"input_size": 8, "num_classes": 5}
SIZES = {
    "dimr": {"layers": [1, 1], "dims": [8, 8], "heads": 2, "norm": "rms", **COMMON},
    "uvit": {"depth": 3, "dim": 8, "heads": 2, "patch": 2, **COMMON},
    "dit": {"depth": 2, "dim": 8, "heads": 2, "patch": 2, "learn_sigma": True, **COMMON},
}
TEXTS = ("a three to the left of a seven", "an eight above a two", "a one below a nine")
WORDS = Words(kind="words", width=8, tokens=9)
SCHEDULES = {"dimr": "latent", "uvit": "pixel", "dit": "linear"}


def complete(family, channels):
    """The content of config.json."""
    time_map = "latent" if channels == 4 else "pixel"
    return {
        "family": family, "schedule": SCHEDULES[family], "channels": channels,
        "time_map": time_map, **SIZES[family],
    }  # fmt: skip


def sampling_of(**changes):
    """12 images of 5 classes in 6 guided steps."""
    values = {
        "seed": 1, "count": 12, "steps": 6, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.5}, **changes,
    }  # fmt: skip
    return SampleConfig.model_validate_json(json.dumps(values))


def draw_all(called, config, sampling, *, batch=12, indices=None, decode=to_uint8):
    """All images of a configuration, or those of ``indices``, as signed numbers."""
    config = config if not isinstance(config, dict) else check_network(config, "test")
    numbers = range(sampling.count) if indices is None else indices
    sampler = Sampler(called, config, sampling, decode, torch.device("cpu"))
    return np.concatenate(list(sampler.draw(in_batches(numbers, batch)))).astype(int)


def text_sizes():
    """What a network of text is told in place of classes."""
    return {"num_classes": 0, "text_dim": WORDS.width, "text_tokens": WORDS.tokens}


def words_encoder(texts=TEXTS, section=WORDS):
    return WordsEncoder(describe(section, texts))


@pytest.fixture
def make_network():
    """A function of family and channels that gives a network and the content of its config."""

    def make(family, channels=3, **changes):
        config = {**complete(family, channels), **changes}
        sizes = {k: v for k, v in config.items() if k not in ("family", "schedule")}
        generator = torch.Generator().manual_seed(0)
        network = dimr.build(family, **sizes).eval()
        for name, parameter in network.named_parameters():
            # labels that make a difference
            std = 3.0 if "label" in name or "text" in name else 0.3
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


@pytest.fixture
def text_folder(model_folder):
    """A function that writes the model folder of a network of text, with its encoder."""

    def write(family="dimr", channels=3, record=None, encoder=None):
        folder = model_folder(family, channels, record, text_sizes())
        write_json(folder / DESCRIPTION, (encoder or words_encoder()).description)
        return folder

    return write


def quiet(pipe):
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make_pipe(network, config, vae=None):
    model = dimr.DiMRModel.from_network(network, config["schedule"])
    return quiet(dimr.DiMRPipeline(model, dimr.AuthorsDPMSolver(config["schedule"]), vae))


def draw(pipe, labels=(1, 2, 4), **options):
    """What the solver ends with, from one seed."""
    options = {"generator": torch.Generator().manual_seed(0), "output_type": "latent", **options}
    return pipe(labels, **options).images


@pytest.fixture
def pixel_pipe(make_network):
    return make_pipe(*make_network("dimr", 3))
