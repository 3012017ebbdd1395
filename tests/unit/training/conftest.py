"""A tiny network and tiny data, so that a training step takes milliseconds."""

import csv
import json

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tests.support.forks import Server
from tests.support.shards import write_shards
from tests.support.train_commands import Commands

from dimr.config.schema import TrainConfig
from dimr.data.reader import ShardReader
from dimr.runtime.files import read_json, write_json
from dimr.runtime.record import seal
from dimr.training import Engine
from dimr.training.checkpoint import checksum
from dimr.training.distributed import World
from dimr.training.loop import Trainer, train
from dimr.training.state_folder import begin, state_folder
from dimr.training.stopping import Limits

WORLD = World(torch.device("cpu"))
CONFIG = {
    "dataset": "digits",
    "seed": 3,
    "network": {
        "family": "dimr", "layers": [1, 1], "dims": [8, 8], "heads": 2, "norm": "rms",
        "input_size": 4, "channels": 4, "num_classes": 10, "time_map": "latent",
        "schedule": "latent",
    },
    "train": {
        "steps": 30, "batch": 8, "lr": 1e-3, "betas": [0.9, 0.99], "weight_decay": 0.03,
        "warmup_steps": 5, "ema_decay": 0.9, "label_dropout": 0.2, "grad_clip": None,
        "compile": False, "log_every": 7, "objective": "noise",
    },
}  # fmt: skip


def make_config(network=None, **train):
    own, network = CONFIG["network"], network or {}
    if network.get("family", "dimr") != "dimr":
        own = {key: own[key] for key in ("input_size", "channels", "num_classes", "time_map",
                                         "schedule")}  # fmt: skip
    changed = {"network": own | network, "train": CONFIG["train"] | train}
    return TrainConfig.model_validate_json(json.dumps(CONFIG | changed))


@pytest.fixture
def config():
    return make_config


@pytest.fixture(scope="session")
def latents(tmp_path_factory):
    """40 posterior moments (mean and std of 4 x 4 x 4), in two shards."""
    folder = tmp_path_factory.mktemp("data") / "latents"
    draw = np.random.default_rng(0)
    moments = np.concatenate(
        [draw.normal(size=(40, 4, 4, 4)), draw.uniform(0.1, 0.2, size=(40, 4, 4, 4))], axis=1
    )
    write_shards(
        folder,
        [moments.astype(np.float32)],
        np.arange(40) % 10,
        kind="posterior",
        classes=10,
        class_names=list("0123456789"),
        scaling_factor=1.0,
        key="test",
        shard_size=25,
    )
    seal(folder, "latents", {"key": "test"})
    return folder


class Source:
    """Batches from step ``first`` on; ``events``: what is called once before a step's batch."""

    def __init__(self, reader, events, first=0):
        self.reader, self.events, self.first = reader, events, first

    def batch(self, step):
        assert step >= self.first
        self.events.pop(step, lambda: None)()
        return self.reader.batch(step)


def pull():
    raise RuntimeError("pulled")


NEVER = float("inf")
"""As the first step of a source: no batch is requested."""


@pytest.fixture
def trainer(tmp_path, latents):
    """A trainer in ``tmp_path / name``.

    ``data``: the state lies in one of several folders, as a command has it. With ``events``,
    batches are made when they are wanted, so that these happen at a known step.
    """

    def make(config, name="a", *, events=None, first=0, data="", more=None, **engine):
        source = Source(ShardReader(latents, config.train.batch, config.seed), events or {}, first)
        engine = Engine(**{"prefetch": not events, **engine})
        state = tmp_path / name / "state"
        if data:
            state = state_folder(state, config, data)
            begin(state, config, data)
        return Trainer(config, source, state, WORLD, data=data, engine=engine, **(more or {}))

    return make


@pytest.fixture
def run(tmp_path, trainer):
    """Train and export in this process; returns the final weights."""

    def start(config, name="a", limits=None, code="", **how):
        folder, made = tmp_path / name, trainer(config, name, more={"code": code}, **how)
        train(made, limits or Limits(), folder / "model", folder / "log.csv", "key")
        return weights_of(folder)

    return start


def forget(state, *facts):
    """Checkpoints as code wrote them that did not know these facts."""
    for manifest in state.glob("checkpoints/*/manifest.json"):
        content = read_json(manifest)["content"]
        for fact in facts:
            del content["facts"][fact]
        write_json(manifest, {"sha256": checksum(content), "content": content})


def weights_of(folder):
    """The weights that a training left."""
    return load_file(folder / "model/diffusion_pytorch_model.safetensors")


def log_of(folder):
    """Its log without the columns of times."""
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    timed = ("images_per_second", "tflops", "mfu", "memory_gb", "seconds")
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


def same(a, b):
    """Bitwise."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def same_run(one, other):
    """Bitwise the same weights, and the same lines of the log."""
    return same(weights_of(one), weights_of(other)) and log_of(one) == log_of(other)


@pytest.fixture(scope="session")
def server():
    """Starts ``dimr`` in real processes, in milliseconds."""
    server = Server()
    yield server
    server.close()


@pytest.fixture
def commands(tmp_path, latents, server):
    """Configure ``Commands``: ``commands(steps=...)``."""

    def configure(**train):
        config = tmp_path / "train.yaml"
        config.write_text(yaml.safe_dump(make_config(**train).model_dump(mode="json")))
        return Commands(server, config, latents, tmp_path)

    return configure
