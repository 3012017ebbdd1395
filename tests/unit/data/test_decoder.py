"""From solver output to images: in pieces, on the device, of latents or of pixels."""

import numpy as np
import pytest
import torch

from dimr.data import decoder as decoder_module
from dimr.data.autoencoder import decode
from dimr.data.decoder import Decoder, load_decoder
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json


def test_latents(vae, monkeypatch):
    latents = torch.randn(7, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    decoder = Decoder(vae)
    whole = decoder(latents)
    assert (whole.dtype, whole.shape) == (torch.uint8, (7, 16, 12, 3))
    assert whole.float().std() > 10
    assert np.array_equal(whole.numpy(), decode(vae, latents))
    assert decoder.factor == 2
    seen, inner = [], vae.decode
    monkeypatch.setattr(vae, "decode", lambda x: seen.append(len(x)) or inner(x))
    for pixels, counts in ((2 * 16 * 12, [2, 2, 2, 1]), (1, [1] * 7), (10**6, [7])):
        monkeypatch.setattr(decoder_module, "PIXELS_AT_A_TIME", pixels)
        seen.clear()
        assert (decoder(latents).int() - whole.int()).abs().max() <= 1
        assert seen == counts


def test_pixels():
    x = torch.tensor([-1.0, 0.0, 1.0, 3.0]).view(1, 1, 2, 2)
    images = Decoder()(x)
    assert images.shape == (1, 2, 2, 3)
    assert images[0, :, :, 0].tolist() == [[0, 128], [255, 255]]
    assert Decoder().factor == 1
    with pytest.raises(DimrError, match="4 channels are latents"):
        Decoder()(torch.zeros(1, 4, 2, 2))


def test_loading(vae, tmp_path):
    vae.save_pretrained(tmp_path / "vae")
    latents = torch.ones(1, 4, 8, 8)
    assert torch.equal(load_decoder(tmp_path / "vae")(latents), Decoder(vae)(latents))
    assert load_decoder(None).vae is None
    write_json(tmp_path / "identity/record.json", {"key": "k", "kind": "identity", "channels": 1})
    assert load_decoder(tmp_path / "identity").vae is None
