"""`dimr evaluate` with Inception and with the digit classifier, on samples of every form."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from tests.support.shards import write_shards

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.project import PROJECT
from dimr.config.schema import Classifier, EvaluateConfig
from dimr.data.digits import make_digits
from dimr.data.image_arrays import load_images
from dimr.evaluation.classifier import load_classifier, own_class
from dimr.evaluation.reference import open_set
from dimr.evaluation.train_classifier import train_classifier
from dimr.runtime.files import key_of, sha256, write_json
from dimr.runtime.record import seal
from dimr.sampling.folder import write_samples

from .conftest import save_pictures

COUNT, SPLITS = 12, 3
DIGITS = 40  # samples of digits
LABELS = np.arange(DIGITS) % 10


def measured(folder, config, samples, **compared):
    """Exit code, metrics and provenance of ``dimr evaluate``."""
    folder.mkdir(exist_ok=True)
    outputs = {"metrics": folder / "metrics.json", "provenance": folder / "provenance.json"}
    given = {"config": config, "samples": samples, "device": "cpu", **compared, **outputs}
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
    code = main(["evaluate", *options])
    if code:
        assert not any(path.exists() for path in outputs.values())
        return code, None, None
    return code, *(json.loads(path.read_text()) for path in outputs.values())


# --- with Inception -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sets(make_pictures, inception_features, spatial_features):
    """Generated and real images with their features, logits and spatial features."""
    real = make_pictures(COUNT + 2, 2)
    generated = (make_pictures(COUNT, 1).astype(float) * 0.7 + 0.3 * real[:COUNT]).astype(np.uint8)
    generated[::4] = np.random.default_rng(3).integers(0, 256, generated[::4].shape)  # far off
    return tuple(
        (images, *inception_features(images), spatial_features(images))
        for images in (generated, real)
    )


@pytest.fixture
def config(tmp_path, inception_weights):
    """evaluate.yaml for the random weights."""
    value = {
        "extractor": "inception-v3-compat", "weights": inception_weights.name,
        "isc_splits": SPLITS, "prc_neighborhood": 3, "prc_distances": "float16", "count": COUNT,
    }  # fmt: skip
    write_json(tmp_path / "evaluate.yaml", value)
    return EvaluateConfig.model_validate(value)


def pixel_shards(folder, images, record=None, classes=5):
    labels = np.arange(len(images)) % classes
    names = [str(n) for n in range(classes)]
    write_shards(
        folder, [images], labels, kind="pixels", classes=classes, class_names=names,
        scaling_factor=None, key="of the manifest", shard_size=6,
    )  # fmt: skip
    if record:
        write_json(folder / "record.json", record)
    return folder


def evaluate(folder, samples, reference, weights, **more):
    config = folder / "evaluate.yaml"
    return measured(folder, config, samples, reference=reference, extractor_weights=weights, **more)


def many_near(features):
    """Features of more images than a reference batch has, near its own."""
    rng = np.random.default_rng(5)
    chosen = features[rng.integers(0, len(features), 400)]
    return 1.5 * chosen + rng.normal(size=chosen.shape) / 3


def expect(definitions, metrics, sets, fid, sfid, tolerance):
    (_, a, logits, _), (_, b, _, _) = sets
    score, deviation = definitions.inception_scores(logits, SPLITS)
    # Batches of another size change the convolutions in the last float32 digits.
    assert metrics["fid"] == pytest.approx(fid, rel=tolerance)
    assert metrics["sfid"] == pytest.approx(sfid, rel=tolerance)
    assert metrics["inception_score"] == pytest.approx(score, rel=1e-4)
    assert metrics["inception_score_std"] == pytest.approx(deviation, rel=1e-3)
    precision, recall = definitions.adm_precision_recall(a, b)  # float16 is the same for so few
    assert metrics["precision"] == pytest.approx(precision, abs=1e-6)
    assert metrics["recall"] == pytest.approx(recall, abs=1e-6)
    assert precision == definitions.share_inside(a, b, 3)
    assert recall == definitions.share_inside(b, a, 3)


@pytest.mark.slow
def test_against_an_adm_batch_of_other_statistics(
    tmp_path, sets, config, inception_weights, definitions
):
    """FID and sFID from the file's statistics, precision and recall from its images."""
    (generated, a, _, a_spatial), (real, b, _, b_spatial) = sets
    many, many_spatial = many_near(b), many_near(b_spatial)
    mu, sigma = many.mean(0), np.cov(many.T)
    np.savez(tmp_path / "samples.npz", generated, np.arange(COUNT) % 4)
    np.savez(
        tmp_path / "batch.npz", arr_0=real, mu=mu.astype(np.float32), sigma=sigma,
        mu_s=many_spatial.mean(0), sigma_s=np.cov(many_spatial.T),
    )  # fmt: skip
    code, metrics, provenance = evaluate(
        tmp_path, tmp_path / "samples.npz", tmp_path / "batch.npz", inception_weights, batch=7
    )
    assert code == 0
    fid = definitions.frechet_of_few(a, many)
    assert abs(fid - definitions.frechet_of_few(a, b)) > 0.05 * fid  # else the two go unseen
    sfid = definitions.frechet_of_few(a_spatial, many_spatial)
    assert abs(sfid - definitions.frechet_of_few(a_spatial, b_spatial)) > 0.05 * sfid
    expect(definitions, metrics, sets, fid, sfid, tolerance=1e-4)
    assert set(metrics) == {
        "fid", "sfid", "inception_score", "inception_score_std", "precision", "recall", "images",
    }  # fmt: skip
    assert metrics["images"] == COUNT
    assert 0 < metrics["precision"] < 1  # a coin with two equal sides proves nothing
    digest = sha256(tmp_path / "batch.npz")
    own = sha256(tmp_path / "samples.npz")
    assert provenance["key"] == section_key(config, own, digest)
    assert provenance["inputs"] == {"samples": own, "reference": digest}
    assert provenance["reference"]["sha256"] == digest
    assert provenance["reference"]["images"] == len(real)
    assert provenance["reference"]["fid_statistics"] == "mu and sigma of the file"
    assert provenance["reference"]["sfid_statistics"] == "mu_s and sigma_s of the file"
    assert provenance["precision_recall_distances"] == "float16"
    assert provenance["samples"]["labels"] == "arr_1: interleaved, i mod 4"
    assert provenance["reference"]["labels"] == "not known: not asked for"
    assert provenance["inception_score_order"] == "as they are"
    assert provenance["extractor"] == "inception-v3-compat"
    assert provenance["extractor_weights"]["sha256"] == sha256(inception_weights)
    assert provenance["layers"] == {
        "isc": "logits_unbiased", "fid": "2048", "prc": "2048", "sfid": "mixed_6/conv",
    }  # fmt: skip
    assert provenance["evaluate"]["isc_splits"] == SPLITS
    assert provenance["versions"]["torch-fidelity"]


