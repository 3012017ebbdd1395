"""What ``dimr evaluate --samples`` takes: each form gives the same images, anything else a line."""

import io
import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from dimr.cli import main
from dimr.data.digits import load_images, make_digits
from tests.support.shards import write_shards
from dimr.evaluation.classifier import class_accuracy, load_classifier, train_classifier
from dimr.evaluation.image_sets import open_images
from dimr.evaluation.reference import open_set
from dimr.runtime.errors import DimrError
from dimr.runtime.files import key_of, sha256, write_json
from dimr.runtime.record import seal
from dimr.sampling.folder import write_samples

SIDE, COUNT, CLASSES = 16, 40, 10
LABELS = np.arange(COUNT) % CLASSES


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits' images and a classifier of them, as steps leave them."""
    folder = tmp_path_factory.mktemp("digits")
    make_digits(folder / "images", SIDE, 20)
    images, labels = load_images(folder / "images", "train")
    heldout, heldout_labels = load_images(folder / "images", "heldout")
    train_classifier(
        images, labels, folder / "classifier", heldout=heldout, heldout_labels=heldout_labels,
        steps=30, batch=50,
    )  # fmt: skip
    for name in ("images", "classifier"):
        seal(folder / name, name, {"key": key_of(name)})
    config = {"extractor": "digits", "isc_splits": 4, "prc_neighborhood": 3, "count": COUNT}
    write_json(folder / "evaluate.yaml", config)
    return folder


