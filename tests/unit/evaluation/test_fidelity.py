"""torch-fidelity through our arguments, against the definitions written in numpy and scipy."""

import os

import numpy as np
import pytest
import torch

from dimr.evaluation.extraction import extract_features
from dimr.evaluation.fidelity import fidelity
from dimr.evaluation.image_sets import ArrayImages, NpzImages, check_images, image_tensor
from dimr.runtime.errors import DimrError

NAME = "toy-of-test-fidelity"
SIZE, CLASSES = 8, 5
PROJECTION = np.random.default_rng(0).normal(size=(3 * SIZE * SIZE, 24)) / 10
CLASSIFIER = np.random.default_rng(1).normal(size=(24, CLASSES))


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


def test_all_metrics_equal_their_definitions(generated, reference, definitions):
    found = fidelity(generated, reference, extractor=NAME, isc_splits=7)
    a, b = toy_features(generated), toy_features(reference)
    score, deviation = definitions.inception_scores(a @ CLASSIFIER, 7)
    assert found["fid"] == pytest.approx(definitions.frechet(a, b), rel=1e-9)
    assert found["inception_score"] == pytest.approx(score, rel=1e-12)
    assert found["inception_score_std"] == pytest.approx(deviation, rel=1e-9)
    assert found["precision"] == pytest.approx(definitions.share_inside(a, b, 3), abs=1e-6)
    assert found["recall"] == pytest.approx(definitions.share_inside(b, a, 3), abs=1e-6)
    assert abs(found["precision"] - found["recall"]) > 0.05  # else a swap would go unseen


def test_neighbourhood_is_used(generated, reference, definitions):
    found = fidelity(generated, reference, extractor=NAME, prc_neighborhood=1)
    a, b = toy_features(generated), toy_features(reference)
    assert found["precision"] == pytest.approx(definitions.share_inside(a, b, 1), abs=1e-6)
    assert found["recall"] == pytest.approx(definitions.share_inside(b, a, 1), abs=1e-6)


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
    assert (found["precision"], found["recall"]) == (whole["precision"], whole["recall"])


def test_torch_fidelity_is_told_everything(generated, reference, monkeypatch):
    from torch_fidelity import metric_isc, metric_prc, utils

    seen = {}

    def listening(name, own):
        def call(*values, **options):
            seen[name] = options
            return own(*values, **options)

        return call

    for module, name in (
        (utils, "create_feature_extractor"),
        (metric_isc, "isc_featuresdict_to_metric"),
        (metric_prc, "prc_featuresdict_to_metric"),
    ):
        monkeypatch.setattr(module, name, listening(name, getattr(module, name)))
    fidelity(generated, reference, extractor=NAME, isc_splits=5, prc_neighborhood=2)
    assert seen["create_feature_extractor"]["cuda"] is False
    assert seen["isc_featuresdict_to_metric"]["isc_splits"] == 5
    assert seen["prc_featuresdict_to_metric"]["prc_neighborhood"] == 2
    for options in seen.values():
        assert (options["cache"], options["save_cpu_ram"]) == (False, True)
        assert (options["samples_shuffle"], options["verbose"]) == (False, False)


def test_convolutions_are_float32_during_extraction(generated):
    seen = []

    class Listening(torch.nn.Module):
        def get_requested_features_list(self):
            return ["all"]

        def forward(self, images):
            seen.append((torch.backends.cudnn.allow_tf32, torch.is_grad_enabled()))
            return (images.flatten(1).double(),)

    before = torch.backends.cudnn.allow_tf32
    images = ArrayImages("generated", [generated])
    found = extract_features(images, Listening(), batch_size=100, cuda=False)
    assert found["all"].shape == (len(generated), SIZE * SIZE * 3)
    assert seen == [(False, False)] * 4
    assert torch.backends.cudnn.allow_tf32 == before


def test_shift_of_all_pixels_has_its_closed_form(reference):
    dark = np.minimum(reference, 250)
    found = fidelity(dark + np.uint8(5), dark, extractor=NAME, layers={"fid": "corner"})
    assert found["fid"] == pytest.approx(16 * 5**2, rel=1e-9)


def test_same_images_are_perfect(reference):
    found = fidelity(reference, reference, extractor=NAME)
    assert 0 <= found["fid"] < 1e-6
    assert found["precision"] == found["recall"] == 1.0


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


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 3)), "set: images are float64; expected a uint8 array"),
        ([[1]], "set: images are list"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"set: images have shape \(2, 3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), "set: images have shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), "set: images have shape"),
        (np.zeros((3, 4, 4, 3), np.uint8), "set: 3 images; expected 2"),
        (np.zeros((2, 4, 5, 3), np.uint8), "set: images are 4x5; expected 4x4"),
    ],
)
def test_check_images_names_what_is_wrong(images, message):
    with pytest.raises(DimrError, match=message):
        check_images(images, "set", count=2, size=4)


def test_image_tensor_moves_channels_and_copies():
    images = noise(2, 0)
    tensor = image_tensor(images)
    assert tensor.shape == (2, 3, SIZE, SIZE)
    assert tensor[1, 2, 3, 4] == images[1, 3, 4, 2]
    tensor.zero_()
    assert images.any()


def test_npz_images_come_back(tmp_path):
    images = noise(4, 0)
    np.savez(tmp_path / "samples.npz", images, np.arange(4))  # arr_0 and arr_1, as ADM writes
    assert np.array_equal(next(NpzImages(tmp_path / "samples.npz").batches(9)), images)


def test_damaged_npz_is_named(tmp_path):
    np.savez(tmp_path / "good.npz", noise(40, 0))
    good = (tmp_path / "good.npz").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (tmp_path / "short.npz").write_bytes(good[: len(good) // 2])
    (tmp_path / "flipped.npz").write_bytes(flipped)
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.npz").write_text("not an archive")
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    np.savez(tmp_path / "named.npz", images=noise(2, 0))
    np.savez(tmp_path / "floats.npz", noise(2, 0) / 255)
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, noise(2, 0))
    cases = {
        "absent": "no such file",
        "short": "not readable as .npz",
        "flipped": "not readable as .npz",
        "empty": "not readable as .npz",
        "text": "not readable as .npz",
        "objects": "arr_0: holds Python objects",
        "named": "holds images; expected an array arr_0",
        "floats": "images are float64",
        "single": "a single array",
    }
    for name, message in cases.items():
        with pytest.raises(DimrError, match=f"{name}.npz: {message}") as caught:
            list(NpzImages(tmp_path / f"{name}.npz").batches(9))
        assert "\n" not in str(caught.value)