@pytest.mark.slow
def test_folder_against_folder_without_statistics(
    tmp_path, sets, config, inception_weights, definitions
):
    (generated, a, _, a_spatial), (real, b, _, b_spatial) = sets
    samples = pixel_shards(tmp_path / "samples", generated, {"key": "s", "seconds": 3})
    reference = pixel_shards(tmp_path / "reference", real)
    code, metrics, provenance = evaluate(tmp_path, samples, reference, inception_weights)
    assert code == 0
    # 16 features of width 2048: rounding of 2,030 eigenvalues that are zero adds up.
    fid, sfid = (definitions.frechet_of_few(*two) for two in ((a, b), (a_spatial, b_spatial)))
    expect(definitions, metrics, sets, fid, sfid, tolerance=1e-3)
    assert provenance["key"] == section_key(config, "s", "of the manifest")
    assert provenance["samples"]["seconds"] == 3
    assert provenance["samples"]["labels"] == "labels.npy: interleaved, i mod 5"
    assert provenance["reference"]["fid_statistics"] == "of its images"
    assert provenance["reference"]["sfid_statistics"] == "of its images"
    assert provenance["reference"]["precision_recall_images"] == len(real)


@pytest.mark.slow
def test_no_sfid_where_the_reference_has_statistics_for_fid_alone(here, inception_weights):
    """Of the batch's own images it would be of others than FID."""
    with np.load(here / "reference.npz") as archive:
        np.savez(here / "batch.npz", **archive, mu=np.zeros(2048), sigma=np.eye(2048))
    code, metrics, provenance = evaluate(
        here, here / "samples.npz", here / "batch.npz", inception_weights
    )
    assert code == 0
    assert "fid" in metrics
    assert "sfid" not in metrics
    assert "sfid" not in provenance["layers"]
    assert "sfid_statistics" not in provenance["reference"]


