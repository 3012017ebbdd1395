import json

import numpy as np
import pytest
import safetensors.torch
import torch

from dimr.config.schema import Classifier
from dimr.data.digits import make_digits
from dimr.data.image_arrays import load_images
from dimr.evaluation.classifier import (
    WEIGHTS,
    ImageClassifier,
    load_classifier,
    own_class,
)
from dimr.evaluation.image_sets import image_tensor
from dimr.evaluation.train_classifier import (
    Augmentation,
    learning_rate,
    train_classifier,
    turned,
)
from dimr.runtime.errors import DimrError, TrainingFailed


def noise(count, seed):
    return np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def config(**changes):
    return Classifier(**{"steps": 3, "batch": 8, "lr": 3e-3, "seed": 0, **changes})


def train_small(out, images=None, labels=None, lr=3e-3, seed=0, **options):
    images = noise(30, 0) if images is None else images
    labels = np.arange(30) % 10 if labels is None else labels
    heldout = {"heldout": noise(5, 1), "heldout_labels": np.arange(5)}
    return train_classifier(images, labels, out, config(lr=lr, seed=seed), **heldout | options)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Splits of the digits by name, and the folder of a classifier trained on the first."""
    folder = tmp_path_factory.mktemp("digits")
    make_digits(folder / "images", 32, train_per_class=100, seed=0)
    splits = {split: load_images(folder / "images", split) for split in ("train", "heldout")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several threads are slower on so small a network on a busy machine
    heldout, heldout_labels = splits["heldout"]
    train_classifier(
        *splits["train"],
        folder / "classifier",
        config(steps=300, batch=100),
        heldout=heldout,
        heldout_labels=heldout_labels,
    )
    torch.set_num_threads(threads)
    return {**splits, "folder": folder / "classifier"}


@torch.no_grad()
def features(classifier, images):
    return torch.cat([classifier(part)[1] for part in image_tensor(images).split(250)]).double()


def frechet(a, b):
    """FID of features (N, 64); the trace of the root is that of a symmetric product."""
    a, b = np.asarray(a), np.asarray(b)
    values, vectors = np.linalg.eigh(np.cov(a.T))
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ np.cov(b.T) @ root).clip(0)).sum()
    shift = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return shift + np.trace(np.cov(a.T)) + np.trace(np.cov(b.T)) - 2 * cross


@pytest.mark.slow
def test_digits_are_classified(digits):
    accuracy = json.loads((digits["folder"] / "accuracy.json").read_text())
    assert accuracy["heldout_accuracy"] >= 0.97
    assert accuracy["train_images"] == 1000
    assert accuracy["heldout_images"] == 797
    images, labels = digits["heldout"]
    with torch.no_grad():
        found = load_classifier(digits["folder"])(image_tensor(images))[0].argmax(1).numpy()
    assert accuracy["heldout_accuracy"] == pytest.approx(np.mean(found == labels), abs=2e-3)


@pytest.mark.slow
def test_training_images_are_not_special_to_it(digits):
    """FID of the split it was trained on against the other, next to random splits of both."""
    classifier = load_classifier(digits["folder"])
    both = features(classifier, np.concatenate([digits["train"][0], digits["heldout"][0]]))
    labels = np.concatenate([digits["train"][1], digits["heldout"][1]])
    rng = np.random.default_rng(0)
    others = []
    for _ in range(10):
        members = [rng.permutation(np.flatnonzero(labels == digit)) for digit in range(10)]
        first = np.concatenate([member[:100] for member in members])
        rest = np.setdiff1d(np.arange(len(labels)), first)
        others.append(frechet(both[first], both[rest]))
    assert frechet(both[:1000], both[1000:]) < 1.5 * np.mean(
        others
    )  # 1.2 over seeds; 1.7 without augmentation


@pytest.mark.slow
def test_fid_of_its_features_grows_with_damage(digits):
    classifier = load_classifier(digits["folder"])
    images, reference = digits["train"][0], features(classifier, digits["heldout"][0])
    rng = np.random.default_rng(0)

    def noisy(amount):
        return (images + amount * rng.normal(size=images.shape)).clip(0, 255).astype(np.uint8)

    found = [frechet(features(classifier, x), reference) for x in (images, noisy(25), noisy(60))]
    assert found[0] < 1.0
    assert found[1] > 2 * found[0]
    assert found[2] > 2 * found[1]


@pytest.mark.slow
def test_features_of_training_images_are_standardised(digits):
    found = features(load_classifier(digits["folder"]), digits["train"][0])
    assert found.shape == (1000, 64)
    torch.testing.assert_close(found.mean(0), torch.zeros(64).double(), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        found.std(0, correction=0), torch.ones(64).double(), atol=1e-4, rtol=0
    )


def test_uint8_and_floats_are_the_same_images():
    classifier = ImageClassifier()
    images = image_tensor(noise(3, 0))
    for a, b in zip(classifier(images), classifier(images.float() / 255), strict=True):
        assert torch.equal(a, b)
    logits, found = classifier(images)
    assert (logits.shape, found.shape) == ((3, 10), (3, 64))


def test_an_image_does_not_depend_on_its_batch():
    classifier, images = ImageClassifier().train(), image_tensor(noise(6, 0))
    torch.testing.assert_close(classifier(images)[1][2:3], classifier(images[2:3])[1])


def test_the_seed_decides_the_weights_and_nothing_else_does(tmp_path):
    train_small(tmp_path / "a")
    torch.manual_seed(123)
    before = torch.get_rng_state()
    train_small(tmp_path / "b")
    assert torch.equal(torch.get_rng_state(), before)
    train_small(tmp_path / "c", seed=1)
    a, b, c = ((tmp_path / name / WEIGHTS).read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_folder_states_what_was_done(tmp_path):
    returned = train_small(tmp_path / "c", width=8, seed=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c"]
    assert sorted(path.name for path in (tmp_path / "c").iterdir()) == [
        "accuracy.json",
        WEIGHTS,
        "config.json",
    ]
    assert json.loads((tmp_path / "c" / "accuracy.json").read_text()) == returned
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert (config["width"], config["classes"]) == (8, 10)
    assert config["training"]["seed"] == 4
    tensors = safetensors.torch.load_file(tmp_path / "c" / WEIGHTS)
    learned = [value for name, value in tensors.items() if not name.startswith("feature_")]
    assert returned["parameters"] == sum(value.numel() for value in learned)


def test_bad_images_and_labels_leave_the_old_folder(tmp_path):
    train_small(tmp_path / "c")
    before = (tmp_path / "c" / WEIGHTS).read_bytes()
    cases = [
        ({"images": noise(30, 0)[:, :16]}, "training images: images are 16x32"),
        ({"labels": np.arange(29) % 10}, "training labels: int64"),
        ({"labels": np.arange(30) / 30}, "training labels: float64"),
        ({"labels": np.arange(30)}, "training labels: from 0 to 29; allowed are 0 to 9"),
        ({"heldout_labels": np.arange(5) - 1}, "held-out labels: from -1 to 3"),
        ({"heldout": noise(5, 1) / 255}, "held-out images: images are float64"),
    ]
    for options, message in cases:
        with pytest.raises(DimrError, match=message):
            train_small(tmp_path / "c", **options)
    with pytest.raises(TrainingFailed, match="not finite after 3 steps with lr"):
        train_small(tmp_path / "c", lr=1e30)
    assert (tmp_path / "c" / WEIGHTS).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def rewrite(folder, change):
    tensors = safetensors.torch.load_file(folder / WEIGHTS)
    change(tensors)
    safetensors.torch.save_file(tensors, folder / WEIGHTS)


def test_damaged_or_foreign_weights_are_refused(tmp_path):
    train_small(tmp_path / "c", width=4)
    good = (tmp_path / "c" / WEIGHTS).read_bytes()
    edits = {
        "tensor 'head.bias' is missing": lambda t: t.pop("head.bias"),
        "tensor 'extra' is one too many": lambda t: t.update(extra=torch.zeros(1)),
        r"tensor 'head.bias' has shape \(7,\), not \(10,\)": lambda t: t.update(
            {"head.bias": torch.zeros(7)}
        ),
        "head.bias' holds values that are not finite": lambda t: t["head.bias"].fill_(torch.nan),
    }
    for message, change in edits.items():
        (tmp_path / "c" / WEIGHTS).write_bytes(good)
        rewrite(tmp_path / "c", change)
        with pytest.raises(DimrError, match=f"{WEIGHTS}: .*{message}"):
            load_classifier(tmp_path / "c")
    for content in (good[: len(good) // 2], good[:5], b"", b"x" * 100):
        (tmp_path / "c" / WEIGHTS).write_bytes(content)
        with pytest.raises(DimrError, match=f"{WEIGHTS}: not readable") as caught:
            load_classifier(tmp_path / "c")
        assert "\n" not in str(caught.value)
    (tmp_path / "c" / WEIGHTS).unlink()
    with pytest.raises(DimrError, match=f"{WEIGHTS}: no such file"):
        load_classifier(tmp_path / "c")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[]", "the whole file"),
        ('{"model": "DiMR"}', "model: 'DiMR'"),
        ('{"model": "DigitClassifier", "classes": 10}', "width: is missing"),
        ('{"model": "DigitClassifier", "classes": 10, "width": 6}', "width: 6"),
        ('{"model": "DigitClassifier", "classes": 10, "width": 1e9}', "width: 1000000000.0"),
        ('{"model": "DigitClassifier", "classes": true, "width": 4}', "classes: True"),
    ],
)
def test_damaged_configuration_is_refused(tmp_path, text, message):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(DimrError, match=f"config.json: {message}"):
        load_classifier(tmp_path)


def test_no_augmentation_changes_nothing():
    images = torch.rand(4, 3, 32, 32)
    none = Augmentation(rotation=0, scale=0, shift=0, brightness=0)
    torch.testing.assert_close(none(images, torch.Generator()), images, atol=1e-5, rtol=0)


def test_augmentation_stays_in_its_bounds():
    images = torch.full((500, 3, 32, 32), 0.5)
    bright = Augmentation(rotation=0, scale=0, shift=0, brightness=0.3)
    levels = bright(images, torch.Generator().manual_seed(0))[:, 0, 16, 16]
    assert 0.35 <= levels.min() < 0.36
    assert 0.64 < levels.max() <= 0.65
    point = torch.zeros(500, 3, 32, 32)
    point[:, :, 15:17, 15:17] = 1
    moved = Augmentation(rotation=0, scale=0, shift=0.1, brightness=0)(
        point, torch.Generator().manual_seed(0)
    )[:, 0]
    places = torch.arange(32.0)
    for axis in (1, 2):
        centre = (moved.sum(axis) * places).sum(1) / moved.sum((1, 2))
        offset = (centre - 15.5).abs()
        assert 3.0 < offset.max() <= 3.2 + 1e-3  # a tenth of 32 pixels
    full = Augmentation()(torch.rand(50, 3, 32, 32), torch.Generator().manual_seed(1))
    assert full.min() >= 0
    assert full.max() <= 1


def test_turns_are_numpys_and_none_is_missing():
    images = torch.rand(8, 3, 5, 5)
    turns = torch.arange(8) % 4
    for image, turn, found in zip(images, turns, turned(images, turns), strict=True):
        wanted = np.rot90(image.permute(1, 2, 0).numpy(), int(turn))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), wanted)


@pytest.mark.parametrize("size", [16, 64, 65, 100, 256])
def test_large_images_keep_their_details(size):
    """Every pixel counts, a fine pattern as well as its average; features are as many."""
    torch.manual_seed(0)
    classifier = ImageClassifier(8, 3, size)
    flat = torch.full((1, 3, size, size), 0.5)
    fine = flat.clone()
    fine[..., ::2, :] += 0.3
    fine[..., 1::2, :] -= 0.3
    corner = flat.clone()
    corner[..., -1, -1] = 1
    (_, a), (_, b), (_, c) = (classifier(each) for each in (flat, fine, corner))
    assert a.shape == (1, 64)
    assert (a - b).abs().max() > 1e-3
    assert (a - c).abs().max() > 0


def test_too_many_classes_are_one_line(tmp_path):
    with pytest.raises(DimrError, match="10001 classes; the classifier takes up to 10,000; extr"):
        train_small(tmp_path / "c", classes=10_001)


def test_learning_rate_warms_up_and_falls_to_zero():
    training = config(steps=200, lr=2.0)
    assert learning_rate(0, training) == 0
    assert learning_rate(1, training) == pytest.approx(2.0 / 20, rel=1e-3)
    assert learning_rate(100, training) == pytest.approx(1.0)
    assert learning_rate(200, training) == pytest.approx(0.0)


class ByFirstPixel(torch.nn.Module):
    """Its class is the value of the first pixel."""

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return torch.nn.functional.one_hot(images[:, 0, 0, 0].long(), 10).float(), images


def test_class_accuracy_counts():
    images, labels = noise(12, 0), np.arange(12) % 10
    images[:, 0, 0, 0] = labels
    images[[1, 5, 9], 0, 0, 0] = (labels[[1, 5, 9]] + 1) % 10
    # one logit of 1, nine of 0: a probability of e / (e + 9) = 0.23, of the others 0.085
    counted = own_class(ByFirstPixel(), images, labels, batch_size=5)
    assert counted == {"class_accuracy": 0.75, "low_fidelity_share": 0.25}
    with pytest.raises(DimrError, match="labels"):
        own_class(ByFirstPixel(), images, labels[:5])
