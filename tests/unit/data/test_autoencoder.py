"""Autoencoders: loading and its errors, posteriors, and decoding of latents or pixels."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dimr.data import autoencoder as module
from dimr.data.autoencoder import (
    WEIGHTS,
    Decoder,
    as_pixels,
    decode,
    encode_moments,
    load_autoencoder,
    load_decoder,
    reconstruct,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3), np.uint8)


@torch.no_grad()
def test_moments_are_those_of_the_posterior_of_diffusers(vae):
    moments = encode_moments(vae, IMAGES)
    assert (moments.shape, moments.dtype) == ((16, 8, 8, 8), np.float32)
    mean, std = np.split(moments, 2, axis=1)
    x = torch.from_numpy(IMAGES.transpose(0, 3, 1, 2) / np.float32(255)) * 2 - 1
    posterior = vae.encode(x).latent_dist
    np.testing.assert_allclose(mean, posterior.mean.numpy(), atol=1e-4)
    np.testing.assert_allclose(std, posterior.std.numpy(), rtol=1e-4)
    assert (std > 0).all()


@pytest.mark.parametrize(
    "images", [IMAGES.astype(np.float32), IMAGES[..., 0], IMAGES[:, :15], IMAGES[:0]]
)
def test_images_of_another_kind_are_refused(vae, images):
    with pytest.raises(DimrError, match=r"images: .*multiples of 2"):
        encode_moments(vae, images)


@torch.no_grad()
def test_decoding_divides_by_the_scaling_factor_and_rounds(vae):
    latents = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    raw = vae.decode(latents / vae.config.scaling_factor).sample.numpy().transpose(0, 2, 3, 1)
    levels = np.clip((raw.astype(np.float64) + 1) / 2, 0, 1) * 255
    images = decode(vae, latents)
    assert (images.shape, images.dtype) == ((3, 16, 12, 3), np.uint8)
    assert images.std() > 10
    assert np.abs(images - levels).max() < 0.5 + 1e-3
    assert np.array_equal(images, decode(vae, latents.numpy()))
    assert np.array_equal(images, Decoder(vae)(latents).numpy())


def test_latents_are_decoded_in_pieces(vae, monkeypatch):
    latents = torch.randn(7, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    decoder = Decoder(vae)
    assert decoder.factor == 2
    whole = decoder(latents)
    seen, inner = [], vae.decode
    monkeypatch.setattr(vae, "decode", lambda x: seen.append(len(x)) or inner(x))
    for pixels, counts in ((2 * 16 * 12, [2, 2, 2, 1]), (1, [1] * 7), (10**6, [7])):
        monkeypatch.setattr(module, "PIXELS_AT_A_TIME", pixels)
        seen.clear()
        assert (decoder(latents).int() - whole.int()).abs().max() <= 1
        assert seen == counts


def test_reconstructions_decode_the_mean_whatever_the_batch(vae):
    mean = encode_moments(vae, IMAGES)[:, :4]
    expected = decode(vae, mean * vae.config.scaling_factor)
    for batch in (5, 16, 100):
        found = reconstruct(vae, IMAGES, batch=batch)
        assert np.abs(found.astype(int) - expected).max() <= 1


def test_pixels_are_clamped_and_grey_ones_get_three_channels():
    x = torch.tensor([-1.5, -1.0, 0.0, 1.0, 1.5, 3.0]).view(1, 1, 2, 3)
    images = Decoder()(x)
    assert images.shape == (1, 2, 3, 3)
    for channel in range(3):  # 127.5 goes to the even neighbour
        assert images[0, :, :, channel].tolist() == [[0, 0, 128], [255, 255, 255]]
    assert Decoder().factor == 1
    with pytest.raises(DimrError, match="4 channels are latents"):
        Decoder()(torch.zeros(1, 4, 2, 2))


def test_decoders_of_folders(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    latents = torch.ones(1, 4, 8, 8)
    assert torch.equal(load_decoder(tmp_path / "vae")(latents), Decoder(vae)(latents))
    assert load_decoder(None).vae is None
    folder = tmp_path / "identity"
    write_json(folder / "record.json", {"key": "k", "kind": "identity", "channels": 1})
    assert load_decoder(folder).vae is None
    grey = np.repeat(IMAGES[..., :1], 3, axis=-1)
    assert np.array_equal(as_pixels(folder, grey), grey[..., :1])
    with pytest.raises(DimrError, match="channels: 1 is for grey images"):
        as_pixels(folder, IMAGES)


# --- loading --------------------------------------------------------------------------------------


def edit_config(folder: Path, **change: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))


def edit_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})


def only_pickle(folder: Path) -> None:
    weights = load_file(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    torch.save(weights, folder / "diffusion_pytorch_model.bin")


BIAS = "decoder.conv_out.bias"
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
    "a tensor less": lambda folder: edit_weights(folder, lambda w: w.pop(BIAS)),
    "a tensor more": lambda folder: edit_weights(folder, lambda w: w.update(more=torch.zeros(1))),
    "a NaN": lambda folder: edit_weights(folder, lambda w: w[BIAS].fill_(torch.nan)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_loading_errors_are_one_line_with_the_folder(vae, tmp_path, damage):
    vae.save_pretrained(tmp_path)
    assert not load_autoencoder(tmp_path).training
    DAMAGE[damage](tmp_path)
    with pytest.raises(DimrError) as caught:
        load_autoencoder(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_missing_folder_is_not_looked_for_elsewhere(tmp_path):
    for name in (str(tmp_path / "none"), "none", "./a/b", "a/b/c"):
        with pytest.raises(DimrError, match="no such folder"):
            load_autoencoder(name)
