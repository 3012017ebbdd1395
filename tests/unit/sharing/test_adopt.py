"""Results are recognised by the keys that the configuration asks for."""

import shutil

import pytest
from tests.support.results import leave_results

from dimr.config.phases import section_key
from dimr.config.project import ROOT, Project
from dimr.runtime.files import write_json
from dimr.sharing.adopt import Survey, survey
from dimr.stages.pipeline import Pipeline

RUN = "digits/dimr-xs-2r/0"
CLASSIFIER = "data/digits/classifier"


@pytest.fixture
def project(tmp_path):
    """A repository whose results carry the keys that its configuration asks for."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    leave_results(tmp_path, RUN)
    return Project(tmp_path)


def test_everything_that_agrees_is_good(project):
    found = survey(project)
    assert found.bad == {}
    assert set(found.good) == {one.place for one in Pipeline(project).results(project.run(RUN))}
    assert len(found.good) == 31  # 4 of data, the model, and 2 of each of 13 settings


def test_what_depends_on_a_foreign_result_is_not_good(project):
    write_json(project.root / CLASSIFIER / "record.json", {"key": "foreign"})
    found = survey(project)
    assert found.bad[CLASSIFIER] == "made with another configuration"
    assert f"runs/{RUN}/model" in found.good
    # the metrics' own key agrees, but the classifier here is not the one that they were made with
    metrics = f"runs/{RUN}/metrics/guided.json"
    assert f"{metrics}: {CLASSIFIER} is of another configuration" in found.lines
    assert not any("metrics" in place for place in found.good)


@pytest.mark.parametrize("text", ["{half", "{}", "[]"])
def test_damaged_records_are_reported(project, text):
    (project.root / f"runs/{RUN}/model/record.json").write_text(text)
    found = survey(project)
    assert found.bad[f"runs/{RUN}/model"].startswith("no usable record (")
    assert f"runs/{RUN}/samples/guided" not in found.good


def test_a_run_that_the_configuration_does_not_have_is_reported(project):
    (project.root / "runs/digits/dimr-xss-2r/0").mkdir(parents=True)
    assert "no variant 'dimr-xss-2r'" in survey(project).bad["runs/digits/dimr-xss-2r/0"]


def test_keys_chain_from_the_data_to_the_metrics(project):
    recipes = project.experiments / "recipes.yaml"
    recipes.write_text(recipes.read_text().replace("split_seed: 0", "split_seed: 9", 1))
    found = survey(Project(project.root))
    assert found.good == []
    assert set(found.bad.values()) == {"made with another configuration"}


def test_published_runs_and_sources_have_keys_too():
    project = Project()
    key = Pipeline(project).key
    run = project.run("imagenet256/dimr-xl-2r/published")
    data, phases = run.recipe.data.phases(), run.phases()
    model = key(f"runs/{run.name}/model")
    assert model == section_key(phases["import"])
    reference, autoencoder = (section_key(data[name]) for name in ("reference", "autoencoder"))
    samples = section_key(phases["sample-guided"], model, autoencoder)
    metrics = section_key(phases["evaluate"], samples, reference)
    assert key(f"runs/{run.name}/metrics/guided.json") == metrics

    run = project.run("imagenet64/dimr-m-3r/0")
    source, data = section_key(project.source("imagenet")), run.recipe.data.phases()
    latents = section_key(data["latents"], source, section_key(data["autoencoder"]))
    assert key(f"runs/{run.name}/model") == section_key(run.phases()["train"], latents)


def test_an_imported_model_is_recognised(tmp_path):
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    project = Project(tmp_path)
    run = project.run("imagenet256/dimr-xl-2r/published")
    place = f"runs/{run.name}/model"
    record = tmp_path / place / "record.json"
    write_json(record, {"key": section_key(run.phases()["import"])})
    (tmp_path / "runs/imagenet256/dimr-xl-2r/0").mkdir()
    assert survey(project) == Survey([place], {})
    write_json(record, {"key": "other"})
    assert survey(project).lines == [f"{place}: made with another configuration"]
