"""Where labels are read, and the order in which the Inception Score takes images."""

import os
import warnings
import zipfile

import numpy as np
import pytest
from PIL import Image

from dimr.evaluation.fidelity import metrics_of_features
from dimr.evaluation.image_sets import open_images
from dimr.evaluation.labels import Labels, file_labels, npz_labels
from dimr.evaluation.reference import open_set
from dimr.runtime.errors import DimrError

LAYERS = {"isc": "logits", "fid": "logits", "prc": "logits"}


def images(count):
    return np.random.default_rng(0).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)


def labelled(values, classes=None):
    return Labels(np.asarray(values), "arr_1", classes)


@pytest.mark.parametrize("count", [30, 33])
def test_interleaved_images_stay_as_they_are(count):
    labels = labelled(np.arange(count) % 10)
    assert labels.interleaved
    assert labels.score_order(count) is None
    assert labels.note == "arr_1: interleaved, i mod 10"
    assert not labelled(np.arange(count) % 10, 12).interleaved


def test_sorted_classes_of_one_size_take_turns():
    labels = np.repeat(np.arange(10), 50)
    order = labelled(labels).score_order(500)
    assert np.array_equal(np.sort(order), np.arange(500))
    assert np.array_equal(labels[order], np.arange(500) % 10)
    in_class = order[labels[order] == 3]
    assert np.array_equal(np.sort(in_class), np.arange(150, 200))
    assert not np.array_equal(in_class, np.arange(150, 200))  # at random within the class
    assert np.array_equal(order, labelled(labels).score_order(500))


def test_classes_whose_number_does_not_divide_the_images():
    labels = np.sort(np.arange(503) % 10)
    order = labelled(labels).score_order(503)
    assert np.array_equal(labels[order][:500], np.arange(500) % 10)
    assert labels[order][500:].tolist() == [0, 1, 2]


UNEVEN = np.sort(np.random.default_rng(1).integers(0, 10, 900))


@pytest.mark.parametrize("labels", [Labels(None, "no arr_1"), labelled(UNEVEN)])
def test_other_images_are_taken_at_random_by_a_fixed_seed(labels):
    order = labels.score_order(900)
    assert np.array_equal(np.sort(order), np.arange(900))
    assert np.array_equal(order, labels.score_order(900))
    # each tenth of the given order has about its share in the first tenth of the new one
    shares = np.bincount(order[:90] // 90, minlength=10)
    assert 1 <= shares.min() <= shares.max() <= 25
    assert not np.array_equal(order, np.arange(900))


def scores(logits, order=None):
    import torch

    features = {"logits": torch.from_numpy(logits)}
    found = metrics_of_features(features, features, LAYERS, isc_splits=10, score_order=order)
    return found["inception_score"], found["inception_score_std"]


def test_the_score_of_sorted_classes_is_that_of_interleaved_ones(definitions):
    """Ten classes that are told apart nearly always: 8.3, where sorted splits have about 1."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    logits = rng.normal(size=(1000, 10)) + 5.5 * np.eye(10)[labels]
    right = scores(logits)
    assert right == pytest.approx(definitions.inception_scores(logits, 10), rel=1e-9)
    order = np.argsort(labels, kind="stable")
    assert scores(logits[order])[0] < 1.2
    turns = labelled(labels[order]).score_order(1000)
    assert scores(logits[order], turns)[0] == pytest.approx(right[0], rel=0.01)
    shuffled = Labels(None, "none").score_order(1000)
    assert scores(logits[order], shuffled)[0] == pytest.approx(right[0], rel=0.07)
    expected = definitions.inception_scores(logits[order][shuffled], 10)
    assert scores(logits[order], shuffled) == pytest.approx(expected, rel=1e-9)


# --- where they are -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, ">i4", np.uint64])
def test_labels_of_an_npz(tmp_path, dtype):
    wanted = np.arange(12)[::-1] % 5
    np.savez(tmp_path / "a.npz", images(12), wanted.astype(dtype))
    opened = open_set(tmp_path / "a.npz")
    assert opened.labels.values.tolist() == wanted.tolist()
    assert opened.labels.values.dtype == np.int64
    assert opened.record["labels"] == "arr_1: not interleaved"


def test_zeros_alone_show_no_order(tmp_path):
    """They are also written where classes are not known; a set's own single class is known."""
    np.savez(tmp_path / "a.npz", images(12), np.zeros(12, int))
    found = npz_labels(tmp_path / "a.npz", 12)
    assert (found.interleaved, found.note) == (False, "arr_1: not interleaved")
    assert Labels(found.values, "labels.npy", classes=1).interleaved


def test_an_archive_with_two_arrays_of_one_name_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", images(12))
    with zipfile.ZipFile(tmp_path / "a.npz", "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr("arr_0.npy", archive.read("arr_0.npy"))
    with pytest.raises(DimrError, match=r"a\.npz: holds 'arr_0\.npy' 2 times: which\?"):
        open_set(tmp_path / "a.npz")


def test_labels_beside_pictures(tmp_path):
    for number, image in enumerate(images(40)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    assert open_set(tmp_path).record["labels"] == "not known: no labels.npy"
    labels = np.arange(40) % 10
    np.save(tmp_path / "labels.npy", labels)
    opened = open_set(tmp_path)
    assert opened.labels.values.tolist() == labels.tolist()
    assert opened.record["labels"] == "labels.npy: interleaved, i mod 10"
    for wrong, message in (
        (labels[:-1], "39 labels for 40 images"), (labels - 1, "labels from -1 to 8"),
        (labels / 2, "holds float64 .*; expected labels"),
    ):  # fmt: skip
        np.save(tmp_path / "labels.npy", wrong)
        with pytest.raises(DimrError, match=rf"labels\.npy: {message}"):
            open_set(tmp_path)


@pytest.mark.parametrize("kind", ["pipe", "folder", "gone"])
def test_labels_beside_pictures_must_be_a_file(kind, tmp_path):
    path = tmp_path / "labels.npy"
    {"pipe": os.mkfifo, "folder": os.mkdir, "gone": lambda p: p.symlink_to("x")}[kind](path)
    with pytest.raises(
        DimrError, match=rf"{path}: {'no such' if kind == 'gone' else 'not a'} file"
    ):
        file_labels(path, 3)


def test_what_is_no_labels_is_not_taken_for_them(tmp_path):
    cases = {
        "float32 (12,), no labels": np.zeros(12, np.float32),
        "bool (12,), no labels": np.zeros(12, bool),
        "int64 (12, 5), no labels": np.zeros((12, 5), int),
        "<U1 (12,), no labels": np.full(12, "a"),
    }
    for message, array in cases.items():
        np.savez(tmp_path / "a.npz", images(12), array)
        found = npz_labels(tmp_path / "a.npz", 12)
        assert (found.values, found.origin) == (None, f"arr_1 is {message}")
        assert found.note == f"not known: arr_1 is {message}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.arange(11), "11 labels for 12 images"),
        (np.zeros(0, int), "0 labels for 12 images"),
        (np.arange(12) - 1, "labels from -1 to 10; allowed are 0 to"),
        (np.full(12, 2**40), "labels from 1099511627776 to"),
        (np.array([{}] * 12, object), "holds Python objects"),
    ],
)
def test_labels_that_cannot_be_are_refused(tmp_path, values, message):
    np.savez(tmp_path / "a.npz", images(12), values)
    with pytest.raises(DimrError, match=rf"a\.npz: arr_1: {message}") as caught:
        open_set(tmp_path / "a.npz")
    assert "\n" not in str(caught.value)
    assert open_images(tmp_path / "a.npz").shape == (12, 4, 4, 3)
