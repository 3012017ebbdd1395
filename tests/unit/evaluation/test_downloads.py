"""A reference batch and Inception's weights from elsewhere, checked before they are taken."""

import os
import urllib.error

import numpy as np
import pytest
import torch

from dimr.config.project import PROJECT
from dimr.config.schema import ReferenceConfig
from dimr.evaluation.downloads import acquire_extractor, acquire_reference
from dimr.evaluation.reference import open_set
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, sha256

SIZE = 8
FILE = "VIRTUAL_small.npz"


def phase(**changes):
    return ReferenceConfig(**{"file": FILE, "image_size": SIZE, **changes})


def batch(path, statistics=True, **changes):
    images = np.random.default_rng(0).integers(0, 256, (6, SIZE, SIZE, 3), dtype=np.uint8)
    full = {
        "mu": np.zeros(2048), "sigma": np.eye(2048, dtype=np.float32),
        "mu_s": np.zeros(2023), "sigma_s": np.eye(2023, dtype=np.float32),
    } if statistics else {}  # fmt: skip
    np.savez(path, **{"arr_0": images, **full, **changes})
    return path


@pytest.mark.parametrize("statistics", [True, False])
def test_reference_is_taken_from_a_file_or_its_folder(tmp_path, statistics):
    path = batch(tmp_path / FILE, statistics)
    digest = sha256(path)
    for number, source in enumerate((path, tmp_path)):
        out = tmp_path / f"out{number}"
        acquire_reference(phase(sha256=digest), str(source), out)
        assert sorted(p.name for p in out.iterdir()) == ["reference.json", "reference.npz"]
        assert os.path.samefile(out / "reference.npz", path)
        assert read_json(out / "reference.json") == {
            "file": FILE, "sha256": digest, "images": 6, "statistics": statistics,
        }  # fmt: skip
        opened = open_set(out)
        assert opened.images.shape == (6, SIZE, SIZE, 3)
        for found, width in ((opened.statistics, 2048), (opened.spatial_statistics, 2023)):
            assert (found is not None) == statistics
            if found:
                assert found["sigma"].dtype == np.float64
                assert found["sigma"].shape == (width, width)


def test_reference_is_copied_where_no_link_can_be_and_links_are_followed(tmp_path, monkeypatch):
    real = batch(tmp_path / "elsewhere.npz", False)
    (tmp_path / FILE).symlink_to(real)
    acquire_reference(phase(), str(tmp_path), tmp_path / "linked")
    assert not (tmp_path / "linked/reference.npz").is_symlink()

    def refuse(*_):
        raise OSError("another disk")

    monkeypatch.setattr(os, "link", refuse)
    acquire_reference(phase(), str(tmp_path), tmp_path / "out")
    copied = tmp_path / "out/reference.npz"
    assert copied.read_bytes() == real.read_bytes()
    assert not os.path.samefile(copied, real)


def test_other_references_are_refused_and_nothing_is_left(tmp_path):
    images = np.zeros((6, SIZE, SIZE, 3), np.uint8)
    path = tmp_path / FILE
    bad = {
        "images are 16x16; expected 8x8": {"arr_0": np.zeros((6, 16, 16, 3), np.uint8)},
        "images are float32; expected a uint8": {"arr_0": images.astype(np.float32)},
        r"mu is float64 \(64,\); expected floats \(2048,\)": {"mu": np.zeros(64)},
        "sigma holds values that are not finite": {"sigma": np.full((2048, 2048), np.inf)},
        r"mu_s is float64 \(7,\); expected floats \(2023,\)": {"mu_s": np.zeros(7)},
    }
    for message, changes in bad.items():
        batch(path, **changes)
        with pytest.raises(DimrError, match=f"{FILE}: {message}"):
            acquire_reference(phase(), str(path), tmp_path / "out")
    batch(path, statistics=False)
    with pytest.raises(DimrError, match=f"SHA-256 is {sha256(path)}; expected {'0' * 64}"):
        acquire_reference(phase(sha256="0" * 64), str(path), tmp_path / "out")
    damaged = bytearray(path.read_bytes())
    damaged[400] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(DimrError, match=f"{FILE}: not readable as .npz"):
        acquire_reference(phase(), str(path), tmp_path / "out")
    path.unlink()
    with pytest.raises(DimrError, match=f"{FILE}: no such file; expected the reference batch"):
        acquire_reference(phase(), str(tmp_path), tmp_path / "out")
    for absent in (None, ""):
        with pytest.raises(DimrError, match=f"{FILE}: .*DIMR_REFERENCE.*--source"):
            acquire_reference(phase(), absent, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_extractor_is_taken_once_it_is_known(tmp_path, inception_weights):
    out = tmp_path / "extractors" / inception_weights.name
    acquire_extractor(str(inception_weights), out)
    assert out.read_bytes() == inception_weights.read_bytes()
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_extractor_is_downloaded_from_torch_fidelitys_own_address(
    tmp_path, inception_weights, monkeypatch
):
    from torch_fidelity import feature_extractor_inceptionv3

    asked = []

    def download(url, destination, **_):
        asked.append(url)
        with open(destination, "wb") as file:
            file.write(inception_weights.read_bytes())

    address = f"there/{inception_weights.name}"
    monkeypatch.setattr(feature_extractor_inceptionv3, "URL_INCEPTION_V3", address)
    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    acquire_extractor(None, tmp_path / inception_weights.name)
    assert asked == [address]
    assert sha256(tmp_path / inception_weights.name) == sha256(inception_weights)


def test_recipes_name_the_file_that_torch_fidelity_has():
    from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3

    for dataset in ("imagenet64", "imagenet256", "imagenet512"):
        assert URL_INCEPTION_V3.endswith(f"/{PROJECT.recipe(dataset).evaluate.weights}")


def test_other_extractors_are_refused_and_nothing_is_left(tmp_path, monkeypatch):
    foreign = tmp_path / "foreign.pth"
    torch.save({"layer": torch.zeros(3)}, foreign)
    digits, out = sha256(foreign)[:8], tmp_path / "out"
    cases = [
        (str(foreign), "x-00000000.pth", f"{foreign}: SHA-256 begins with {digits}; expected 0000"),
        (str(foreign), f"x-{digits}.pth", f"{foreign}: not the weights of inception-v3-compat"),
        (str(foreign), "x.pth", "x.pth: expected a name that ends in 8 hex digits"),
        (str(tmp_path / "absent"), "x-00000000.pth", "absent: no such file"),
        (None, "x-00000000.pth", "x-00000000.pth: torch-fidelity only has .*; pass --source"),
    ]
    for source, name, message in cases:
        with pytest.raises(DimrError, match=message) as caught:
            acquire_extractor(source, out / name)
        assert "\n" not in str(caught.value)
        assert ".dimr-tmp" not in str(caught.value)

    def offline(*_, **__):
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    name = "weights-inception-2015-12-05-6726825d.pth"
    with pytest.raises(DimrError, match=r"could not be downloaded \(.*no route.*pass --source"):
        acquire_extractor(None, out / name)
    assert list(out.iterdir()) == []
