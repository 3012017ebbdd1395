"""The record of finished results: what enters it, what comes back, which tables are taken over."""

import hashlib
import shutil
import subprocess
from pathlib import PurePath

import pytest
import yaml
from tests.support.results import leave_results

from dimr.config.project import PROJECT, ROOT, Project
from dimr.paper.tables.definitions import find_definitions
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.runtime.record import is_there, stand_in
from dimr.sharing import record as recorded
from dimr.sharing.adopt import survey
from dimr.sharing.record import LIST, RECORDED, bring_in, check_table, recorded_tables

RUN = "digits/dimr-xs-2r/0"
NAME = f"runs/{RUN}"
METRICS = f"{NAME}/metrics/guided.json"


def finish(project, run, settings, model=True):
    """What a finished run leaves, with the keys that its configuration asks for."""
    kept = {*settings, "model"} if model else set(settings)
    leave_results(project, run, lambda p: p.startswith("data/") or PurePath(p).stem in kept)
    (project / "runs" / run / "state").mkdir()
    (project / "runs" / run / "state/checkpoint").write_text("not shared")


@pytest.fixture
def project(tmp_path):
    """A repository with one finished run."""
    (tmp_path / "experiments").symlink_to(ROOT / "experiments")
    finish(tmp_path, RUN, ["guided"])
    large = tmp_path / NAME / "model/weights.safetensors"
    large.write_bytes(b"0" * recorded.LINKED_BYTES)
    (large.parent / recorded.NOT_COPIED).touch()
    (tmp_path / NAME / "log.csv").write_text("step,loss\n")
    return tmp_path


def files(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def record(project, name=NAME):
    recorded.record(name, survey(Project(project)), Project(project))


def test_a_finished_run_is_recorded_whole_without_its_state(project):
    record(project)
    assert files(project / RECORDED / NAME) == {
        "log.csv",
        "metrics/guided.json",
        "model/record.json",
        "model/weights.safetensors",
        "provenance/guided.json",
        "samples/guided/record.json",
    }


def test_large_files_are_links_and_small_ones_copies(project):
    record(project)
    for file, same in (("model/weights.safetensors", True), ("metrics/guided.json", False)):
        mine, theirs = project / NAME / file, project / RECORDED / NAME / file
        assert mine.samefile(theirs) == same
        assert mine.read_bytes() == theirs.read_bytes()


def test_a_record_takes_the_place_of_the_older_one(project):
    record(project)
    (project / RECORDED / NAME / "samples/guided/old").write_text("old")
    record(project)
    assert "samples/guided/old" not in files(project / RECORDED / NAME)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: write_json(folder / "model/record.json", {"key": "other"}), "another conf"),
        (lambda folder: (folder / "metrics/guided.json").write_text("{}"), "changed after it"),
        (lambda folder: (folder / "metrics/guided.json").unlink(), "not finished: no metrics"),
        (lambda folder: (folder / "model/record.json").unlink(), "no usable record"),
    ],
)
def test_what_is_unfinished_or_foreign_is_refused_and_the_record_stays(project, break_it, message):
    record(project)
    before = files(project / RECORDED)
    break_it(project / NAME)
    with pytest.raises(DimrError, match=message):
        record(project)
    assert files(project / RECORDED) == before


def test_a_run_without_a_model_is_not_finished(project):
    finish(project, "digits/dimr-xs-2r/1", ["guided"], model=False)
    with pytest.raises(DimrError, match="not finished: no model"):
        record(project, "runs/digits/dimr-xs-2r/1")
    with pytest.raises(DimrError, match="nothing to record"):
        record(project, "runs/digits/dimr-xs-2r/2")


def test_what_is_finished_is_found(project):
    finish(project, "digits/real/0", ["reference"])
    finish(project, "digits/uvit-xs-2/0", [])  # a model, no metrics
    found = survey(Project(project))
    assert recorded.finished(found) == ["data/digits", NAME, "runs/digits/real/0"]


def test_the_list_keeps_what_others_recorded(project):
    (project / "results").mkdir()
    assert recorded.add_to_list(["data/digits"], project) == [
        "results/dvc.yaml:recorded@data-digits"
    ]
    recorded.add_to_list([NAME], project)
    assert yaml.safe_load((project / LIST).read_text()) == {
        "recorded": {"data-digits": "data/digits", "digits-dimr-xs-2r-0": NAME}
    }


# --- and back -------------------------------------------------------------------------------------


