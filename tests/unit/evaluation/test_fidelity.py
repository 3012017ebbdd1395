"""FID, IS, precision and recall against their definitions, written in numpy and scipy."""

import numpy as np
import pytest
import torch

from dimr.evaluation import fidelity as module
from dimr.evaluation.fidelity import (
    fidelity,
    frechet_distance,
    metrics_of_features,
    prc_reference,
)
from dimr.evaluation.image_sets import image_tensor
from dimr.runtime.errors import DimrError

NAME = "toy-of-test-fidelity"
SIZE, CLASSES = 8, 5
PROJECTION = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, 24)) / 10
CLASSIFIER = np.random.default_rng(1).normal(size=(24, CLASSES))
LAYERS = {"isc": "logits", "fid": "features", "prc": "features"}


# --- of images, by an extractor of our own --------------------------------------------------------


def toy_features(images):
    """(N, 24) of uint8 (N, 8, 8, 3): a nonlinear random projection."""
    flat = np.moveaxis(images, 3, 1).reshape(len(images), -1) / 255.0
    return np.tanh(flat @ PROJECTION)


@pytest.fixture(scope="module", autouse=True)
def toy_extractor():
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    class Toy(FeatureExtractorBase):
        """``toy`` as in ``toy_features``; ``corner``: 16 pixel values; ``coded``: class by mean."""

        def __init__(self, name, features_list, **_):
            super().__init__(name, features_list)

        @staticmethod
        def get_provided_features_list():
            return "toy", "logits", "corner", "coded"

        @staticmethod
        def get_default_feature_layer_for_metric(metric):
            return "logits" if metric == "isc" else "toy"

        def forward(self, images):
            flat = images.flatten(1).double()
            toy = torch.tanh(flat / 255 @ torch.from_numpy(PROJECTION))
            levels = 10 * torch.arange(CLASSES, dtype=torch.float64)
            layers = {
                "toy": toy,
                "logits": toy @ torch.from_numpy(CLASSIFIER),
                "corner": flat[:, :16],
                "coded": -((flat.mean(1, keepdim=True) - levels) ** 2) / 4,
            }
            return tuple(layers[layer] for layer in self.features_list)

    register_feature_extractor(NAME, Toy)
    yield
    del FEATURE_EXTRACTORS_REGISTRY[NAME]


