"""Confidence of the own class, and the images that are chosen by it."""

import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch
import yaml
from PIL import Image
from tests.support.messages import error_in

from dimr.cli import main
from dimr.config.project import ROOT, Project
from dimr.config.schema import Distortion
from dimr.evaluation.classifier import ImageClassifier
from dimr.evaluation.image_sets import ArrayImages
from dimr.human_study.classifiers import digit_scorer, fetch_timm, load_timm, timm_scorer
from dimr.human_study.confidence import (
    Chosen,
    choose,
    draw_some,
    least_confident,
    low_fidelity,
    own_confidence,
    read_chosen,
    read_confidence,
    read_summary,
    summarise,
    write_scores,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.sampling.folder import write_samples

TIMM = "test_resnet.r160_in1k"  # of timm, for tests: 160 pixels, 1,000 classes
CPU = torch.device("cpu")
COUNT = 60


def settings(**changes):
    given = {"classifier": "digits", "threshold": 0.2, "shown": 10, "seed": 0}
    return Distortion.model_validate({**given, **changes})


def noise(count, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """A folder with a digit classifier of random weights, and samples."""
    folder = tmp_path_factory.mktemp("digits")
    (folder / "classifier").mkdir()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = ImageClassifier(4)
        network.head.weight.data *= 30  # else all classes are alike
    safetensors.torch.save_file(network.state_dict(), folder / "classifier/classifier.safetensors")
    config = {"model": "DigitClassifier", "width": 4, "classes": 10, "size": 32}
    write_json(folder / "classifier/config.json", config)
    write_json(folder / "classifier/record.json", {"key": "c"})

    def add(samples):
        write_json(samples / "record.json", {"key": "s"})

    names = list("0123456789")
    write_samples(folder / "samples", noise(COUNT, 32), np.arange(COUNT) % 10, names, "s", add)
    (folder / "config.yaml").write_text(json.dumps(settings().model_dump()))
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A file of random weights of a timm model."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = timm.create_model(TIMM)
    network.fc.weight.data *= 100
    file = tmp_path_factory.mktemp("timm") / "model.safetensors"
    safetensors.torch.save_file(network.state_dict(), file)
    return file


# --- the choice -----------------------------------------------------------------------------------


def test_the_least_confident_share():
    confidence = np.array([0.5, 0.1, 0.9, 0.1, 0.3, 0.7, 0.2, 1.0, 0.6, 0.8], np.float32)
    assert least_confident(confidence, 0.3).tolist() == [1, 3, 6]  # equals: by index
    assert least_confident(confidence, 0.21).tolist() == [1, 3, 6]  # rounded up
    assert least_confident(confidence, 0.001).tolist() == [1]
    assert len(least_confident(confidence, 1)) == 10
    # 0.07 x 100 is 7.000000000000001 in floating point
    assert len(least_confident(np.zeros(100, np.float32), 0.07)) == 7


def test_low_fidelity_is_below_the_threshold():
    confidence = np.array([0.2, 0.19, 0.9, 0.0, 0.21], np.float32)  # 0.2 itself is not below
    assert low_fidelity(confidence, 0.2).tolist() == [1, 3]
    assert low_fidelity(confidence, 1).tolist() == [0, 1, 2, 3, 4]
    assert len(low_fidelity(confidence[:1], 0.2)) == 0


def test_more_than_are_shown_are_drawn_at_random():
    confidence = np.random.default_rng(0).random(1000).astype(np.float32)
    low = set(np.flatnonzero(confidence < 0.1).tolist())
    drawn = choose(confidence, settings(threshold=0.1, shown=30))
    assert len(set(drawn.tolist())) == 30
    assert set(drawn.tolist()) < low
    assert drawn.tolist() != sorted(drawn.tolist())
    assert drawn.tolist() != sorted(drawn.tolist(), key=lambda i: confidence[i])
    again = choose(confidence, settings(threshold=0.1, shown=30))
    other = choose(confidence, settings(threshold=0.1, shown=30, seed=1))
    assert (drawn == again).all()
    assert set(drawn.tolist()) != set(other.tolist())
    # the first of a draw are a draw, whatever its size
    assert (choose(confidence, settings(threshold=0.1, shown=8)) == drawn[:8]).all()
    everything = choose(confidence, settings(threshold=0.1, shown=500))
    assert set(everything.tolist()) == low
    # of the same share of two models' images the same ranks are drawn
    ranks = {i: r for r, i in enumerate(least_confident(confidence, 0.1).tolist())}
    first = draw_some(least_confident(confidence, 0.1), 30, 0)
    shifted = draw_some(least_confident(np.roll(confidence, 5), 0.1), 30, 0)
    assert [ranks[(i - 5) % 1000] for i in shifted] == [ranks[i] for i in first]


def test_the_summary_by_hand():
    confidence = np.array([0.0, 0.25, 0.5, 0.75, 1.0], np.float32)
    found = summarise(confidence, settings(threshold=0.3, shown=1))
    quantiles = found.pop("quantiles")
    expected = {"0.01": 0.01, "0.05": 0.05, "0.25": 0.25, "0.5": 0.5, "0.75": 0.75, "0.95": 0.95}
    assert quantiles == pytest.approx(expected)
    assert found == {"images": 5, "mean": 0.5, "low_fidelity": 2, "shown": 1}
    assert summarise(confidence + 1, settings())["low_fidelity"] == 0


# --- the classifiers ------------------------------------------------------------------------------


def test_confidence_of_the_digit_classifier(digits):
    images, labels = noise(40, 32), np.arange(40) % 10
    scorer = digit_scorer(digits / "classifier", CPU)
    shards = ArrayImages("samples", [images[:23], images[23:]])
    found = own_confidence(shards, labels, scorer, 7)
    with torch.no_grad():
        logits = scorer.logits(torch.from_numpy(images).permute(0, 3, 1, 2)).double().numpy()
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(found, expected[np.arange(40), labels], rtol=1e-4, atol=1e-7)
    assert found.min() < 0.05 < 0.2 < found.max()
    for batch in (1, 40):
        other = own_confidence(shards, labels, scorer, batch)
        np.testing.assert_allclose(found, other, rtol=1e-5, atol=1e-7)
        assert (choose(found, settings()) == choose(other, settings())).all()


def test_confidence_of_a_timm_model(weights):
    """Against timm's recipe done by hand: the short side, a centre crop, the mean and deviation."""
    images, labels = noise(6, 180), np.array([0, 999, 5, 5, 17, 400])
    scorer = timm_scorer(TIMM, weights, CPU, threads=2)
    found = own_confidence(ArrayImages("samples", [images]), labels, scorer, 4)
    assert scorer.facts["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    crop = scorer.facts["data"]
    assert (crop["input_size"], crop["crop_pct"]) == ([3, 160, 160], 0.95)
    inputs = []
    for image in images:
        side = int(160 / 0.95)
        resized = Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)
        start = round((side - 160) / 2)
        array = np.asarray(resized)[start : start + 160, start : start + 160] / 255
        inputs.append(((array - crop["mean"]) / crop["std"]).transpose(2, 0, 1))
    network = load_timm(TIMM, weights).eval()
    with torch.no_grad():
        logits = network(torch.tensor(np.stack(inputs), dtype=torch.float32)).double()
    expected = logits.softmax(1)[torch.arange(6), torch.from_numpy(labels)]
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    alone = own_confidence(ArrayImages("samples", [images]), labels, scorer, 1)
    np.testing.assert_allclose(found, alone, rtol=1e-4)


def test_weights_in_other_files(weights, tmp_path):
    tensors = safetensors.torch.load_file(weights)
    torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}}, tmp_path / "w.pth")
    same = load_timm(TIMM, tmp_path / "w.pth").state_dict()
    assert all(torch.equal(same[name], tensors[name]) for name in tensors)
    fetch_timm(TIMM, tmp_path / "w.pth", tmp_path / "out/w.safetensors")
    copied = safetensors.torch.load_file(tmp_path / "out/w.safetensors")
    assert all(torch.equal(copied[name], tensors[name]) for name in tensors)


