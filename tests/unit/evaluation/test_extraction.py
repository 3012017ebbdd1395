"""Feature extractors, and the features of image sets: in order and in constant memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.support.shards import write_shards

from dimr.config.schema import Classifier
from dimr.evaluation.classifier import load_classifier
from dimr.evaluation.extraction import (
    extract_features,
    load_extractor,
    register_classifier,
)
from dimr.evaluation.fidelity import fidelity
from dimr.evaluation.image_sets import ArrayImages, NpzImages, image_tensor
from dimr.evaluation.train_classifier import train_classifier
from dimr.runtime.errors import DimrError


def noise(count, seed=0, size=32):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


# --- features of sets -----------------------------------------------------------------------------


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


@pytest.mark.slow
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


def test_convolutions_are_float32_during_extraction():
    seen = []

    class Listening(torch.nn.Module):
        def get_requested_features_list(self):
            return ["all"]

        def forward(self, images):
            seen.append((torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()))
            return (images.flatten(1).double(),)

    before = torch.backends.cudnn.allow_tf32
    images = ArrayImages("generated", [noise(310, size=8)])
    found = extract_features(images, Listening(), batch_size=100, cuda=False)
    assert found["all"].shape == (310, 8 * 8 * 3)
    assert seen == [(False, False)] * 4
    assert torch.backends.cudnn.allow_tf32 == before


# --- Inception --------------------------------------------------------------------------


def test_spatial_features_are_of_adms_layer_in_its_order(
    inception_weights, make_pictures, inception_features, spatial_features
):
    images = make_pictures(3, 5)
    layers = ["2048", "mixed_6/conv", "2048"]
    network = load_extractor("inception-v3-compat", inception_weights, layers)
    sets = ArrayImages("some", [images])
    found = extract_features(sets, network, batch_size=2, cuda=False)
    assert list(found) == ["2048", "mixed_6/conv"]
    spatial = found["mixed_6/conv"].double().numpy()
    assert spatial.shape == (3, 2023)
    assert (spatial.std(0) > 0).mean() > 0.5  # else another order might go unseen
    # Batches of another size change the convolutions in the last float32 digits.
    np.testing.assert_allclose(spatial, spatial_features(images), rtol=1e-3, atol=1e-5)
    wanted = inception_features(images)[0]
    np.testing.assert_allclose(found["2048"].double().numpy(), wanted, rtol=1e-3, atol=1e-5)


class Payload:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_weights_that_are_not_plain_or_foreign_are_refused(tmp_path):
    marker, evil, foreign = tmp_path / "ran", tmp_path / "evil.pth", tmp_path / "foreign.pth"
    torch.save(Payload(marker), evil)
    torch.save({"layer": torch.zeros(3)}, foreign)
    (tmp_path / "short.pth").write_bytes(foreign.read_bytes()[:300])
    cases = {
        "evil.pth": "not readable as plain weights",
        "short.pth": "not readable as plain weights",
        "absent.pth": "no such file",
        "foreign.pth": "not the weights of inception-v3-compat",
    }
    for file, message in cases.items():
        with pytest.raises(DimrError, match=f"{file}: {message}") as caught:
            fidelity(
                noise(20, 0),
                noise(20, 1),
                extractor="inception-v3-compat",
                weights=tmp_path / file,
            )
        assert "\n" not in str(caught.value)
    assert not marker.exists()


# --- the digit classifier as an extractor ---------------------------------------------------------


def small_classifier(folder, seed=0):
    images, labels = noise(20, 0), np.arange(20) % 10
    training = Classifier(steps=1, batch=8, lr=3e-3, seed=seed)
    train_classifier(images, labels, folder, training, heldout=images, heldout_labels=labels)
    return folder


@pytest.fixture
def registry():
    """torch-fidelity's registry, put back as it was."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY

    before = dict(FEATURE_EXTRACTORS_REGISTRY)
    yield FEATURE_EXTRACTORS_REGISTRY
    FEATURE_EXTRACTORS_REGISTRY.clear()
    FEATURE_EXTRACTORS_REGISTRY.update(before)


def test_layers_are_the_classifiers_in_the_order_asked_for(tmp_path, registry):
    name = register_classifier(small_classifier(tmp_path / "c"))
    images = image_tensor(noise(5, 1))
    logits, features = load_classifier(tmp_path / "c")(images)
    got = registry[name](name, ["logits", "64"], feature_extractor_weights_path=None)(images)
    assert [value.dtype for value in got] == [torch.float64] * 2
    assert torch.equal(got[0], logits.double())
    assert torch.equal(got[1], features.double())
    assert got[1].shape == (5, 64)


def test_name_is_that_of_the_weights(tmp_path, registry):
    first = register_classifier(small_classifier(tmp_path / "a"))
    assert register_classifier(small_classifier(tmp_path / "b")) == first  # the same weights
    other = register_classifier(small_classifier(tmp_path / "c", seed=1))
    assert other != first
    assert {first, other} < set(registry)


def test_later_changes_of_the_folder_have_no_effect(tmp_path, registry):
    name = register_classifier(small_classifier(tmp_path / "a"))
    images = image_tensor(noise(3, 2))
    before = registry[name](name, ["64"])(images)[0]
    small_classifier(tmp_path / "a", seed=1)
    assert torch.equal(registry[name](name, ["64"])(images)[0], before)


@pytest.mark.usefixtures("registry")
def test_fidelity_on_it_is_fid_of_its_features(tmp_path, definitions):
    name = register_classifier(small_classifier(tmp_path / "c"))
    images, reference = noise(90, 3), noise(80, 4) // 2
    found = fidelity(images, reference, extractor=name, isc_splits=3)
    classifier = load_classifier(tmp_path / "c")
    a, b = (classifier(image_tensor(x))[1].double().numpy() for x in (images, reference))
    # Batches of another size change the convolutions in the last float32 digit.
    assert found["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-4)
    assert 1 <= found["inception_score"] <= 10


def test_foreign_input_is_refused(tmp_path, registry):
    name = register_classifier(small_classifier(tmp_path / "c"))
    extractor = registry[name](name, ["64"])
    for bad in (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 3, 32, 32)):
        with pytest.raises(DimrError, match="expected uint8"):
            extractor(bad)
    with pytest.raises(DimrError, match="carries its own"):
        fidelity(noise(10, 0), noise(10, 1), extractor=name, weights=tmp_path / "other.pth")


def test_absent_folder_is_named(tmp_path):
    with pytest.raises(DimrError, match="nowhere"):
        register_classifier(tmp_path / "nowhere")
