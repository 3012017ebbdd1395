"""Metrics of sets of images of one's own: with their own classifier, and with Inception."""

import json

import numpy as np
import pytest
import yaml
from tests.support.own_arrays import SPLIT, shapes, write_images

from dimr.cli import main
from dimr.evaluation.classifier import load_classifier, own_class, piece_of
from dimr.evaluation.image_sets import image_tensor
from dimr.evaluation.memorisation import memorisation
from dimr.runtime.record import recorded_key
from dimr.sampling.folder import write_samples

TRAINING = {"steps": 60, "batch": 32, "lr": 3e-3, "seed": 0}


def make_set(folder, names, train_each, heldout_each, size=32, steps=60):
    """Images and their classifier, as the stages leave them."""
    labels = [np.arange(len(names) * each) % len(names) for each in (train_each, heldout_each)]
    splits = [(shapes(own, size, seed), own) for seed, own in enumerate(labels)]
    write_images(folder / "images", *splits, names)
    (folder / "classifier.yaml").write_text(yaml.safe_dump({**TRAINING, "steps": steps}))
    code = main(
        ["classifier", f"--config={folder}/classifier.yaml", f"--images={folder}/images",
         f"--out={folder}/classifier", "--threads=1"]
    )  # fmt: skip
    return code, splits


def evaluate(folder, drawn, labels, names, extractor="classifier", k=3, splits=2, **compared):
    """Exit code, metrics and provenance of samples."""
    out = folder / f"samples-{len(list(folder.glob('samples-*')))}"
    write_samples(out, drawn, np.asarray(labels), list(names), "k")
    config = {"extractor": extractor, "isc_splits": splits, "prc_neighborhood": k}
    if "extractor_weights" in compared:
        config["weights"] = compared["extractor_weights"].name
    (folder / "evaluate.yaml").write_text(yaml.safe_dump({**config, "count": len(drawn)}))
    given = {"config": folder / "evaluate.yaml", "samples": out, "device": "cpu", "threads": 1}
    given |= compared or {"images": folder / "images", "classifier": folder / "classifier"}
    files = {name: folder / f"{name}.json" for name in ("metrics", "provenance")}
    for file in files.values():
        file.unlink(missing_ok=True)
    options = [f"--{key.replace('_', '-')}={value}" for key, value in {**given, **files}.items()]
    code = main(["evaluate", *options])
    return code, *(json.loads(file.read_text()) if not code else None for file in files.values())