@pytest.fixture(scope="module")
def images(digits):
    """Samples: held-out digits, their labels interleaved."""
    found, labels = load_images(digits / "images", "heldout")
    chosen = np.concatenate([np.flatnonzero(labels == c)[: COUNT // 10] for c in range(10)])
    return np.asarray(found[chosen.reshape(10, -1).T.reshape(-1)])


def pictures(folder, images, kind="png", name="{}", **options):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{name.format(number)}.{kind}", **options)
    return folder


def shards(folder, images, labels=LABELS):
    write_shards(
        folder, [images], labels, kind="pixels", classes=CLASSES, class_names=list("0123456789"),
        scaling_factor=None, key="k", shard_size=15,
    )  # fmt: skip
    return folder


def evaluate(digits, samples, out):
    """Exit code, metrics and provenance."""
    out.mkdir(exist_ok=True)
    code = main(
        [
            "evaluate", "--config", str(digits / "evaluate.yaml"), "--samples", str(samples),
            "--images", str(digits / "images"), "--classifier", str(digits / "classifier"),
            "--metrics", str(out / "m.json"), "--provenance", str(out / "p.json"),
            "--device", "cpu",
        ]
    )  # fmt: skip
    if code:
        assert not list(out.iterdir())
        return code, None, None
    return code, *(json.loads((out / name).read_text()) for name in ("m.json", "p.json"))


def everything(images):
    return np.concatenate(list(images.batches(7)))


# --- the same images from every form --------------------------------------------------------------


def test_every_form_gives_the_same_images(images, tmp_path):
    np.savez(tmp_path / "a.npz", images)
    np.save(tmp_path / "a.npy", images)
    forms = [
        tmp_path / "a.npz", tmp_path / "a.npy", shards(tmp_path / "shards", images),
        pictures(tmp_path / "png", images), pictures(tmp_path / "padded", images, name="x_{:05d}"),
        pictures(tmp_path / "PNG", images, "PNG"),
    ]  # fmt: skip
    for path in forms:
        opened = open_images(path)
        assert opened.shape == images.shape
        for _ in range(2):
            assert np.array_equal(everything(opened), images)
    jpegs = pictures(tmp_path / "jpg", images, "jpg", quality=95)
    assert np.abs(everything(open_images(jpegs)).astype(int) - images).mean() < 4


def test_names_are_sorted_as_people_count(images, tmp_path):
    names = [
        "img 1.png",
        "img 2.png",
        "img 10.png",
        "img 010.png",
        "img 100.png",
        "x.png",
        "x1.png",
    ]
    folder = tmp_path / "named"
    folder.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(images[number]).save(folder / name)
    found = open_images(folder)
    order = [names.index(path.name) for path in found.paths]
    assert order == [0, 1, 3, 2, 4, 5, 6]  # 010 before 10: as names
    assert np.array_equal(everything(found), images[order])


def test_pictures_are_read_with_their_meaning_kept(tmp_path):
    """16 bits, transparency, orientation, palettes: as ``as_rgb`` has them."""
    folder = tmp_path / "modes"
    folder.mkdir()
    deep = np.linspace(10_000, 50_000, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(deep).save(folder / "0.png")
    Image.fromarray(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8)).save(folder / "1.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    upright = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(upright[::-1, ::-1].copy()).save(folder / "2.png", exif=exif)
    found = everything(open_images(folder))
    assert np.array_equal(found[0, ..., 1], np.rint(deep / 257))
    assert (found[1] == 255).all()
    assert np.array_equal(found[2], upright)


def test_images_that_are_turned_need_not_lie_as_they_are_stored(tmp_path):
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), (1, 2, 3)).save(folder / "0.png")
    Image.new("RGB", (4, 6), (1, 2, 3)).save(folder / "1.png", exif=exif)
    assert everything(open_images(folder)).shape == (2, 4, 6, 3)
    Image.new("RGB", (4, 6), (1, 2, 3)).save(folder / "1.png")
    with pytest.raises(DimrError, match=r"turned/1\.png: is 6x4; 0\.png is 4x6, and all must be"):
        everything(open_images(folder))


def test_what_identifies_pictures_is_their_names_and_bytes(images, tmp_path):
    one, other = (pictures(tmp_path / name, images[:5]) for name in ("a", "b"))
    key = open_set(one).record["key"]
    assert key == open_set(other).record["key"]
    (other / "4.png").rename(other / "5.png")
    assert open_set(other).record["key"] != key
    np.save(tmp_path / "a.npy", images)
    assert open_set(tmp_path / "a.npy").record["key"] == sha256(tmp_path / "a.npy")


# --- labels ---------------------------------------------------------------------------------------


def test_labels_beside_pictures(images, tmp_path):
    folder = pictures(tmp_path / "png", images)
    assert open_set(folder).record["labels"] == "not known: no labels.npy"
    np.save(folder / "labels.npy", LABELS)
    opened = open_set(folder)
    assert opened.labels.values.tolist() == LABELS.tolist()
    assert opened.record["labels"] == "labels.npy: interleaved, i mod 10"
    for wrong, message in (
        (LABELS[:-1], "39 labels for 40 images"), (LABELS / 2, "holds float64 .*; expected labels"),
        (LABELS - 1, "labels from -1 to 8"),
    ):  # fmt: skip
        np.save(folder / "labels.npy", wrong)
        with pytest.raises(DimrError, match=rf"labels\.npy: {message}"):
            open_set(folder)


# --- anything else --------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(DimrError) as caught:
        open_set(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_anything_else_is_told_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/.a.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name in ("empty", "hidden", "notes.txt", "pipe.npz", "loop.npz"):
        assert refusal(tmp_path / name).startswith(
            f"{tmp_path / name}: no images here; expected an .npz (arr_0: uint8 (N, H, W, 3);"
        )
    assert "nowhere: no such file or folder; expected an .npz" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("stray", ["a.txt", "b.webp", "c.npy", "loop.png", "pipe.png", "below"])
def test_what_is_among_pictures_must_be_pictures(stray, images, tmp_path):
    folder = pictures(tmp_path / "png", images[:4])
    if stray == "below":
        (folder / stray).mkdir()
    elif stray == "loop.png":
        (folder / stray).symlink_to(stray)
    elif stray == "pipe.png":
        os.mkfifo(folder / stray)
    else:
        (folder / stray).write_bytes(b"x")
    assert refusal(folder).startswith(f"{folder / stray}: not a PNG or JPEG file; expected an .npz")


def test_pictures_of_several_sizes_name_the_first_that_differs(images, tmp_path):
    folder = pictures(tmp_path / "png", images[:12])
    for number in (11, 3):
        Image.new("RGB", (17, 16)).save(folder / f"{number}.png")
    assert refusal(folder) == f"{folder / '3.png'}: is 16x17; 0.png is 16x16, and all must be"


def test_pictures_that_do_not_decode_are_named(images, tmp_path):
    folder = pictures(tmp_path / "png", images[:3])
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(b"GIF89a" + whole)
    assert refusal(folder) == f"{folder / '1.png'}: neither PNG nor JPEG"
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DimrError, match=r"1\.png: not readable \("):
        everything(open_images(folder))
    Image.new("F", (SIDE, SIDE)).save(file := io.BytesIO(), "TIFF")
    (folder / "1.png").write_bytes(file.getvalue())
    assert "neither PNG nor JPEG" in refusal(folder)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 4, 3)), "images are float64; expected a uint8 array"),
        (np.zeros((3, 3, 4, 4), np.uint8), "images have shape"),
        (np.zeros((3, 4, 4), np.uint8), "images have shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), "images have shape"),
        (np.asfortranarray(np.zeros((3, 4, 4, 3), np.uint8)), "an array in Fortran order"),
        (np.array([{}], object), "holds Python objects"),
    ],
)
def test_arrays_of_something_else(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array)
    assert message in refusal(tmp_path / "a.npy")


def test_a_folder_of_samples_whose_manifest_is_gone_is_no_folder_of_pictures(images, tmp_path):
    write_samples(tmp_path / "s", images, LABELS, list("0123456789"), "k")
    (tmp_path / "s/manifest.json").unlink()
    assert "not a PNG or JPEG file; expected an .npz" in refusal(tmp_path / "s")


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own(digits, images, tmp_path_factory):
    """Our own folder of samples, and its metrics."""
    folder = tmp_path_factory.mktemp("own")
    write_samples(folder / "s", images, LABELS, list("0123456789"), "k")
    seal(folder / "s", "samples", {"key": "k"})
    code, metrics, provenance = evaluate(digits, folder / "s", folder / "out")
    assert code == 0
    assert provenance["samples"]["labels"] == "labels.npy: interleaved, i mod 10"
    assert provenance["inception_score_order"] == "as they are"
    assert provenance["inputs"]["samples"] == "k"
    return folder / "s", metrics