def test_weights_that_are_refused(weights, tmp_path):
    tensors = safetensors.torch.load_file(weights)
    file = tmp_path / "bad.safetensors"
    for change, message in (
        (
            {"fc.weight": torch.zeros(10, 384)},
            r"'fc\.weight' has shape \(10, 384\)",
        ),
        ({"extra": torch.zeros(1)}, "'extra' is one too many"),
        ({"fc.bias": torch.full((1000,), torch.nan)}, r"fc\.bias.* holds values that are not fin"),
    ):
        safetensors.torch.save_file({**tensors, **change}, file)
        with pytest.raises(DimrError, match=message):
            fetch_timm(TIMM, file, tmp_path / "out.safetensors")
    torch.save({"w": print}, tmp_path / "code.pth")
    with pytest.raises(DimrError, match=r"code\.pth: holds code or objects"):
        load_timm(TIMM, tmp_path / "code.pth")
    assert not (tmp_path / "out.safetensors").exists()


def test_names_that_timm_does_not_have(monkeypatch):
    with pytest.raises(DimrError, match=r"no pretrained model 'resnet500.*did you mean .*resnet50"):
        load_timm("resnet500.a1_in1k", None)

    def offline(*_, **__):
        raise OSError("no route\nto host")

    monkeypatch.setattr("timm.create_model", offline)
    with pytest.raises(DimrError, match=r"could not be fetched \(no route to host\)"):
        load_timm(TIMM, None)