NAMES = ["blue squares", "été", "3"]


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A set of three classes, of 40 images each to train on and 30 held out."""
    folder = tmp_path_factory.mktemp("own")
    code, splits = make_set(folder, NAMES, 40, 30)
    assert code == 0
    return folder, splits


def test_its_classifier_says_what_it_tells_apart(own):
    folder, ((_, _), (heldout, labels)) = own
    config = json.loads((folder / "classifier/config.json").read_text())
    assert (config["model"], config["classes"], config["size"]) == ("ImageClassifier", 3, 32)
    assert config["class_names"] == NAMES
    assert config["training"]["augmentation"]["outside"] == "reflection"
    assert "task" not in config
    accuracy = json.loads((folder / "classifier/accuracy.json").read_text())
    assert accuracy["heldout_accuracy"] > 0.9
    said = own_class(load_classifier(folder / "classifier"), heldout, labels)
    assert said["class_accuracy"] == accuracy["heldout_accuracy"]


def test_real_images_are_near_and_noise_is_far(own, definitions):
    folder, ((train, train_labels), (heldout, labels)) = own
    code, itself, _ = evaluate(folder, heldout, labels, NAMES)
    assert code == 0
    assert itself["fid_own"] == pytest.approx(0, abs=1e-6)
    assert (itself["precision"], itself["recall"]) == (1, 1)
    assert itself["nearest_ratio"] == 1
    code, real, provenance = evaluate(folder, train[:90], train_labels[:90], NAMES)
    assert code == 0
    assert (real["nearest_distance"], real["near_copy_share"]) == (0, 1)
    noise = np.random.default_rng(5).integers(0, 256, heldout.shape, dtype=np.uint8)
    code, far, _ = evaluate(folder, noise, labels, NAMES)
    assert code == 0
    assert far["fid_own"] > 20 * real["fid_own"]
    assert far["nearest_ratio"] > 1.2

    classifier = load_classifier(folder / "classifier")
    logits, a = (each.double().numpy() for each in classifier(image_tensor(train[:90])))
    b = classifier(image_tensor(heldout))[1].double().numpy()
    assert real["fid_own"] == pytest.approx(definitions.frechet_of_few(a, b), rel=1e-3)
    assert real["precision"] == pytest.approx(definitions.share_inside(a, b, 3), abs=1e-6)
    assert real["recall"] == pytest.approx(definitions.share_inside(b, a, 3), abs=1e-6)
    score, deviation = definitions.inception_scores(logits, 2)
    assert real["inception_score"] == pytest.approx(score, rel=1e-4)
    assert real["inception_score_std"] == pytest.approx(deviation, rel=1e-2, abs=1e-4)
    assert "fid" not in real
    assert "fid_digits" not in real
    assert provenance["extractor"].startswith("classifier-")
    reference = provenance["reference"]
    assert (reference["split"], reference["counts"]) == (SPLIT, {"train": 120, "heldout": 90})
    assert provenance["inputs"]["images"] == recorded_key(folder / "images")
    assert "left_out" not in provenance


def test_a_set_of_one_class_is_told_by_its_quarter_turns(tmp_path):
    code, ((train, labels), _) = make_set(tmp_path, ["all"], 60, 40)
    assert code == 0
    config = json.loads((tmp_path / "classifier/config.json").read_text())
    assert (config["task"], config["classes"]) == ("quarter turns", 4)
    accuracy = json.loads((tmp_path / "classifier/accuracy.json").read_text())
    assert accuracy["heldout_accuracy"] > 0.8  # they are lighter above
    code, metrics, provenance = evaluate(tmp_path, train[:50], labels[:50], ["all"])
    assert code == 0
    assert set(metrics) == {
        "fid_own", "precision", "recall", "nearest_distance", "heldout_nearest_distance",
        "nearest_ratio", "near_copy_share", "images",
    }  # fmt: skip
    left_out = {"inception_score", "class_accuracy", "low_fidelity_share"}
    assert set(provenance["left_out"]) == left_out
    assert "quarter turns" in provenance["left_out"]["inception_score"]
    assert "inception_score_order" not in provenance
    upside_down = np.ascontiguousarray(train[:50, ::-1])
    code, turned, _ = evaluate(tmp_path, upside_down, labels[:50], ["all"])
    assert code == 0
    assert turned["fid_own"] > 3 * metrics["fid_own"]


def test_many_classes_of_two_images_each(tmp_path, caplog):
    names = [f"class {n}" for n in range(200)]
    code, ((train, labels), _) = make_set(tmp_path, names, 1, 1, size=16, steps=3)
    assert code == 0
    code, metrics, _ = evaluate(tmp_path, train, labels, names)
    assert code == 0
    assert np.isfinite(list(metrics.values())).all()
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


def test_few_images_give_a_warning_or_one_line(tmp_path, caplog):
    code, ((train, labels), _) = make_set(tmp_path, ["a", "b"], 4, 2, size=16, steps=2)
    assert code == 0
    code, metrics, _ = evaluate(tmp_path, train, labels, "ab")
    assert code == 0
    assert np.isfinite(list(metrics.values())).all()
    said = [one for one in caplog.messages if "for 64 features" in one]
    assert ["8 images" in said[0], "4 images" in said[1], len(said)] == [True, True, 2]
    for changes, message in (
        ({"k": 4}, "4 of them; expected more than 4, or a lower prc_neighborhood (recipes.yaml"),
        ({"splits": 9}, "isc_splits: 9; allowed are 1 to 8, the number of images (recipes.yaml"),
    ):
        assert evaluate(tmp_path, train, labels, "ab", **changes)[0] == 2
        assert message in caplog.messages[-1]


@pytest.mark.parametrize(
    ("train", "heldout", "size", "message"),
    [
        (4, 2, 8, "images are 8x8; the classifier takes 16 to 512 pixels; extractor inception"),
        (1, 2, 16, "training images: 1; the classifier needs 2 or more"),
    ],
)
def test_what_the_classifier_does_not_take_is_one_line(
    tmp_path, caplog, train, heldout, size, message
):
    assert make_set(tmp_path, ["one"], train, heldout, size, steps=1)[0] == 2
    assert message in caplog.messages[-1]
    assert not (tmp_path / "classifier").exists()


def test_large_images_are_looked_at_in_small_pieces():
    assert [piece_of(size) for size in (16, 64, 128, 512)] == [250, 250, 62, 3]


# --- with Inception -------------------------------------------------------------------------------


@pytest.mark.slow
def test_inception_compares_with_the_held_out_images(own, inception_weights, caplog):
    """As with an .npz of them, and with near copies."""
    folder, ((train, labels), (heldout, _)) = own
    few, theirs = train[:12], labels[:12]
    np.savez(folder / "reference.npz", heldout)
    weights = {"extractor_weights": inception_weights}
    kind = "inception-v3-compat"
    of_set, of_file = (
        evaluate(folder, few, theirs, NAMES, kind, **one, **weights)
        for one in ({"images": folder / "images"}, {"reference": folder / "reference.npz"})
    )
    assert of_set[0] == of_file[0] == 0
    near = memorisation(few, train, heldout)
    assert of_set[1] == pytest.approx({**of_file[1], **near}, rel=1e-5)
    assert not {"fid_own", "class_accuracy"} & set(of_set[1])
    provenance = of_set[2]
    assert provenance["reference"]["split"] == SPLIT
    assert provenance["reference"]["fid_statistics"] == "of its images"
    assert provenance["inputs"]["images"] == recorded_key(folder / "images")
    assert "class_accuracy" in provenance["left_out"]
    both = {"images": folder / "images", "reference": folder / "reference.npz"}
    assert evaluate(folder, few, theirs, NAMES, kind, **both, **weights)[0] == 2
    assert "takes --reference or --images and --extractor-weights" in caplog.messages[-1]
