import numpy as np
import pytest
import scipy.linalg
import torch

from dimr.evaluation.classifier import load_classifier, train_classifier
from dimr.evaluation.extraction import register_digits_extractor
from dimr.evaluation.fidelity import fidelity
from dimr.evaluation.image_sets import image_tensor
from dimr.runtime.errors import DimrError


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def small_classifier(folder, seed=0):
    images, labels = noise(20, 0), np.arange(20) % 10
    train_classifier(
        images, labels, folder, heldout=images, heldout_labels=labels, steps=1, batch=8, seed=seed
    )
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
    name = register_digits_extractor(small_classifier(tmp_path / "c"))
    images = image_tensor(noise(5, 1))
    logits, features = load_classifier(tmp_path / "c")(images)
    got = registry[name](name, ["logits", "64"], feature_extractor_weights_path=None)(images)
    assert [value.dtype for value in got] == [torch.float64] * 2
    assert torch.equal(got[0], logits.double())
    assert torch.equal(got[1], features.double())
    assert got[1].shape == (5, 64)


def test_name_is_that_of_the_weights(tmp_path, registry):
    first = register_digits_extractor(small_classifier(tmp_path / "a"))
    assert register_digits_extractor(small_classifier(tmp_path / "b")) == first  # the same weights
    other = register_digits_extractor(small_classifier(tmp_path / "c", seed=1))
    assert other != first
    assert {first, other} < set(registry)


def test_later_changes_of_the_folder_have_no_effect(tmp_path, registry):
    name = register_digits_extractor(small_classifier(tmp_path / "a"))
    images = image_tensor(noise(3, 2))
    before = registry[name](name, ["64"])(images)[0]
    small_classifier(tmp_path / "a", seed=1)
    assert torch.equal(registry[name](name, ["64"])(images)[0], before)


def test_fidelity_on_it_is_fid_of_its_features(tmp_path, registry):
    del registry  # only put back
    name = register_digits_extractor(small_classifier(tmp_path / "c"))
    images, reference = noise(90, 3), noise(80, 4) // 2
    found = fidelity(images, reference, extractor=name, isc_splits=3)
    classifier = load_classifier(tmp_path / "c")
    a, b = (classifier(image_tensor(x))[1].double().numpy() for x in (images, reference))
    cov_a, cov_b = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(cov_a @ cov_b).real
    wanted = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(cov_a + cov_b - 2 * root)
    # Batches of another size change the convolutions in the last float32 digit.
    assert found["fid"] == pytest.approx(wanted, rel=1e-4)
    assert 1 <= found["inception_score"] <= 10


def test_foreign_input_is_refused(tmp_path, registry):
    name = register_digits_extractor(small_classifier(tmp_path / "c"))
    extractor = registry[name](name, ["64"])
    for bad in (torch.zeros(2, 3, 16, 16, dtype=torch.uint8), torch.zeros(2, 3, 32, 32)):
        with pytest.raises(DimrError, match="expected uint8"):
            extractor(bad)
    with pytest.raises(DimrError, match="carries its own"):
        fidelity(noise(10, 0), noise(10, 1), extractor=name, weights=tmp_path / "other.pth")


def test_absent_folder_is_named(tmp_path):
    with pytest.raises(DimrError, match="nowhere"):
        register_digits_extractor(tmp_path / "nowhere")