def test_what_is_missing_is_brought_in_and_what_is_there_stays(project):
    record(project)
    before = files(project / NAME)
    for file in ("model/weights.safetensors", "model/record.json", "log.csv"):
        (project / NAME / file).unlink()
    (project / NAME / "model" / recorded.NOT_COPIED).unlink()
    (project / NAME / "model").rmdir()
    (project / NAME / "samples/guided/mine").write_text("mine")
    assert bring_in(Project(project)) == ([f"{NAME}/model"], [])
    missing = before - files(project / NAME)
    assert missing == {f"model/{recorded.NOT_COPIED}"}
    assert (project / NAME / "samples/guided/mine").read_text() == "mine"
    assert (project / NAME / "state/checkpoint").exists()


def test_a_stand_in_for_a_result_gives_way(project):
    """Snakemake was asked before `make pull`: the model was not there, and its samples are old."""
    record(project)
    shutil.rmtree(project / f"{NAME}/model")
    (project / f"{NAME}/log.csv").unlink()
    stand_in(project / f"{NAME}/model", "model")
    assert bring_in(Project(project)) == ([f"{NAME}/model"], [])
    assert is_there(project / f"{NAME}/model")


def test_a_record_of_another_configuration_is_not_brought_in(project):
    record(project)
    write_json(project / RECORDED / NAME / "model/record.json", {"key": "other"})
    for file in (project / NAME / "model").iterdir():
        file.unlink()
    (project / NAME / "model").rmdir()
    brought, foreign = bring_in(Project(project))
    assert brought == []
    assert f"{RECORDED}/{NAME}/model: made with another configuration" in foreign


# --- tables ---------------------------------------------------------------------------------------


@pytest.fixture
def with_table(project):
    """A table of one run, recorded with the lock file that ``dvc commit`` writes."""
    record(project)
    (project / "experiments").unlink()
    (project / "experiments/tables/digits").mkdir(parents=True)
    for name in ("recipes.yaml", "variants.yaml"):
        (project / "experiments" / name).symlink_to(ROOT / "experiments" / name)
    definition = {
        "title": "one",
        "notes": [],
        "seeds": 1,
        "columns": [{"key": "fid", "title": "FID"}],
        "rows": [{"name": "DiMR", "run": "digits/dimr-xs-2r", "settings": ["guided"]}],
    }
    (project / "experiments/tables/digits/table1.yaml").write_text(yaml.safe_dump(definition))
    table = project / "results/digits/table1.csv"
    table.parent.mkdir()
    table.write_text("model,fid\nDiMR,1.0\n")
    out = {
        "path": "results/digits/table1.csv",
        "md5": hashlib.md5(table.read_bytes()).hexdigest(),
    }
    lock = {"schema": "2.0", "stages": {"tables@table1": {"cmd": "", "outs": [out]}}}
    (project / "results/dvc.lock").write_text(yaml.safe_dump(lock))
    return project


def test_a_recorded_table_of_recorded_metrics_is_taken_over(with_table):
    assert recorded_tables(Project(with_table)) == ["results/digits/table1.csv"]


@pytest.mark.parametrize("file", ["results/digits/table1.csv", METRICS, f"{RECORDED}/{METRICS}"])
def test_a_table_is_not_taken_over_if_it_or_its_metrics_differ(with_table, file):
    path = with_table / file
    path.write_text(path.read_text() + "\n")
    assert recorded_tables(Project(with_table)) == []
    path.unlink()
    assert recorded_tables(Project(with_table)) == []


def test_dvc_lists_every_table_of_digits_that_is_checked_in():
    listed = ["git", "-C", str(ROOT), "ls-files", "results/digits/*.csv"]
    files = subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()
    definitions = find_definitions(PROJECT)
    tables = [
        name for name in (PurePath(file).stem for file in files) if f"digits/{name}" in definitions
    ]
    stages = yaml.safe_load((ROOT / recorded.PIPELINE).read_text())["stages"]
    for stage, pictured in (("tables", True), ("counted", False)):
        assert sorted(stages[stage]["foreach"]) == [
            name for name in tables if definitions[f"digits/{name}"].pictured is pictured
        ]
    for stage in stages.values():  # DVC deletes the outputs of a stage that it runs
        assert stage["do"]["frozen"] is True


def test_an_old_table_is_not_recorded(with_table):
    check_table("results/digits/table1.csv", Project(with_table))
    metrics = with_table / METRICS
    text = metrics.read_text()
    metrics.unlink()
    with pytest.raises(DimrError, match="made from a missing file"):
        check_table("results/digits/table1.csv", Project(with_table))
    metrics.write_text(text)
    with pytest.raises(DimrError, match=r"older than .*snakemake results/digits/table1\.csv"):
        check_table("results/digits/table1.csv", Project(with_table))
