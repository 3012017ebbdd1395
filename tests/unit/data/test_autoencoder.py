import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from dimr.data import autoencoder
from dimr.data.autoencoder import (
    decode,
    encode_moments,
    load_autoencoder,
    reconstruct,
    train_autoencoder,
)
from dimr.runtime.errors import DimrError, TrainingFailed

SETTINGS: dict[str, Any] = {"steps": 3, "batch": 4, "lr": 1e-3, "channels": (8, 8, 16), "seed": 0}
WEIGHTS = "diffusion_pytorch_model.safetensors"


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
    settings = SETTINGS | {"steps": 80, "batch": 16, "lr": 5e-3}
    return out, train_autoencoder(IMAGES, HELDOUT, out, **settings)


@pytest.fixture(scope="module")
def vae(trained: tuple[Path, dict[str, Any]]) -> Any:
    return load_autoencoder(trained[0])


@pytest.fixture
def copy(trained: tuple[Path, dict[str, Any]], tmp_path: Path) -> Path:
    out = tmp_path / "vae"
    out.mkdir()
    for path in trained[0].iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def to_model(images: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(images.transpose(0, 3, 1, 2) / np.float32(255)) * 2 - 1


def test_shapes_and_factor(vae: Any) -> None:
    moments = encode_moments(vae, HELDOUT[:5])
    assert (moments.shape, moments.dtype) == ((5, 8, 4, 4), np.float32)
    images = decode(vae, moments[:, :4])
    assert (images.shape, images.dtype) == ((5, 16, 16, 3), np.uint8)
    assert not vae.training


@torch.no_grad()
def test_moments_are_those_of_the_posterior_of_diffusers(vae: Any) -> None:
    mean, std = np.split(encode_moments(vae, HELDOUT), 2, axis=1)
    posterior = vae.encode(to_model(HELDOUT)).latent_dist
    np.testing.assert_allclose(mean, posterior.mean.numpy(), atol=1e-4)
    np.testing.assert_allclose(std, posterior.std.numpy(), rtol=1e-4)
    assert (std > 0).all()


@torch.no_grad()
def test_decode_divides_by_the_scaling_factor_and_rounds(vae: Any) -> None:
    latents = torch.randn(3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    raw = vae.decode(latents / vae.config.scaling_factor).sample.numpy().transpose(0, 2, 3, 1)
    levels = np.clip((raw.astype(np.float64) + 1) / 2, 0, 1) * 255
    difference = decode(vae, latents) - levels
    assert np.abs(difference).max() < 0.5 + 1e-3
    assert np.array_equal(decode(vae, latents), decode(vae, latents.numpy()))


def test_decode_clamps(vae: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5, 3.0]).reshape(1, 1, 2, 3).expand(1, 3, 2, 3)
    monkeypatch.setattr(vae, "decode", lambda _: type("Output", (), {"sample": values}))
    grey = decode(vae, torch.zeros(1, 4, 1, 1))[0, :, :, 0].ravel()
    assert grey.tolist() == [0, 0, 128, 255, 255, 255]  # 127.5 goes to the even neighbour


def test_reconstruction_decodes_the_mean_whatever_the_batch(vae: Any) -> None:
    mean = encode_moments(vae, HELDOUT)[:, :4]
    expected = decode(vae, mean * vae.config.scaling_factor)
    for batch in (5, 16, 100):
        found = reconstruct(vae, HELDOUT, batch=batch)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_training_learns(trained: tuple[Path, dict[str, Any]], vae: Any) -> None:
    report = trained[1]
    blank = np.square((HELDOUT - HELDOUT.mean(axis=0)) / 255).mean()  # error of the mean image
    assert report["mse_heldout"] < 0.3 * blank
    error = np.square((reconstruct(vae, HELDOUT) / 255.0) - HELDOUT / 255.0).mean()
    assert report["mse_heldout"] == pytest.approx(error, rel=1e-3)
    assert report["psnr_heldout"] == pytest.approx(-10 * np.log10(error), abs=0.01)


def test_scaled_latents_have_unit_std(trained: tuple[Path, dict[str, Any]], vae: Any) -> None:
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


def test_training_is_a_function_of_the_seed(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    runs = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_autoencoder(IMAGES, HELDOUT, tmp_path / name, **(SETTINGS | {"seed": seed}))
        runs[name] = (tmp_path / name / WEIGHTS).read_bytes()
        torch.rand(3)  # the global generator must not matter
    assert runs["a"] == runs["b"]
    assert runs["a"] != runs["c"]
    torch.manual_seed(1)
    assert torch.equal(state, torch.get_rng_state())


def test_training_leaves_the_global_generator_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_autoencoder(IMAGES, HELDOUT, tmp_path / "a", **(SETTINGS | {"steps": 1}))
    assert torch.equal(before, torch.get_rng_state())


def test_a_loss_that_is_not_finite_stops(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailed, match=r"autoencoder: the loss is (nan|inf) at step"):
        train_autoencoder(IMAGES, HELDOUT, tmp_path / "a", **(SETTINGS | {"lr": 1e30}))
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(autoencoder, "write_json", fail)
    with pytest.raises(KeyboardInterrupt):
        train_autoencoder(IMAGES, HELDOUT, tmp_path / "a", **(SETTINGS | {"steps": 1}))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "images", [IMAGES.astype(np.float32), IMAGES[..., 0], IMAGES[:, :15], IMAGES[:0]]
)
def test_images_of_another_kind_are_refused(vae: Any, images: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DimrError, match=r"images: .*multiples of 4"):
        encode_moments(vae, images)
    with pytest.raises(DimrError, match=r"images: .*multiples of 4"):
        train_autoencoder(images, HELDOUT, tmp_path / "a", **SETTINGS)


def edit_config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def drop_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    del weights["decoder.conv_out.bias"]
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def add_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    save_file(weights | {"extra": torch.zeros(1)}, folder / WEIGHTS, metadata={"format": "pt"})


def spoil_weight(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    weights["decoder.conv_out.bias"][0] = torch.nan
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def only_pickle(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "diffusion_pytorch_model.bin")


DAMAGE: dict[str, Callable[[Path], object]] = {
    "no config": lambda folder: (folder / "config.json").unlink(),
    "config is no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "config is a list": lambda folder: (folder / "config.json").write_text("[]"),
    "another class": lambda folder: edit_config(folder, _class_name="UNet2DModel"),
    "no scale": lambda folder: edit_config(folder, scaling_factor=0),
    "other sizes": lambda folder: edit_config(folder, latent_channels=3),
    "other depth": lambda folder: edit_config(folder, layers_per_block=2),
    "bad value": lambda folder: edit_config(folder, block_out_channels="wide"),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "empty weights": lambda folder: (folder / WEIGHTS).write_bytes(b""),
    "truncated weights": lambda folder: (folder / WEIGHTS).write_bytes(
        (folder / WEIGHTS).read_bytes()[:-1000]
    ),
    "pickled weights": lambda folder: (folder / WEIGHTS).write_bytes(pickle.dumps({})),
    "weights in .bin": only_pickle,
    "a tensor less": drop_weight,
    "a tensor more": add_weight,
    "a NaN": spoil_weight,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_loading_errors_are_one_line_with_the_folder(copy: Path, damage: str) -> None:
    load_autoencoder(copy)
    DAMAGE[damage](copy)
    with pytest.raises(DimrError) as caught:
        load_autoencoder(copy)
    assert str(caught.value).startswith(str(copy))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_not_looked_for_elsewhere(tmp_path: Path) -> None:
    for name in (str(tmp_path / "none"), "none", "./a/b", "a/b/c"):
        with pytest.raises(DimrError, match="no such folder"):
            load_autoencoder(name)