def test_labels_and_sizes_that_do_not_fit(digits):
    scorer = digit_scorer(digits / "classifier", CPU)
    images = ArrayImages("samples", [noise(3, 32)])
    with pytest.raises(DimrError, match="label 10; the classifier has 10 classes"):
        own_confidence(images, np.array([0, 1, 10]), scorer)
    with pytest.raises(DimrError, match="images are 16x16; the digit classifier takes 32x32"):
        own_confidence(ArrayImages("samples", [noise(3, 16)]), np.arange(3), scorer)


# --- the command ----------------------------------------------------------------------------------


def scores(folder, out, *more, samples="samples", classifier=("--classifier", "classifier")):
    given = [str(folder / part) if part == "classifier" else part for part in classifier]
    return main(
        ["distortion-scores", "--config", str(folder / "config.yaml"), "--samples",
         str(folder / samples), "--out", str(out), "--threads", "1", *given, *more]
    )  # fmt: skip


def test_the_command_writes_summary_confidence_and_images(digits, tmp_path):
    out = tmp_path / "a/guided.json"
    assert scores(digits, out) == 0
    summary, chosen = read_summary(out), read_chosen(out)
    confidence = np.load(out.with_suffix(".npy"))
    assert (confidence.shape, confidence.dtype) == ((COUNT,), np.float32)
    assert summary["inputs"] == {"samples": "s", "classifier": "c"}
    low = int((confidence < 0.2).sum())
    assert 10 < low < COUNT
    assert (summary["images"], summary["low_fidelity"], summary["shown"]) == (COUNT, low, 10)
    assert (summary["classes"], summary["class_names"]) == (10, list("0123456789"))
    assert (read_confidence(out, COUNT) == confidence).all()
    assert (chosen.index == choose(confidence, settings())).all()
    assert (chosen.confidence == confidence[chosen.index]).all()
    assert chosen.confidence.max() < 0.2
    assert (chosen.images == noise(COUNT, 32)[chosen.index]).all()
    assert (chosen.labels == chosen.index % 10).all()
    assert scores(digits, tmp_path / "b/guided.json", "--batch", "13") == 0
    other = read_chosen(tmp_path / "b/guided.json")
    assert (other.index == chosen.index).all()
    assert (other.images == chosen.images).all()


def test_a_model_without_low_fidelity_images(digits, tmp_path):
    """Nothing is shown of it, and that is no error."""
    settings_file = tmp_path / "config.yaml"
    settings_file.write_text(json.dumps(settings(threshold=1e-30).model_dump()))
    out = tmp_path / "guided.json"
    given = ["--config", settings_file, "--samples", digits / "samples", "--out", out]
    more = ["--classifier", digits / "classifier", "--threads", "1"]
    assert main(["distortion-scores", *map(str, [*given, *more])]) == 0
    assert read_summary(out)["low_fidelity"] == 0
    chosen = read_chosen(out)
    assert (chosen.images.shape, len(chosen.index)) == ((0, 32, 32, 3), 0)