def close(found, wanted):
    return found == pytest.approx(wanted, rel=1e-5)


def test_others_with_labels_have_the_same_metrics(digits, images, own, tmp_path, caplog):
    accuracy = class_accuracy(load_classifier(digits / "classifier"), images, LABELS)
    assert own[1]["class_accuracy"] == accuracy > 0.5
    np.savez(tmp_path / "a.npz", images, LABELS)
    np.save(pictures(tmp_path / "png", images) / "labels.npy", LABELS)
    for name in ("a.npz", "png"):
        code, metrics, provenance = evaluate(digits, tmp_path / name, tmp_path / f"{name}-out")
        assert code == 0
        assert close(metrics, own[1])
        assert provenance["inception_score_order"] == "as they are"
    assert not [message for message in caplog.messages if "order" in message]


def test_class_sorted_samples_have_the_right_score_and_accuracy(digits, images, own, tmp_path):
    order = np.argsort(LABELS, kind="stable")
    np.savez(tmp_path / "sorted.npz", images[order], LABELS[order])
    code, metrics, provenance = evaluate(digits, tmp_path / "sorted.npz", tmp_path / "out")
    assert code == 0
    assert metrics["class_accuracy"] == own[1]["class_accuracy"]
    assert metrics["inception_score"] == pytest.approx(own[1]["inception_score"], rel=0.1)
    for name in ("fid_digits", "precision", "recall", "nearest_ratio"):
        assert metrics[name] == pytest.approx(own[1][name], rel=1e-5)
    assert provenance["samples"]["labels"] == "arr_1: not interleaved"
    assert provenance["inception_score_order"] == "random, seed 0, classes in turn"


@pytest.mark.parametrize("form", ["npz", "npy", "png"])
def test_without_labels_what_needs_them_is_left_out(digits, images, own, tmp_path, caplog, form):
    path = tmp_path / f"a.{form}"
    if form == "npz":
        np.savez(path, images)
    elif form == "npy":
        np.save(path, images)
    else:
        pictures(path, images)
    code, metrics, provenance = evaluate(digits, path, tmp_path / "out")
    assert code == 0
    assert set(own[1]) - set(metrics) == {"class_accuracy"}
    [warning] = [message for message in caplog.messages if "labels are not known" in message]
    assert warning.startswith(f"{path}: ")
    assert "class_accuracy is left out" in warning
    assert provenance["samples"]["labels"].startswith("not known: ")
    assert provenance["inception_score_order"] == "random, seed 0"


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 1, "arr_1: from 1 to 10; the classifier knows 0 to 9"),
        (LABELS[:-1], "arr_1: 39 labels for 40 images"),
        (-LABELS, "arr_1: labels from -9 to 0; allowed are 0 to"),
    ],
)
def test_labels_that_do_not_fit(digits, images, tmp_path, caplog, labels, message):
    np.savez(tmp_path / "a.npz", images, labels)
    assert evaluate(digits, tmp_path / "a.npz", tmp_path / "out")[0] == 2
    assert message in caplog.messages[-1]
    assert "a.npz" in caplog.messages[-1]


@pytest.mark.parametrize("name", ["00000.npy", "labels.npy", "manifest.json", "record.json"])
def test_damaged_samples_are_not_measured(digits, own, tmp_path, caplog, name):
    """On this path as on Inception's: every checksum is compared first."""
    folder = tmp_path / "s"
    shutil.copytree(own[0], folder)
    data = bytearray((folder / name).read_bytes())
    if name.endswith(".npy"):
        data[len(data) // 3 * 2 : -1] = bytes(len(data[len(data) // 3 * 2 : -1]))
    else:
        data = data.replace(b'"k"', b'"q"')
    (folder / name).write_bytes(data)
    assert evaluate(digits, folder, tmp_path / "out")[0] == 2
    assert f"{folder / name}: " in caplog.messages[-1]


def test_a_damaged_classifier_is_not_used(digits, own, tmp_path, caplog):
    shutil.copytree(digits, tmp_path / "digits")
    path = tmp_path / "digits/classifier/classifier.safetensors"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert evaluate(tmp_path / "digits", own[0], tmp_path / "out")[0] == 2
    assert f"{path}: " in caplog.messages[-1]


def test_images_of_another_size_are_refused_before_they_are_read(digits, tmp_path, caplog):
    np.save(tmp_path / "a.npy", np.zeros((COUNT, 8, 8, 3), np.uint8))
    assert evaluate(digits, tmp_path / "a.npy", tmp_path / "out")[0] == 2
    assert "a.npy: images are 8x8; expected 16x16" in caplog.messages[-1]
