"""`dimr evaluate` with Inception, against the definitions on features taken independently."""

import json
import re

import numpy as np
import pytest
import torch
from tests.support.shards import write_shards

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.project import PROJECT
from dimr.config.schema import EvaluateConfig
from dimr.evaluation import fidelity
from dimr.evaluation.fidelity import frechet_distance, metrics_of_features, prc_reference
from dimr.evaluation.reference import open_set
from dimr.runtime.files import sha256, write_json

COUNT, SPLITS = 12, 3
LAYERS = {"isc": "logits", "fid": "features", "prc": "features"}


@pytest.fixture(scope="module")
def sets(make_pictures, inception_features):
    """Generated and real images with their features and logits."""
    real = make_pictures(COUNT + 2, 2)
    generated = (make_pictures(COUNT, 1).astype(float) * 0.7 + 0.3 * real[:COUNT]).astype(np.uint8)
    generated[::4] = np.random.default_rng(3).integers(0, 256, generated[::4].shape)  # far off
    return (generated, *inception_features(generated)), (real, *inception_features(real))


@pytest.fixture
def config(tmp_path, inception_weights):
    """evaluate.yaml for the random weights."""
    value = {
        "extractor": "inception-v3-compat", "weights": inception_weights.name,
        "isc_splits": SPLITS, "prc_neighborhood": 3, "count": COUNT,
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


def evaluate(folder, samples, reference, weights, *more):
    """Exit code, metrics and provenance."""
    code = main(
        [
            "evaluate", "--config", str(folder / "evaluate.yaml"), "--samples", str(samples),
            "--reference", str(reference), "--extractor-weights", str(weights),
            "--metrics", str(folder / "metrics.json"),
            "--provenance", str(folder / "provenance.json"), "--device", "cpu", *more,
        ]
    )  # fmt: skip
    outputs = [folder / "metrics.json", folder / "provenance.json"]
    if code:
        assert not any(path.exists() for path in outputs)
        return code, None, None
    return code, *(json.loads(path.read_text()) for path in outputs)


def expect(definitions, metrics, sets, fid, tolerance):
    (_, a, logits), (_, b, _) = sets
    score, deviation = definitions.inception_scores(logits, SPLITS)
    # Batches of another size change the convolutions in the last float32 digits.
    assert metrics["fid"] == pytest.approx(fid, rel=tolerance)
    assert metrics["inception_score"] == pytest.approx(score, rel=1e-4)
    assert metrics["inception_score_std"] == pytest.approx(deviation, rel=1e-3)
    precision, recall = definitions.adm_precision_recall(a, b)
    assert metrics["precision"] == pytest.approx(precision, abs=1e-6)
    assert metrics["recall"] == pytest.approx(recall, abs=1e-6)
    assert precision == definitions.share_inside(a, b, 3)
    assert recall == definitions.share_inside(b, a, 3)


def test_against_an_adm_batch_of_other_statistics(
    tmp_path, sets, config, inception_weights, definitions
):
    """FID from the file's mu and sigma, precision and recall from its images; a foreign .npz."""
    (generated, a, _), (real, b, _) = sets
    rng = np.random.default_rng(5)
    many = 1.5 * b[rng.integers(0, len(b), 400)] + rng.normal(size=(400, 2048)) / 3
    mu, sigma = many.mean(0), np.cov(many.T)
    np.savez(tmp_path / "samples.npz", generated, np.arange(COUNT) % 4)
    np.savez(
        tmp_path / "batch.npz", arr_0=real, mu=mu.astype(np.float32), sigma=sigma,
        mu_s=np.zeros(3), sigma_s=np.eye(3),
    )  # fmt: skip
    code, metrics, provenance = evaluate(
        tmp_path, tmp_path / "samples.npz", tmp_path / "batch.npz", inception_weights, "--batch=7"
    )
    assert code == 0
    fid = definitions.frechet_of_few(a, many)
    assert abs(fid - definitions.frechet_of_few(a, b)) > 0.05 * fid  # else the two go unseen
    expect(definitions, metrics, sets, fid, tolerance=1e-4)
    assert set(metrics) == {
        "fid", "inception_score", "inception_score_std", "precision", "recall", "images",
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
    assert provenance["samples"]["labels"] == "arr_1: interleaved, i mod 4"
    assert provenance["reference"]["labels"] == "not known: not asked for"
    assert provenance["inception_score_order"] == "as they are"
    assert provenance["extractor"] == "inception-v3-compat"
    assert provenance["extractor_weights"]["sha256"] == sha256(inception_weights)
    assert provenance["layers"] == {"isc": "logits_unbiased", "fid": "2048", "prc": "2048"}
    assert provenance["evaluate"]["isc_splits"] == SPLITS
    assert provenance["versions"]["torch-fidelity"]


def test_folder_against_folder_without_statistics(
    tmp_path, sets, config, inception_weights, definitions
):
    (generated, a, _), (real, b, _) = sets
    samples = pixel_shards(tmp_path / "samples", generated, {"key": "s", "seconds": 3})
    reference = pixel_shards(tmp_path / "reference", real)
    code, metrics, provenance = evaluate(tmp_path, samples, reference, inception_weights)
    assert code == 0
    # 16 features of width 2048: rounding of 2,030 eigenvalues that are zero adds up.
    expect(definitions, metrics, sets, definitions.frechet_of_few(a, b), tolerance=1e-3)
    assert provenance["key"] == section_key(config, "s", "of the manifest")
    assert provenance["samples"]["seconds"] == 3
    assert provenance["samples"]["labels"] == "labels.npy: interleaved, i mod 5"
    assert provenance["reference"]["fid_statistics"] == "of its images"
    assert provenance["reference"]["precision_recall_images"] == len(real)


# --- the same functions on features of which the definitions are sharp ----------------------------


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
    monkeypatch.setattr(fidelity, "PRC_REFERENCE", 70)
    monkeypatch.setattr(fidelity, "BLOCK", 64)
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


# --- bad input ------------------------------------------------------------------------------------


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
    takes = "extractor inception-v3-compat takes --reference and --extractor-weights"
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


def test_order_of_labels_is_recorded(tmp_path, make_pictures):
    images = make_pictures(10, 0)
    folder = pixel_shards(tmp_path / "a", images)
    assert open_set(folder).record["labels"] == "labels.npy: interleaved, i mod 5"
    write_shards(
        tmp_path / "sorted", [images], np.arange(10) // 2, kind="pixels", classes=5,
        class_names=list("abcde"), scaling_factor=None, key="k", shard_size=10,
    )  # fmt: skip
    opened = open_set(tmp_path / "sorted")
    assert opened.record["labels"] == "labels.npy: not interleaved"
    assert opened.record["key"] == "k"
    assert opened.statistics is None
