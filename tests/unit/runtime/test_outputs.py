"""An output replaces an earlier one of its own kind, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.support.messages import error_in

from dimr.cli import main
from dimr.runtime.atomic import temporary_name
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_png, write_json
from dimr.runtime.output_kinds import CHOSEN, FILES, FOLDERS
from dimr.runtime.outputs import LOG_MARK, check_log, check_places, claim
from dimr.runtime.record import seal

METRICS = {"fid_digits": 0.5, "images": 1000}
OWN = {
    "metrics": json.dumps(METRICS),
    "provenance": json.dumps({"key": "k", "digest": "0", "metrics_sha256": "0"}),
    "training log": "step,images,loss\n1,8,0.5\n",
    "table": "model,setting,seeds\nDiMR,guided,5\n",
    "Markdown table": "**Table 1**\n\n| a |\n|---|\n",
    "LaTeX table": "% \\usepackage{booktabs}\n",
}
FOREIGN = {
    "text": "years of work\n",
    "json": '{"name": "a", "images": 3}',
    "numbers": '{"a": 1}',
    "csv": "name,age\nann,3\n",
    "steps": "step,comment\n1,good\n",
    "notes": "# Notes\n\n| a |\n|---|\n",
    "tex": "\\documentclass{article}\n",
    "binary": "\x00\x01\x02",
}


@pytest.mark.parametrize("kind", OWN)
def test_a_file_of_the_own_kind_may_be_replaced(tmp_path, kind):
    path = tmp_path / "file"
    claim(path, kind)
    path.write_text(OWN[kind])
    claim(path, kind)
    for other in set(FILES) - {kind}:
        with pytest.raises(DimrError, match="was not created by dimr as"):
            claim(path, other)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("content", FOREIGN)
def test_other_people_s_files_are_not_replaced(tmp_path, kind, content):
    path = tmp_path / "precious"
    path.write_text(FOREIGN[content])
    with pytest.raises(DimrError, match=r"precious: already exists and was not created by dimr"):
        claim(path, kind, "--out")
    with pytest.raises(DimrError, match="is a folder"):
        claim(tmp_path, kind)


def test_pictures_say_whose_they_are(tmp_path):
    image = Image.new("RGB", (2, 2))
    save_png(image, tmp_path / "ours.png")
    claim(tmp_path / "ours.png", "picture")
    image.save(tmp_path / "photo.png")
    with pytest.raises(DimrError, match=r"photo\.png: already exists"):
        claim(tmp_path / "photo.png", "picture")


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_are_replaced_by_their_own_kind(tmp_path, kind):
    folder = tmp_path / "result"
    folder.mkdir()
    claim(folder, kind)  # empty
    seal(folder, kind, {"key": "k"})
    claim(folder, kind)
    for other in set(FOLDERS) - {kind}:
        with pytest.raises(DimrError, match=rf"result: holds {kind}, and {other} would be written"):
            claim(folder, other)


def test_a_result_may_be_replaced_only_if_everything_in_it_is_ours(tmp_path):
    (tmp_path / "weights").write_text("ours")
    seal(tmp_path, "model", {"key": "k"})
    for name in (".snakemake_timestamp", ".DS_Store"):
        (tmp_path / name).touch()
    claim(tmp_path, "model")
    for theirs in ("notes.txt", ".draft", "plots/a.png"):
        (tmp_path / theirs).parent.mkdir(exist_ok=True)
        (tmp_path / theirs).write_text("years of work")
        with pytest.raises(DimrError, match=rf"has {theirs.split('/')[0]}, which is not of this"):
            claim(tmp_path, "model")
        (tmp_path / theirs).unlink()


OWN_SIGNS = [
    ("manifest.json", {"format": "dimr-shards-1"}, "samples"),
    ("manifest.json", {"format": "dimr-images-1"}, "images"),
    ("config.json", {"model": "DigitClassifier"}, "classifier"),
]
EVERYBODY_S = [
    ("config.json", {"family": "dimr"}, "model"),
    ("config.json", {"family": "llama"}, "model"),
    ("config.json", {"_class_name": "AutoencoderKL"}, "autoencoder"),
    ("reference.json", {"note": "of the group"}, "reference"),
]


@pytest.mark.parametrize(("file", "content", "kind"), OWN_SIGNS + EVERYBODY_S)
def test_a_result_with_a_damaged_record_is_known_by_what_else_it_holds(
    tmp_path, file, content, kind
):
    write_json(tmp_path / file, content)
    (tmp_path / "record.json").write_text("")
    claim(tmp_path, kind)
    other = "latents" if kind != "samples" else "source"
    with pytest.raises(DimrError, match="refusing to overwrite"):
        claim(tmp_path, other)


@pytest.mark.parametrize(("file", "content", "kind"), EVERYBODY_S)
def test_a_folder_without_a_record_is_somebody_s(tmp_path, file, content, kind):
    """A diffusers autoencoder, a transformers model: their files have names like ours."""
    write_json(tmp_path / file, content)
    with pytest.raises(DimrError, match=r"was not created by dimr; refusing"):
        claim(tmp_path, kind)


def test_places_that_cannot_be_written_are_refused_before_the_work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "file"
    file.touch()
    for place, message in (
        ("x" * 245, "too long"),  # its temporary name would be
        (f"{'x' * 300}/model", "too long"),
        ("file/model", "is a file, not a folder"),
        ("/proc/model", "cannot be written"),
        (".", "holds the current folder"),
        ("..", "holds the current folder"),
        ("/", "holds the current folder"),
    ):
        with pytest.raises(DimrError, match=message):
            claim(Path(place), "model")


def test_outputs_lie_in_no_result_and_in_no_input(tmp_path):
    for name in ("model", "data"):
        seal(tmp_path / name, "model", {"key": "k"})
    with pytest.raises(
        DimrError, match="a result of dimr; choose a place outside the model's own folder"
    ):
        claim(tmp_path / "model/metrics.json", "metrics")
    (tmp_path / "input").mkdir()
    out = {"--out": (tmp_path / "input/sub", "source")}
    with pytest.raises(DimrError, match=r"--out .*: lies in --source .*, which is read"):
        check_places(out, {"--source": tmp_path / "input"})
    states = {"--state": (tmp_path / "s", "training states"), "--out": (tmp_path / "s/0", "model")}
    with pytest.raises(DimrError, match=r"--out .*: lies in --state .*, which would be replaced"):
        check_places(states, {})


@pytest.mark.parametrize(
    ("kind", "own", "foreign"),
    [
        ("previews", "step-000000005.png", "photo.png"),
        ("TensorBoard log", "events.out.tfevents.1.host.2.0", "notes.txt"),
        ("DVCLive log", "metrics.json", "thesis.tex"),
    ],
)
def test_folders_that_grow_hold_only_their_own(tmp_path, kind, own, foreign):
    claim(tmp_path / "new", kind)
    (tmp_path / own).touch()
    claim(tmp_path, kind)
    (tmp_path / foreign).touch()
    with pytest.raises(DimrError, match=f"has {foreign}, which is no part of a {kind}"):
        claim(tmp_path, kind)


def test_scores_replace_no_arrays_but_their_own(tmp_path):
    """Files beside the output are outputs too: X.npz and X.npy of X.json."""
    samples = tmp_path / "samples.npz"
    out = {"--out": (tmp_path / "samples.json", "scores")}
    np.savez(samples, images=np.zeros(3))
    with pytest.raises(DimrError, match=r"samples\.npz: already exists and was not created"):
        check_places(out, {})
    samples.unlink()
    with pytest.raises(DimrError, match=r"--out.npz .*samples.npz: is --samples too"):
        check_places(out, {"--samples": samples})
    np.save(tmp_path / "samples.npy", np.zeros(3))
    with pytest.raises(DimrError, match=r"samples\.npy: already exists and was not created"):
        check_places(out, {})
    np.savez(samples, **dict.fromkeys(CHOSEN, np.zeros(3)))  # killed before the JSON was written
    check_places(out, {})
    with pytest.raises(DimrError, match="is a folder"):
        check_places({"--out": (Path("/"), "scores")}, {})


def test_a_refused_command_removes_nothing(tmp_path):
    """Checked first, then cleaned: what looks like a leftover may be all there is."""
    left = tmp_path / temporary_name(tmp_path / "m.json").name
    left.touch()
    outputs = {"--metrics": (tmp_path / "m.json", "metrics"), "--out": (tmp_path, "metrics")}
    with pytest.raises(DimrError, match="is a folder"):
        check_places(outputs, {})
    assert left.exists()
    check_places({"--metrics": outputs["--metrics"]}, {})
    assert not left.exists()


def test_devices_are_no_outputs(tmp_path):
    with pytest.raises(DimrError, match="/dev/null: already exists"):
        claim(Path("/dev/null"), "metrics")
    (tmp_path / "file").write_text("x")
    with pytest.raises(DimrError, match="file is a file, not a folder"):
        claim(tmp_path / "file/x", "metrics")


def test_logs_are_appended_to_logs_only(tmp_path):
    log = tmp_path / "logs/a.log"
    check_log(log)
    assert log.read_text() == f"{LOG_MARK}\n"
    with open(log, "a") as file:
        file.write("a line\n")
    check_log(log)
    assert log.read_text() == f"{LOG_MARK}\na line\n"
    (tmp_path / "README.md").write_text("# Read me\n")
    for place, message in (
        (tmp_path / "README.md", "refusing to append"),
        (tmp_path, "is a folder"),
        (tmp_path / "README.md/x", "cannot be written"),
        (tmp_path / ("x" * 300), "cannot be written"),
    ):
        with pytest.raises(DimrError, match=message):
            check_log(place)
    assert (tmp_path / "README.md").read_text() == "# Read me\n"


@pytest.fixture
def evaluate(tmp_path):
    config = tmp_path / "evaluate.yaml"
    config.write_text(yaml.safe_dump({
        "extractor": "digits", "weights": None, "isc_splits": 1, "prc_neighborhood": 3, "count": 10,
    }))  # fmt: skip

    def run(metrics, provenance, *more):
        given = ["--config", config, "--samples", tmp_path / "samples", "--images",
                 tmp_path / "images", "--classifier", tmp_path / "classifier"]  # fmt: skip
        places = ["--metrics", metrics, "--provenance", provenance]
        return main([*map(str, more), "evaluate", *map(str, [*given, *places])])

    return run


def test_the_outputs_of_a_command_are_apart(evaluate, tmp_path, caplog):
    (tmp_path / "samples").mkdir()
    place, other = tmp_path / "m.json", tmp_path / "p.json"
    for metrics, provenance, message in (
        (place, place, "is --provenance too"),
        (tmp_path / "evaluate.yaml", other, "already exists and was not created by dimr"),
        (other, tmp_path / "samples", "is a folder"),
        ("/", other, "is a folder"),
        ("/dev/null", other, "/dev/null: already exists"),
    ):
        caplog.clear()
        assert evaluate(metrics, provenance) == 2
        assert message in error_in(caplog)
    write_json(place, METRICS)  # an earlier result, which is an input too: a copy is not made of it
    caplog.clear()
    assert evaluate(place, place) == 2
    assert json.loads(place.read_text()) == METRICS


def test_a_log_that_is_the_configuration_is_refused(evaluate, tmp_path, caplog):
    config = (tmp_path / "evaluate.yaml").read_text()
    assert evaluate("m", "p", "--log", tmp_path / "evaluate.yaml") == 2
    assert "is no log of dimr" in error_in(caplog)
    assert (tmp_path / "evaluate.yaml").read_text() == config


@pytest.mark.parametrize("command", ["images", "autoencoder", "classifier"])
def test_results_of_another_kind_are_not_replaced(tmp_path, command, caplog):
    """A trained model would be gone in a second."""
    model = tmp_path / "model"
    seal(model, "model", {"key": "k"})
    config = tmp_path / "config.yaml"
    config.write_text("{}\n")
    images = ["--images", str(tmp_path / "images")] if command == "classifier" else []
    assert main([command, "--config", str(config), *images, "--out", str(model)]) == 2
    assert f"holds model, and {command} would be written; refusing" in error_in(caplog)
    assert (model / "record.json").is_file()
