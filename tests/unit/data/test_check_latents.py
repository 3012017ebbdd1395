"""Stored latents and pixels, decoded and compared with the images that they are of."""

import json
from collections import namedtuple

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.shards import write_shards

from dimr.data.check_latents import check_latents
from dimr.runtime.errors import DimrError


class PerfectVae:
    """A latent is the image's 4x4 block means; decoding spreads them."""

    config = namedtuple("Config", "scaling_factor block_out_channels")(0.5, (8, 8, 8))
    device, dtype = torch.device("cpu"), torch.float32

    def decode(self, z):
        pixels = z.repeat_interleave(4, 2).repeat_interleave(4, 3)
        return namedtuple("Output", "sample")(pixels[:, :3])


def folder_of(out, samples, kind):
    write_shards(
        out, [samples], np.zeros(len(samples), int), kind=kind, class_names=["a"],
        scaling_factor=0.5 if kind == "posterior" else None, shard_size=7,
    )  # fmt: skip
    return out


def test_the_check_measures_psnr(tmp_path, caplog):
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 200, (30, 3, 8, 8))
    images = levels.repeat(4, 2).repeat(4, 3).transpose(0, 2, 3, 1).astype(np.uint8)
    moments = np.zeros((30, 8, 8, 8), np.float32)
    moments[:, :3] = levels / 127.5 - 1
    folder = folder_of(tmp_path / "z", moments, "posterior")
    report = check_latents(folder, lambda number: images[number] + np.uint8(10), PerfectVae())
    assert report["psnr_mean"] == pytest.approx(20 * np.log10(255 / 10), abs=0.02)
    assert len(report["psnr"]) == 24
    assert report["latents"][0] == 0
    assert report["latents"][-1] == 29
    assert json.loads((folder / "check.json").read_text()) == report
    assert Image.open(folder / "check.png").width > 12 * 48
    assert not caplog.records
    check_latents(folder, lambda number: images[29 - number], PerfectVae())  # of other images
    assert "should be" in caplog.text
    assert "dB only" in caplog.text


def test_the_check_of_pixels_is_exact(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (30, 8, 8, 3), np.uint8)
    folder = folder_of(tmp_path / "p", images, "pixels")
    check_latents(folder, images.__getitem__, None)
    images[29, 0, 0, 0] ^= 1
    with pytest.raises(DimrError, match="sample 29 does not equal its image"):
        check_latents(folder, images.__getitem__, None)