@pytest.fixture
def here(tmp_path, config):
    """A folder with evaluate.yaml, good samples and a good reference, all of 16 images of 8 px."""
    write_json(tmp_path / "evaluate.yaml", {**config.model_dump(), "count": 16})
    small = np.random.default_rng(0).integers(0, 256, (16, 8, 8, 3), dtype=np.uint8)
    np.savez(tmp_path / "samples.npz", small)
    np.savez(tmp_path / "reference.npz", small)
    return tmp_path


def refused(here, caplog, weights, samples="samples.npz", reference="reference.npz"):
    """The one line of a refusal."""
    caplog.clear()
    code, *_ = evaluate(here, here / samples, here / reference, weights)
    assert code == 2
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_sets_that_do_not_fit_are_refused(here, caplog, inception_weights):
    small = np.zeros((16, 8, 8, 3), np.uint8)
    statistics = {"mu": np.zeros(2048), "sigma": np.eye(2048)}
    cases = {
        "larger": ({"arr_0": np.zeros((16, 16, 16, 3), np.uint8)}, r"\(8, 8, 3\) each; .*16, 16"),
        "floats": ({"arr_0": small / 255}, "images are float64; expected a uint8 array"),
        "few": ({"arr_0": small[:3]}, "3 of them; expected more than 3"),
        "grey": ({"arr_0": small[..., :1]}, "shape"),
        "named": ({"images": small}, "holds images; expected an array arr_0"),
        "alone": ({"arr_0": small, "mu": np.zeros(2048)}, "holds only mu"),
        "narrow": (
            {"arr_0": small, "mu": np.zeros(64), "sigma": np.eye(64)},
            r"mu is float64 \(64,\); expected floats \(2048,\)",
        ),
        "thin": ({"arr_0": small, **statistics, "sigma": np.eye(64)}, "sigma is float64"),
        "nan": ({"arr_0": small, **statistics, "mu": np.full(2048, np.nan)}, "mu holds values"),
        "whole": ({"arr_0": small, **statistics, "mu": np.zeros(2048, int)}, "mu is int64"),
        "lonely": (
            {"arr_0": small, **statistics, "mu_s": np.zeros(2023)},
            "holds only mu_s; expected mu_s and sigma_s, or neither",
        ),
        "other": (
            {"arr_0": small, **statistics, "mu_s": np.zeros(2023), "sigma_s": np.eye(7)},
            r"sigma_s is float64 \(7, 7\); expected floats \(2023, 2023\)",
        ),
        "flat": (
            {"arr_0": small, **statistics, "mu_s": np.zeros(2023), "sigma_s": -np.eye(2023)},
            "sigma_s is not a covariance",
        ),
    }
    for name, (arrays, message) in cases.items():
        np.savez(here / f"{name}.npz", **arrays)
        line = refused(here, caplog, inception_weights, reference=f"{name}.npz")
        assert f"{name}.npz" in line
        assert re.search(message, line), line
    for name in ("larger", "floats", "few"):
        assert f"{name}.npz" in refused(here, caplog, inception_weights, samples=f"{name}.npz")


def test_damaged_and_missing_files_are_refused(here, caplog, inception_weights):
    good = (here / "reference.npz").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 0xFF
    (here / "flipped.npz").write_bytes(flipped)
    (here / "short.npz").write_bytes(good[:-200])
    for name in ("flipped", "short"):
        line = refused(here, caplog, inception_weights, reference=f"{name}.npz")
        assert f"{name}.npz: not readable as .npz" in line
    assert "absent.npz: no such file" in refused(
        here, caplog, inception_weights, reference="absent.npz"
    )
    assert "nowhere: no such file or folder" in refused(
        here, caplog, inception_weights, samples="nowhere"
    )
    (here / "empty").mkdir()
    line = refused(here, caplog, inception_weights, samples="empty")
    assert "empty: no images here; expected an .npz (arr_0: uint8 (N, H, W, 3); arr_1" in line
    pixel_shards(here / "bent", np.load(here / "samples.npz")["arr_0"])
    shard = here / "bent/00001.npy"
    shard.write_bytes(shard.read_bytes()[:-1] + b"?")
    line = refused(here, caplog, inception_weights, samples="bent")
    assert "bent/00001.npy: checksum differs" in line
    write_shards(
        here / "latents", [np.ones((5, 8, 4, 4))], [0] * 5, kind="posterior", classes=1,
        class_names=["0"], scaling_factor=1.0, key="k", shard_size=5,
    )  # fmt: skip
    line = refused(here, caplog, inception_weights, samples="latents")
    assert "latents: shards of kind posterior; expected pixels" in line