def test_bad_input_of_the_command(digits, tmp_path, caplog):
    out = tmp_path / "guided.json"

    def refused(*arguments, **options):
        caplog.clear()
        assert scores(digits, out, *arguments, **options) == 2
        return error_in(caplog)

    assert "--classifier: missing" in refused(classifier=())
    assert "--weights: not used here" in refused("--weights", "x.pth")
    assert "not a folder of samples" in refused(samples="samples/samples.npz")
    shutil.copytree(digits / "samples", digits / "cut")
    shard = digits / "cut/00000.npy"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    assert "cut/00000.npy: checksum differs" in refused(samples="cut")
    assert not list(tmp_path.iterdir())


def test_the_command_with_a_timm_model(digits, weights, tmp_path, caplog):
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(settings(classifier=TIMM, threshold=1, shown=2).model_dump()))

    def add(samples):
        write_json(samples / "record.json", {"key": "t"})

    names = [str(i) for i in range(1000)]
    images, labels = noise(6, 64), np.array([0, 999, 5, 5, 17, 400])
    write_samples(tmp_path / "samples", images, labels, names, "t", add)
    given = ["--config", str(config), "--weights", str(weights), "--threads", "1"]
    out = ["--out", str(tmp_path / "guided.json")]
    assert main(["distortion-scores", *given, *out, "--samples", str(tmp_path / "samples")]) == 0
    summary = read_summary(tmp_path / "guided.json")
    assert summary["inputs"]["classifier"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    chosen = read_chosen(tmp_path / "guided.json")
    assert (chosen.images == images[chosen.index]).all()
    assert len(chosen.index) == 2
    assert main(["distortion-scores", *given, *out, "--samples", str(digits / "samples")]) == 2
    assert f"images of 10 classes; the classifier {TIMM} has 1000" in error_in(caplog)


def test_damaged_scores_are_named(tmp_path):
    out = tmp_path / "guided.json"
    arrays = Chosen(noise(2, 8), np.arange(2), np.zeros(2, np.float32), np.arange(2))
    write_scores(out, np.zeros(4, np.float32), arrays, {"key": "k"})
    with pytest.raises(DimrError, match=r"guided\.json: not the summary .*\(no config\)"):
        read_summary(out)
    np.savez(out.with_suffix(".npz"), images=noise(2, 8), labels=np.zeros(2),
             confidence=np.zeros(2), index=np.arange(2))  # fmt: skip
    with pytest.raises(DimrError, match=r"guided\.npz: checksum differs"):
        read_chosen(out)
    write_json(out, {**read_json(out), "key": "other"})
    with pytest.raises(DimrError, match=r"guided\.json: changed since it was written"):
        read_summary(out)
    write_scores(out, np.zeros(4, np.float32), replace(arrays, labels=np.zeros(2)), {"key": "k"})
    with pytest.raises(DimrError, match=r"guided\.npz: labels is float64"):
        read_chosen(out)
    with pytest.raises(DimrError, match=r"guided\.npy: holds float32 \(4,\), should hold .*\(5,\)"):
        read_confidence(out, 5)
    np.save(out.with_suffix(".npy"), np.ones(4, np.float32))
    with pytest.raises(DimrError, match=r"guided\.npy: checksum differs"):
        read_confidence(out, 4)
    out.with_suffix(".npz").unlink()
    with pytest.raises(DimrError, match=r"guided\.npz: no such file"):
        read_chosen(out)


def test_its_settings_change_no_other_phase(tmp_path):
    """Contract A: a study of other images neither trains, nor samples, nor evaluates again."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    recipes = tmp_path / "experiments/recipes.yaml"
    content = yaml.safe_load(recipes.read_text())
    content["digits"]["distortion"]["threshold"] = 0.5
    recipes.write_text(yaml.safe_dump(content))
    old, new = (Project(root).run("digits/dimr-xs-2r/0").phases() for root in (ROOT, tmp_path))
    assert [name for name in old if old[name] != new[name]] == ["distortion"]
    del content["digits"]["distortion"]
    recipes.write_text(yaml.safe_dump(content))
    without = Project(tmp_path).run("digits/dimr-xs-2r/0").phases()
    assert without == {name: part for name, part in old.items() if name != "distortion"}
    content["digits"]["distortion"] = {
        "classifier": "digits",
        "threshold": 0,
        "shown": 1,
        "seed": 0,
    }
    recipes.write_text(yaml.safe_dump(content))
    with pytest.raises(DimrError, match=r"recipes\.yaml: digits\.distortion\.threshold: 0"):
        Project(tmp_path).run("digits/dimr-xs-2r/0")
