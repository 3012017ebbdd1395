"""Image sets and .npz files: in constant memory, in order, and refused if damaged."""

import itertools
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from dimr.data.npz import array_header, array_pieces, check_whole, load_arrays
from tests.support.shards import write_shards
from dimr.evaluation.extraction import extract_features
from dimr.evaluation.image_sets import ArrayImages, NpzImages, open_images
from dimr.runtime.errors import DimrError

SIZE = 8


def noise(count, seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("rows", [1, 7, 20, 100])
def test_pieces_are_the_array(tmp_path, save, rows):
    images = noise(20)
    save(tmp_path / "a.npz", other=np.arange(3), arr_0=images)
    assert array_header(tmp_path / "a.npz", "arr_0") == (images.shape, np.dtype(np.uint8))
    pieces = list(array_pieces(tmp_path / "a.npz", "arr_0", rows))
    assert [len(piece) for piece in pieces[:-1]] == [rows] * (len(pieces) - 1)
    assert np.array_equal(np.concatenate(pieces), images)


def test_sets_give_the_same_images_from_anywhere(tmp_path):
    images = noise(20)
    np.savez(tmp_path / "a.npz", images)
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder/reference.npz", images)
    opened = [
        open_images(tmp_path / "a.npz"),
        open_images(tmp_path / "folder"),
        ArrayImages("parts", [images[:9], images[9:]]),
    ]
    for each in opened:
        assert each.shape == images.shape
        for _ in range(2):  # a second pass begins anew
            batches = list(each.batches(6))
            assert max(map(len, batches)) <= 6
            assert np.array_equal(np.concatenate(batches), images)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """32 MB of images; a batch of 16 is 0.2 MB. The features of each batch are dropped here."""
    images = noise(2600, size=64)
    np.savez(tmp_path / "large.npz", images)
    np.savez_compressed(tmp_path / "deflated.npz", images)
    for name in ("large", "deflated"):
        tracemalloc.start()
        total = sum(int(b.sum()) for b in NpzImages(tmp_path / f"{name}.npz").batches(16))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == images.sum()
        assert peak < 2e6, name


def mean_extractor():
    """The mean of each image, float64; a torch-fidelity extractor that is not registered."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Mean(FeatureExtractorBase):
        @staticmethod
        def get_provided_features_list():
            return ("mean",)

        def forward(self, images):
            return (images.double().mean((1, 2, 3))[:, None],)

    return Mean("mean of test_images", ["mean"])


@pytest.mark.parametrize("batch", [1, 4, 7, 50])
def test_features_are_in_order_whatever_the_batches(tmp_path, batch):
    images = noise(30)
    np.savez(tmp_path / "a.npz", images)
    wanted = images.mean((1, 2, 3))
    for each in (NpzImages(tmp_path / "a.npz"), ArrayImages("parts", [images[:11], images[11:]])):
        found = extract_features(each, mean_extractor(), batch_size=batch, cuda=False)
        np.testing.assert_allclose(found["mean"].numpy()[:, 0], wanted, rtol=1e-12)


GROWTH = """
import re, sys
from pathlib import Path
import torch
from dimr.evaluation.extraction import extract_features
from dimr.evaluation.image_sets import open_images
import dimr.runtime.async_io

class Mean(torch.nn.Module):
    def get_requested_features_list(self):
        return ["mean"]
    def forward(self, images):
        return (images[:, :, ::16, ::16].float().mean((2, 3)),)

def peak():
    return int(re.findall(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[0])

before = peak()
found = extract_features(open_images(sys.argv[1]), Mean(), batch_size=16, cuda=False)
assert found["mean"].shape == (1000, 3)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="reads Linux's /proc")
@pytest.mark.parametrize("name", ["a.npz", "shards"])
def test_memory_of_the_process_does_not_grow_with_the_images(tmp_path, name):
    """What tracemalloc cannot see: results that keep freed images from being used again; maps."""
    images = np.zeros((1000, 256, 256, 3), np.uint8)  # 197 MB
    if name == "shards":
        write_shards(
            tmp_path / name, [images], np.zeros(1000, int), kind="pixels", classes=1,
            class_names=["0"], scaling_factor=None, key="k", shard_size=600,
        )  # fmt: skip
    else:
        np.savez_compressed(tmp_path / name, images)
    done = subprocess.run(
        [sys.executable, "-c", GROWTH, str(tmp_path / name)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(done.stdout) < 100_000  # kB


def test_progress_names_the_set(capfd):
    extract_features(
        ArrayImages("some images", [noise(30)]), mean_extractor(), batch_size=4, cuda=False,
        progress=True,
    )  # fmt: skip
    shown = capfd.readouterr().err
    assert "features of some images" in shown
    assert "30/30" in shown


def refusal_or_images(path):
    """The message of the refusal, or the images."""
    try:
        check_whole(path)
        return np.concatenate(list(NpzImages(path).batches(1)))
    except DimrError as error:
        return str(error)


def test_damage_anywhere_is_one_line(tmp_path):
    """Bytes of headers, directory and data in turn: refused, or nothing has changed."""
    images = noise(2)
    np.savez(tmp_path / "good.npz", images)
    good = (tmp_path / "good.npz").read_bytes()
    found = []
    for place in itertools.chain(range(230), range(230, len(good), 5)):
        changed = bytearray(good)
        changed[place] ^= 0x5A
        (tmp_path / "bad.npz").write_bytes(changed)
        found.append(refusal_or_images(tmp_path / "bad.npz"))
    messages = [each for each in found if isinstance(each, str)]
    assert len(messages) > len(found) / 2
    assert all("bad.npz: " in message and "\n" not in message for message in messages)
    assert all(np.array_equal(each, images) for each in found if not isinstance(each, str))


def test_foreign_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "fortran.npz", np.asfortranarray(noise(4)))
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(DimrError, match=r"fortran\.npz: arr_0: an array in Fortran order"):
        NpzImages(tmp_path / "fortran.npz")
    with pytest.raises(DimrError, match=r"objects\.npz: arr_0: holds Python objects"):
        NpzImages(tmp_path / "objects.npz")
    with pytest.raises(DimrError, match=r"objects\.npz: arr_0: holds Python objects"):
        load_arrays(tmp_path / "objects.npz", ["arr_0"])
    with pytest.raises(DimrError, match=r"x\.npz: no images here"):
        open_images(tmp_path / "x.npz")