def test_other_weights_are_refused(here, caplog, inception_weights):
    other = here / inception_weights.name
    torch.save({"layer": torch.zeros(3)}, other)
    expected = inception_weights.name[-12:-4]
    line = refused(here, caplog, other)
    assert f"SHA-256 begins with {sha256(other)[:8]}; expected {expected}" in line
    assert "absent.pth: no such file" in refused(here, caplog, here / "absent.pth")


def test_options_of_the_other_extractor_are_refused(here, caplog):
    common = [
        "evaluate", "--config", str(here / "evaluate.yaml"), "--samples", "s",
        "--metrics", "m", "--provenance", "p",
    ]  # fmt: skip
    takes = "extractor inception-v3-compat takes --reference or --images and --extractor-weights"
    assert main([*common, "--reference", "r"]) == 2
    assert caplog.messages == [f"dimr: --extractor-weights: missing: {takes}"]
    assert main([*common, "--reference", "r", "--extractor-weights", "w", "--images", "i"]) == 2
    assert "--images: not used here" in caplog.messages[-1]
    digits = {"extractor": "digits", "isc_splits": 2, "prc_neighborhood": 3, "count": 16}
    write_json(here / "evaluate.yaml", digits)
    assert main([*common, "--reference", "r"]) == 2
    assert "takes --images and --classifier" in caplog.messages[-1]


def test_another_number_of_images_is_refused(here, caplog, inception_weights):
    small = np.load(here / "samples.npz")["arr_0"]
    np.savez(here / "fewer.npz", small[:15])
    pixel_shards(here / "folder", small[:15])
    for name in ("fewer.npz", "folder"):
        line = refused(here, caplog, inception_weights, samples=name)
        assert f"{name}: 15 images; the configuration's count is 16" in line
    digits = {"extractor": "digits", "isc_splits": 2, "prc_neighborhood": 3, "count": 16}
    write_json(here / "evaluate.yaml", digits)
    command = ["--images", "none", "--classifier", "none", "--metrics", "m", "--provenance", "p"]
    common = ["evaluate", "--config", str(here / "evaluate.yaml"), "--device", "cpu"]
    assert main([*common, "--samples", str(here / "fewer.npz"), *command]) == 2
    assert "fewer.npz: 15 images" in caplog.messages[-1]


@pytest.mark.parametrize("name", ["imagenet64/dimr-m-3r/0", "digits/real/0", "workspace"])
def test_a_runs_evaluation_knows_how_many_images_are_drawn(name):
    run = PROJECT.run(name)
    phase = run.phases()["evaluate"]
    assert phase.count == run.recipe.sample.count
    assert phase.model_dump(exclude={"count"}) == run.recipe.evaluate.model_dump()


@pytest.mark.slow
def test_sorted_classes_and_unknown_ones_have_the_score_of_a_mixed_order(
    here, caplog, inception_weights
):
    """Class-sorted shards are put in turns; where nothing is known the order is random."""
    images = np.load(here / "samples.npz")["arr_0"]
    write_shards(
        here / "sorted", [images], np.arange(16) // 4, kind="pixels", classes=4,
        class_names=list("abcd"), scaling_factor=None, key="k", shard_size=16,
    )  # fmt: skip
    notes = {}
    for name in ("sorted", "samples.npz"):
        caplog.clear()
        code, metrics, provenance = evaluate(
            here, here / name, here / "reference.npz", inception_weights
        )
        assert code == 0
        notes[name] = provenance["inception_score_order"], caplog.text
    order = open_set(here / name).labels.score_order(16)
    np.savez(here / "mixed.npz", images[order], np.arange(16) % 4)
    _, mixed, _ = evaluate(here, here / "mixed.npz", here / "reference.npz", inception_weights)
    for key in ("inception_score", "inception_score_std"):
        assert metrics[key] == pytest.approx(mixed[key], rel=1e-4)
    assert notes["sorted"][0] == "random, seed 0, classes in turn"
    assert notes["samples.npz"][0] == "random, seed 0"
    assert "sorted: classes are not interleaved" in notes["sorted"][1]
    assert "labels are not known (no arr_1): the Inception Score takes" in notes["samples.npz"][1]