def noise(count, seed, low=0, high=256):
    return np.random.default_rng(seed).integers(low, high, (count, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def generated():
    return noise(310, 2, 40, 220)


@pytest.fixture(scope="module")
def reference():
    return noise(270, 3)


@pytest.mark.parametrize("k", [1, 3])
def test_all_metrics_equal_their_definitions(generated, reference, definitions, k):
    found = fidelity(generated, reference, extractor=NAME, isc_splits=7, prc_neighborhood=k)
    a, b = toy_features(generated), toy_features(reference)
    score, deviation = definitions.inception_scores(a @ CLASSIFIER, 7)
    assert found["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-9)
    assert found["inception_score"] == pytest.approx(score, rel=1e-12)
    assert found["inception_score_std"] == pytest.approx(deviation, rel=1e-9)
    assert found["precision"] == pytest.approx(definitions.share_inside(a, b, k), abs=1e-6)
    assert found["recall"] == pytest.approx(definitions.share_inside(b, a, k), abs=1e-6)
    assert abs(found["precision"] - found["recall"]) > 0.05  # else a swap would go unseen


def test_batch_size_does_not_matter_and_nothing_is_said(generated, reference, capfd):
    found = [
        fidelity(generated, reference, extractor=NAME, batch_size=size) for size in (7, 64, 1000)
    ]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-12)
    assert capfd.readouterr() == ("", "")


def test_it_is_what_torch_fidelity_makes_of_it_in_one_call(generated, reference):
    import torch_fidelity
    from torch.utils.data import TensorDataset

    class Images(TensorDataset):
        def __getitem__(self, index):
            return super().__getitem__(index)[0]

    whole = torch_fidelity.calculate_metrics(
        input1=Images(image_tensor(generated)), input2=Images(image_tensor(reference)),
        feature_extractor=NAME, isc=True, fid=True, prc=True, cuda=False, cache=False,
        save_cpu_ram=True, samples_shuffle=False, verbose=False,
    )  # fmt: skip
    found = fidelity(generated, reference, extractor=NAME)
    # the covariance is summed block by block here
    assert found["fid"] == pytest.approx(whole["frechet_inception_distance"], rel=1e-12)
    assert found["inception_score"] == whole["inception_score_mean"]
    assert found["inception_score_std"] == whole["inception_score_std"]
    for name in ("precision", "recall"):  # its shares are float32
        assert found[name] == pytest.approx(whole[name], rel=1e-7)


def test_torch_fidelity_is_told_everything(generated, reference, monkeypatch):
    from torch_fidelity import metric_isc, utils

    seen = {}

    def listening(name, own):
        def call(*values, **options):
            seen[name] = options
            return own(*values, **options)

        return call

    for owner, name in (
        (utils, "create_feature_extractor"),
        (metric_isc, "isc_featuresdict_to_metric"),
    ):
        monkeypatch.setattr(owner, name, listening(name, getattr(owner, name)))
    fidelity(generated, reference, extractor=NAME, isc_splits=5)
    assert seen["create_feature_extractor"]["cuda"] is False
    assert seen["isc_featuresdict_to_metric"]["isc_splits"] == 5
    for options in seen.values():
        assert (options["cache"], options["save_cpu_ram"]) == (False, True)
        assert (options["samples_shuffle"], options["verbose"]) == (False, False)


def test_shift_of_all_pixels_has_its_closed_form(reference):
    dark = np.minimum(reference, 250)
    found = fidelity(dark + np.uint8(5), dark, extractor=NAME, layers={"fid": "corner"})
    assert found["fid"] == pytest.approx(16 * 5**2, rel=1e-9)


def test_too_few_images_for_an_fid_are_mentioned(reference, caplog):
    fidelity(noise(24, 0), reference, extractor=NAME)
    assert "generated images: 24 images for 24 features: too few" in caplog.text
    caplog.clear()
    fidelity(noise(25, 0), reference, extractor=NAME)
    assert not caplog.text


def test_few_modes_have_high_precision_and_low_recall():
    modes = [noise(60, seed, 60 * mode, 60 * mode + 30) for seed, mode in enumerate(range(4))]
    new = noise(60, 9, 8, 22)  # within the first mode
    found = fidelity(new, np.concatenate(modes), extractor=NAME)
    assert found["precision"] > 0.9
    assert found["recall"] <= 0.25
    swapped = fidelity(np.concatenate(modes), new, extractor=NAME)
    assert (swapped["precision"], swapped["recall"]) == (found["recall"], found["precision"])


def coded_images(labels):
    return np.repeat(10 * labels, SIZE * SIZE * 3).reshape(-1, SIZE, SIZE, 3).astype(np.uint8)


def test_inception_score_takes_the_order_given():
    labels = np.sort(np.arange(100) % CLASSES)
    images, reference = coded_images(labels), noise(50, 0)
    options = {"extractor": NAME, "layers": {"isc": "coded"}, "isc_splits": CLASSES}
    in_order = fidelity(images, reference, **options)
    assert in_order["inception_score"] == pytest.approx(1)  # one class in each split
    mixed = fidelity(coded_images(np.arange(100) % CLASSES), reference, **options)
    assert mixed["inception_score"] == pytest.approx(CLASSES)
    assert mixed["inception_score_std"] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"extractor": "nothing"}, "nothing: no such feature extractor; known are .*inception-v3"),
        ({"layers": {"prc": "2048"}}, "no layer 2048; allowed are toy, logits"),
        ({"isc_splits": 0}, "isc_splits: 0; allowed are 1 to 20"),
        ({"isc_splits": 21}, "isc_splits: 21; allowed are 1 to 20"),
        ({"prc_neighborhood": 0}, "prc_neighborhood: 0"),
        ({"prc_neighborhood": 20}, "generated images: 20 of them; expected more than 20"),
        ({"extractor": "inception-v3-compat"}, "needs a weights file"),
        ({"weights": "w.pth"}, "carries its own weights"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(DimrError, match=message):
        fidelity(noise(20, 0), noise(30, 1), **{"extractor": NAME, **options})


def test_images_of_another_size_are_refused():
    with pytest.raises(DimrError, match="generated images"):
        fidelity(noise(20, 0)[:, :4], noise(20, 1), extractor=NAME)


# --- of features ----------------------------------------------------------------------------------


def features(count, seed, width=20, shift=0.0):
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, width)) @ np.random.default_rng(0).normal(size=(width, width))
    return np.abs(mixed) + shift


