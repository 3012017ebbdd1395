"""Provenance says which code, and whether it was changed; adoption takes over what agrees."""

import re
import shutil
from dataclasses import replace

import pytest
from tests.support.results import leave_result

from dimr.config.runs import ROOT, load_run
from dimr.paper.results import at_hand, read_cells, read_result
from dimr.runtime.code import source_fingerprint
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.sharing.adopt import expected_results, survey
from dimr.stages.provenance import collect, fault_of, sealed

RUN = "digits/dimr-xs-2r/0"
CELL = (RUN, "guided")
FILE, RECORD = f"runs/{RUN}/metrics/guided.json", f"runs/{RUN}/provenance/guided.json"
AGAIN = f"regenerate it: snakemake --force -- {FILE}"


def test_what_made_it():
    origin = collect("cpu")
    assert origin["device"] == "cpu"
    assert origin["versions"]["torch"]
    assert origin["command"].startswith("dimr")
    assert origin["code"] == source_fingerprint()
    assert len(origin["git_revision"]) == 40


# --- changes by hand ------------------------------------------------------------------------------


def edit_metrics(project):
    path = project / FILE
    path.write_text(path.read_text().replace("1.5", "1.4"))


def edit_record(project):
    path = project / RECORD
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def edit_both(project):
    """As one who knows of the first checksum alone."""
    edit_metrics(project)
    old = read_json(project / RECORD)
    new = sealed({}, project / FILE)
    write_json(project / RECORD, {**old, "metrics_sha256": new["metrics_sha256"]})


def leave_old_record(project):
    record = read_json(project / RECORD)
    del record["metrics_sha256"], record["digest"]
    write_json(project / RECORD, record)


CHANGES = [
    (edit_metrics, r"changed after it was made \(sha256 \w{12}\.\.\., made with \w{12}\.\.\.\)"),
    (edit_record, r"its record \(provenance\) was changed after it was made"),
    (edit_both, r"its record \(provenance\) was changed after it was made"),
    (leave_old_record, r"its record has no checksums \(made by an older version, or by hand\)"),
]


@pytest.mark.parametrize(("change", "message"), CHANGES)
def test_a_change_by_hand_is_refused_by_all_who_read_metrics(results, change, message):
    runs = results / "runs"
    metrics = {"fid_digits": 1.5, "images": 10}
    key = read_json(results / RECORD)["key"]
    leave_result(runs, *CELL, metrics, key=key, samples={"config": {"seed": 0}})
    assert read_result(runs, *CELL).metrics == metrics
    assert FILE in survey(results)[0]
    change(results)
    for read in (
        lambda: read_result(runs, *CELL),
        lambda: read_cells(runs, [CELL], results),
        lambda: at_hand([CELL], runs, results),
    ):
        with pytest.raises(DimrError, match=message) as caught:
            read()
        assert str(caught.value).startswith(f"{runs / RUN}/metrics/guided.json: ")
        assert str(caught.value).endswith(AGAIN)
        assert "\n" not in str(caught.value)
    good, bad = survey(results)
    assert FILE not in good
    (line,) = [line for line in bad if line.startswith(FILE)]
    assert re.search(message, line)


def test_metrics_of_another_configuration_are_refused(results):
    leave_result(results / "runs", *CELL, {"fid_digits": 1.5}, key="0" * 16)
    with pytest.raises(
        DimrError, match=r"guided\.json: of another configuration \(key 0{16}, the present one"
    ):
        read_cells(results / "runs", [CELL], results)
    assert read_cells(results / "runs", [CELL])[CELL].metrics == {"fid_digits": 1.5}
    with pytest.raises(DimrError, match=r"no setting 'gided' \(did you mean guided"):
        leave_result(results / "runs", RUN, "gided", {"fid_digits": 1.5})
        read_cells(results / "runs", [(RUN, "gided")], results)


def test_a_record_is_the_same_after_it_is_written(tmp_path):
    """Tuples, numbers as keys and text beyond ASCII change on their way through JSON."""
    write_json(tmp_path / "m.json", {"fid": 1.0})
    record = {"betas": (0.9, 0.99), "parts": {10: "a", 9: "b"}, "text": "±", "nan": float("nan")}
    write_json(tmp_path / "r.json", sealed(record, tmp_path / "m.json"))
    assert fault_of(read_json(tmp_path / "r.json"), tmp_path / "m.json") is None


# --- adoption -------------------------------------------------------------------------------------


@pytest.fixture
def results(tmp_path):
    """A project whose results carry the keys that its configuration asks for."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    shutil.copy(ROOT / "params.yaml", tmp_path)
    for result in expected_results(load_run(RUN, tmp_path)):
        if result.is_metrics:
            setting = result.target.split("/")[-1].removesuffix(".json")
            leave_result(tmp_path / "runs", RUN, setting, {}, key=result.expected)
        else:
            write_json(tmp_path / result.record, {"key": result.expected})
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
