"""Training of the small autoencoder: what it learns, writes and depends on."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from dimr.config.schema import Autoencoder
from dimr.data import train_autoencoder as module
from dimr.data.autoencoder import WEIGHTS, encode_moments, load_autoencoder, reconstruct
from dimr.data.train_autoencoder import train_autoencoder
from dimr.runtime.errors import DimrError, TrainingFailed


def config(**changes: Any) -> Autoencoder:
    settings = {"channels": (8, 8, 16), "steps": 3, "batch": 4, "lr": 1e-3, "seed": 0}
    return Autoencoder(kind="trained", **(settings | changes))


def blobs(count: int, seed: int) -> np.ndarray:
    """Grey images (count, 16, 16, 3) of one soft blob each."""
    y, x = np.random.default_rng(seed).uniform(4, 12, (2, count, 1, 1))
    rows, columns = np.mgrid[:16, :16]
    grey = 255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 12)
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)


IMAGES, HELDOUT = blobs(64, seed=0), blobs(16, seed=1)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("autoencoder") / "vae"
    return out, train_autoencoder(IMAGES, HELDOUT, out, config(steps=80, batch=16, lr=5e-3))


@pytest.mark.slow
def test_training_learns(trained: tuple[Path, dict[str, Any]]) -> None:
    out, report = trained
    blank = np.square((HELDOUT - HELDOUT.mean(axis=0)) / 255).mean()  # error of the mean image
    assert report["mse_heldout"] < 0.3 * blank
    found = reconstruct(load_autoencoder(out), HELDOUT)
    error = np.square(found / 255.0 - HELDOUT / 255.0).mean()
    assert report["mse_heldout"] == pytest.approx(error, rel=1e-3)
    assert report["psnr_heldout"] == pytest.approx(-10 * np.log10(error), abs=0.01)


def test_scaled_latents_have_unit_std(trained: tuple[Path, dict[str, Any]]) -> None:
    vae = load_autoencoder(trained[0])
    mean, std = np.split(encode_moments(vae, IMAGES), 2, axis=1)
    noise = np.random.default_rng(5).standard_normal(mean.shape)
    scaled = vae.config.scaling_factor * (mean + std * noise)
    assert scaled.std() == pytest.approx(1, abs=0.05)
    assert json.loads((trained[0] / "config.json").read_text())["scaling_factor"] == pytest.approx(
        trained[1]["scaling_factor"]
    )


def test_folder_holds_report_and_picture(trained: tuple[Path, dict[str, Any]]) -> None:
    out, report = trained
    names = {"config.json", WEIGHTS, "reconstruction.json", "reconstruction.png"}
    assert {path.name for path in out.iterdir()} == names
    assert json.loads((out / "reconstruction.json").read_text()) == report
    assert all(isinstance(value, int | float) for value in report.values())
    weights = load_file(out / WEIGHTS)
    assert report["params"] == sum(tensor.numel() for tensor in weights.values())
    with Image.open(out / "reconstruction.png") as image:
        assert image.size[0] > 12 * 48


def test_training_is_a_function_of_the_seed_only(tmp_path: Path) -> None:
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        before = torch.get_rng_state()
        train_autoencoder(IMAGES, HELDOUT, tmp_path / name, config(seed=seed))
        assert torch.equal(before, torch.get_rng_state())
        runs[name] = (tmp_path / name / WEIGHTS).read_bytes()
        torch.rand(3)  # the global generator must not matter
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(TrainingFailed, match=r"autoencoder: the loss is (nan|inf) at step"):
        train_autoencoder(IMAGES, HELDOUT, tmp_path / "a", config(lr=1e30))
    for images in (IMAGES.astype(np.float32), IMAGES[:, :15]):
        with pytest.raises(DimrError, match=r"images: .*multiples of 4"):
            train_autoencoder(images, HELDOUT, tmp_path / "a", config())

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "write_json", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(IMAGES, HELDOUT, tmp_path / "a", config(steps=1))
    assert list(tmp_path.iterdir()) == []