def as_layers(array):
    logits = torch.from_numpy(array[:, :10].copy())
    return {"features": torch.from_numpy(array), "logits": logits}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_metrics_of_features_are_their_definitions(definitions, dtype):
    a, b = features(400, 1, shift=0.3).astype(dtype), features(300, 2).astype(dtype)
    found = metrics_of_features(as_layers(a), as_layers(b), LAYERS, isc_splits=8)
    a, b = a.astype(float), b.astype(float)
    score, deviation = definitions.inception_scores(a[:, :10], 8)
    precision, recall = definitions.adm_precision_recall(a, b)
    assert found["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-9)
    assert found["inception_score"] == pytest.approx(score, rel=1e-12)
    assert found["inception_score_std"] == pytest.approx(deviation, rel=1e-9)
    assert found["precision"] == pytest.approx(precision, abs=1e-6)
    assert found["recall"] == pytest.approx(recall, abs=1e-6)
    assert 0.1 < precision < 0.95
    assert abs(precision - recall) > 0.01  # else a swap would go unseen


def test_fid_takes_the_statistics_that_are_given(definitions):
    a, b = features(400, 1), features(300, 2)
    other = features(500, 3, shift=1.0)
    given = {"mu": other.mean(0), "sigma": np.cov(other.T)}
    found = metrics_of_features(as_layers(a), as_layers(b), LAYERS, statistics=given)
    without = metrics_of_features(as_layers(a), as_layers(b), LAYERS)
    assert found["fid"] == pytest.approx(definitions.frechet(a, other), rel=1e-9)
    assert without["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-9)
    for name in ("inception_score", "precision", "recall"):
        assert found[name] == without[name]


def test_statistics_of_float32_features_are_float64(definitions):
    """A float32 mean of 50,000 features would be off in the fifth digit."""
    a = (features(3000, 1) + 1000).astype(np.float32)
    found = metrics_of_features(as_layers(a), as_layers(a[:2000]), LAYERS)
    wanted = definitions.frechet(a.astype(float), a[:2000].astype(float))
    assert found["fid"] == pytest.approx(wanted, rel=1e-6)


def test_a_large_reference_is_thinned_for_precision_and_recall_alone(definitions, monkeypatch):
    monkeypatch.setattr(module, "PRC_REFERENCE", 70)
    monkeypatch.setattr(module, "BLOCK", 64)
    a, b = features(200, 1, shift=0.3), features(300, 2)
    found = metrics_of_features(as_layers(a), as_layers(b), LAYERS)
    chosen = prc_reference(torch.arange(300)).numpy()
    precision, recall = definitions.adm_precision_recall(a, b[chosen])
    assert found["precision"] == pytest.approx(precision, abs=1e-6)
    assert found["recall"] == pytest.approx(recall, abs=1e-6)
    assert abs(precision - definitions.adm_precision_recall(a, b)[0]) > 0.01
    assert found["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-9)


def test_what_is_compared_is_spread_over_the_reference_and_its_classes():
    chosen = prc_reference(torch.arange(50_000)).numpy()
    assert np.array_equal(chosen // 5, np.arange(10_000))  # one of each five
    classes = np.bincount(chosen % 1000, minlength=1000)  # interleaved
    assert 1 <= classes.min() <= classes.max() <= 25
    assert np.array_equal(chosen, prc_reference(torch.arange(50_000)))
    assert len(prc_reference(torch.arange(10_000))) == 10_000


def test_gaussians_have_their_closed_form():
    """Diagonal covariances: the sum of squared differences of means and standard deviations."""
    rng = np.random.default_rng(0)
    mean, std = rng.normal(size=(2, 50)), rng.uniform(0.5, 2, (2, 50))
    one, other = ({"mu": mean[i], "sigma": np.diag(std[i] ** 2)} for i in (0, 1))
    wanted = ((mean[0] - mean[1]) ** 2).sum() + ((std[0] - std[1]) ** 2).sum()
    assert frechet_distance(one, other) == pytest.approx(wanted, rel=1e-9)


def test_what_the_conventions_of_precision_and_recall_change(definitions):
    """The surface of a ball counts, the image itself does not, and float16 shifts a little.

    ``<`` for ``<=`` changes nothing on features without ties, but all where samples are copies in
    clusters of k + 1 (radius 0). Counting an image as its own neighbour is k - 1 for k.
    """
    a, b = features(400, 1, shift=0.3), features(300, 2)
    shares = [definitions.share_inside(a, b, 3, strict) for strict in (False, True)]
    assert shares[0] == shares[1]
    assert definitions.adm_precision_recall(a, b)[0] == shares[0]
    assert definitions.share_inside(a, b, 2) < shares[0]
    half = definitions.adm_precision_recall(a, b, dtype=np.float16)[0]
    assert half == pytest.approx(shares[0], abs=0.02)

    copies = np.repeat(np.arange(5.0)[:, None], 8, 0) * np.ones(20)
    found = metrics_of_features(as_layers(copies), as_layers(copies), LAYERS)
    assert found["precision"] == found["recall"] == 1
    assert definitions.share_inside(copies, copies, 3) == 1
    assert definitions.share_inside(copies, copies, 3, strict=True) == 0