# --- with the digit classifier --------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The digits' images and a classifier of them, as steps leave them."""
    folder = tmp_path_factory.mktemp("digits")
    make_digits(folder / "images", 16, 20)
    images, labels = load_images(folder / "images", "train")
    heldout, heldout_labels = load_images(folder / "images", "heldout")
    training = Classifier(steps=30, batch=50, lr=3e-3, seed=0)
    train_classifier(
        images, labels, folder / "classifier", training, heldout=heldout,
        heldout_labels=heldout_labels,
    )  # fmt: skip
    for name in ("images", "classifier"):
        seal(folder / name, name, {"key": key_of(name)})
    config = {"extractor": "digits", "isc_splits": 4, "prc_neighborhood": 3, "count": DIGITS}
    write_json(folder / "evaluate.yaml", config)
    return folder


@pytest.fixture(scope="module")
def images(digits):
    """Samples: held-out digits, their labels interleaved."""
    found, labels = load_images(digits / "images", "heldout")
    chosen = np.concatenate([np.flatnonzero(labels == c)[: DIGITS // 10] for c in range(10)])
    return np.asarray(found[chosen.reshape(10, -1).T.reshape(-1)])


def evaluate_digits(digits, samples, out):
    compared = {"images": digits / "images", "classifier": digits / "classifier"}
    return measured(out, digits / "evaluate.yaml", samples, **compared)


@pytest.fixture(scope="module")
def own(digits, images, tmp_path_factory):
    """Our own folder of samples, and its metrics."""
    folder = tmp_path_factory.mktemp("own")
    write_samples(folder / "s", images, LABELS, list("0123456789"), "k")
    seal(folder / "s", "samples", {"key": "k"})
    code, metrics, provenance = evaluate_digits(digits, folder / "s", folder / "out")
    assert code == 0
    assert provenance["samples"]["labels"] == "labels.npy: interleaved, i mod 10"
    assert provenance["inception_score_order"] == "as they are"
    assert provenance["inputs"]["samples"] == "k"
    assert provenance["precision_recall_distances"] == "float32"
    return folder / "s", metrics


def close(found, wanted):
    return found == pytest.approx(wanted, rel=1e-5)


def test_others_with_labels_have_the_same_metrics(digits, images, own, tmp_path, caplog):
    said = own_class(load_classifier(digits / "classifier"), images, LABELS)
    accuracy = said["class_accuracy"]
    assert own[1]["class_accuracy"] == accuracy > 0.5
    np.savez(tmp_path / "a.npz", images, LABELS)
    np.save(save_pictures(tmp_path / "png", images) / "labels.npy", LABELS)
    for name in ("a.npz", "png"):
        code, metrics, provenance = evaluate_digits(
            digits, tmp_path / name, tmp_path / f"{name}-out"
        )
        assert code == 0
        assert close(metrics, own[1])
        assert provenance["inception_score_order"] == "as they are"
    assert not [message for message in caplog.messages if "order" in message]


def test_class_sorted_samples_have_the_right_score_and_accuracy(digits, images, own, tmp_path):
    order = np.argsort(LABELS, kind="stable")
    np.savez(tmp_path / "sorted.npz", images[order], LABELS[order])
    code, metrics, provenance = evaluate_digits(digits, tmp_path / "sorted.npz", tmp_path / "out")
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
        save_pictures(path, images)
    code, metrics, provenance = evaluate_digits(digits, path, tmp_path / "out")
    assert code == 0
    assert set(own[1]) - set(metrics) == {"class_accuracy", "low_fidelity_share"}
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
    assert evaluate_digits(digits, tmp_path / "a.npz", tmp_path / "out")[0] == 2
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
    assert evaluate_digits(digits, folder, tmp_path / "out")[0] == 2
    assert f"{folder / name}: " in caplog.messages[-1]


def test_a_damaged_classifier_is_not_used(digits, own, tmp_path, caplog):
    shutil.copytree(digits, tmp_path / "digits")
    path = tmp_path / "digits/classifier/classifier.safetensors"
    data = bytearray(path.read_bytes())
    data[-10] ^= 1
    path.write_bytes(data)
    assert evaluate_digits(tmp_path / "digits", own[0], tmp_path / "out")[0] == 2
    assert f"{path}: " in caplog.messages[-1]


def test_images_of_another_size_are_refused_before_they_are_read(digits, tmp_path, caplog):
    np.save(tmp_path / "a.npy", np.zeros((DIGITS, 8, 8, 3), np.uint8))
    assert evaluate_digits(digits, tmp_path / "a.npy", tmp_path / "out")[0] == 2
    assert "a.npy: images are 8x8; expected 16x16" in caplog.messages[-1]
