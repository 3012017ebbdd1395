"""Provenance says which code; adoption takes over what agrees, and nothing that rests on more."""

import json
import shutil
from dataclasses import replace

import pytest

from dimr.experiment import ROOT, load_run
from dimr.reporting.adoption import expected_results, survey
from dimr.reporting.provenance import code_fingerprint, collect

RUN = "digits/dimr-xs-2r/0"


def test_what_made_it():
    origin = collect("cpu")
    assert origin["device"] == "cpu"
    assert origin["versions"]["torch"]
    assert origin["command"].startswith("dimr")
    assert origin["code"] == code_fingerprint()
    assert len(origin["git_revision"]) == 40


def test_fingerprints_see_the_named_parts_only():
    whole, models = code_fingerprint(), code_fingerprint("models")
    assert whole != models
    assert models != code_fingerprint("diffusion")
    assert code_fingerprint("models", "data/reader.py") != models


@pytest.fixture
def results(tmp_path):
    """A project whose results carry the keys that its configuration asks for."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for result in expected_results(load_run(RUN, tmp_path)):
        record = tmp_path / result.record
        record.parent.mkdir(parents=True, exist_ok=True)
        record.write_text(json.dumps({"key": result.expected}))
        if result.target.endswith(".json"):
            (tmp_path / result.target).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / result.target).write_text("{}")
    return tmp_path


def test_everything_that_agrees_is_good(results):
    good, bad = survey(results)
    assert bad == []
    assert set(good) == {result.target for result in expected_results(load_run(RUN, results))}
    assert len(good) == 31  # 4 of data, the model, and 2 of each of 13 settings


def test_what_rests_on_a_foreign_result_is_not_good(results):
    (results / "data/digits/classifier/record.json").write_text('{"key": "foreign"}')
    good, bad = survey(results)
    assert "data/digits/classifier: made with another configuration" in bad
    assert f"runs/{RUN}/model" in good
    # the metrics' own key agrees, but what is there to rest on is not what they were made of
    assert (
        f"runs/{RUN}/metrics/guided.json: data/digits/classifier is of another configuration" in bad
    )
    assert not any("metrics" in target for target in good)


def test_damaged_records_are_reported(results):
    (results / f"runs/{RUN}/model/record.json").write_text("{half")
    good, bad = survey(results)
    assert any(line.startswith(f"runs/{RUN}/model: no usable record") for line in bad)
    assert f"runs/{RUN}/samples/guided" not in good


def test_keys_chain_from_the_data_to_the_metrics():
    run = load_run(RUN)
    images = run.recipe.data.images.model_copy(update={"split_seed": 9})
    data = run.recipe.data.model_copy(update={"images": images})
    other = replace(run, recipe=run.recipe.model_copy(update={"data": data}))
    before = {r.target: r.expected for r in expected_results(run)}
    after = {r.target: r.expected for r in expected_results(other)}
    assert all(before[target] != after[target] for target in before)
