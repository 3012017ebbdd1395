"""What DVC's stages of the workspace run do before and after Snakemake."""

import json
import shutil

import pytest
import yaml
from tests.support.results import leave_results

from dimr.config.project import ROOT, Project
from dimr.runtime.code import source_fingerprint
from dimr.runtime.files import read_json, write_json
from dimr.sharing import workspace
from dimr.sharing.workspace import FOLDER, INPUTS, METRICS, Workspace

LIKE = "runs/digits/dimr-xs-2r/0"
LATENTS = "data/digits/latents"


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A repository with a finished run of this code, and its data."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    leave_results(tmp_path, LIKE.removeprefix("runs/"))
    session = {"code": source_fingerprint()}
    write_json(tmp_path / LIKE / "model/provenance.json", {"sessions": [session]})
    (tmp_path / LIKE / "log.csv").write_text("step,loss\n1,1.0\n")
    for setting in Workspace(Project(tmp_path)).run.settings:
        write_json(tmp_path / LIKE / f"samples/{setting}/provenance.json", session)
    monkeypatch.setattr(workspace, "touch", lambda *_: None)
    return tmp_path


def of(root, **train):
    """The workspace run, as params.yaml describes it now."""
    params = yaml.safe_load((root / "params.yaml").read_text())
    params["train"].update(train)
    (root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return Workspace(Project(root))


def test_inputs_are_what_lies_outside_of_the_run(made):
    run = of(made)
    assert run.inputs("sample") == ["data/digits/autoencoder"]
    assert set(run.inputs()) == {
        f"data/digits/{name}" for name in ("latents", "autoencoder", "images", "classifier")
    }
    project = Project(made)
    params = project.params.model_copy(
        update={"dataset": "imagenet256", "model": project.params.model.model_copy(
            update={"variant": "xl"})}
    )  # fmt: skip
    project.__dict__["params"] = params
    places = Workspace(project).inputs()
    weights = project.recipe("imagenet256").evaluate.weights
    assert f"data/extractors/{weights}" in places
    assert "data/imagenet/source" not in places  # 138 GB


def test_links_to_inputs_serve_where_there_are_none(made):
    run = of(made)
    run.after("data")
    assert set(read_json(made / INPUTS / "train.json")) == {LATENTS, "data/digits/autoencoder"}
    assert run.bring_in() == []
    shutil.rmtree(made / LATENTS)
    write_json(made / "data/digits/autoencoder/record.json", {"key": "of another configuration"})
    assert run.bring_in("sample") == ["data/digits/autoencoder"]
    assert run.bring_in() == [LATENTS]
    assert run.bring_in() == []
    shutil.rmtree(made / "data")
    write_json(made / INPUTS / LATENTS / "record.json", {"key": "of another configuration"})
    assert LATENTS not in run.bring_in()


def test_configuration_that_dvc_depends_on_tells_changes(made):
    run = of(made)
    run.write_config()
    folder = made / FOLDER / "config"
    before = {name: (folder / f"{name}.yaml").read_text() for name in ("data", "sample", "train")}
    assert list(yaml.safe_load(before["sample"])) == run.run.settings
    assert LATENTS in yaml.safe_load(before["data"])
    of(made, steps=7).write_config()
    changed = {
        name for name, text in before.items() if (folder / f"{name}.yaml").read_text() != text
    }
    assert changed == {"train"}


def test_the_run_that_is_the_same_is_taken_over(made):
    run = of(made)
    (line,) = run.before("train")
    assert line == f"taken over   {LIKE}/model: the same configuration and code"
    assert (made / FOLDER / "log.csv").is_file()
    assert read_json(made / FOLDER / "model/provenance.json")["sessions"]
    assert len(list(run.before("sample"))) == 3
    assert list(run.before("train")) == []  # it is there


@pytest.mark.parametrize("what", ["configuration", "code", "one session's code", "no provenance"])
def test_what_would_be_another_is_not_taken_over(made, what):
    run = of(made, steps=7 if what == "configuration" else None)
    provenance = made / LIKE / "model/provenance.json"
    session = {"code": source_fingerprint()}
    if what == "code":
        write_json(provenance, {"sessions": [{"code": "0" * 16}]})
    elif what == "one session's code":
        write_json(provenance, {"sessions": [session, {"code": "0" * 16}]})
    elif what == "no provenance":
        provenance.unlink()
    assert list(run.before("train")) == []
    assert not (made / FOLDER / "model").exists()


def test_samples_of_another_training_are_not_taken_over(made):
    """Of the same configuration: a second training, on another machine say, gave other weights."""
    run = of(made)
    record = read_json(made / LIKE / "model/record.json")
    write_json(made / FOLDER / "model/record.json", {**record, "files": "others"})
    assert list(run.before("sample")) == []


def test_metrics_of_all_settings_are_one_file(made):
    run = of(made)
    leave_results(made, "workspace")
    run.after("evaluate")
    run.after("sample")
    metrics = json.loads((made / METRICS).read_text())
    assert metrics == {setting: {"fid": 1.0} for setting in run.run.settings}
    digests = read_json(made / workspace.SAMPLES)
    assert list(digests) == [f"{FOLDER}/samples/{setting}" for setting in run.run.settings]
