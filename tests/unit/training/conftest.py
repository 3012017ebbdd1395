"""A tiny network and tiny data, so that a training step takes milliseconds."""

import numpy as np
import pytest

from dimr.data.shards import write_shards
from dimr.files import write_json
from dimr.settings import TrainPhase

PHASE = {
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


def make_phase(**train):
    return TrainPhase.model_validate_json(
        __import__("json").dumps({**PHASE, "train": {**PHASE["train"], **train}})
    )


@pytest.fixture
def phase():
    return make_phase


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
    write_json(folder / "record.json", {"key": "test"})
    return folder
