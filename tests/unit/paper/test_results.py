"""The frame of results: what is in it, and what reading refuses."""

import csv
import re
import shutil

import pytest
from tests.support.results import put_result

from dimr.config.project import PROJECT, ROOT, Project
from dimr.paper.results import (
    COLUMNS,
    available,
    existing,
    not_recorded,
    published,
    read_result,
    read_results,
    recorded,
    results,
)
from dimr.runtime.errors import DimrError

RUN = "imagenet256/dimr-xl-2r/0"
METRICS = {"fid": 1.75, "inception_score": 280.0, "precision": 0.8, "recall": 0.6, "images": 50000}


@pytest.fixture
def project(tmp_path):
    """A copy of experiments/, below whose ``runs`` results may be left."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return Project(tmp_path)


def put(project, setting="guided", metrics=METRICS, run=RUN, **record):
    cost = {"parameters_m": 505.0, "gmacs": 160.2}
    samples = {"config": {"steps": 250}, "model": {"images": 1281167 * 7}}
    return put_result(
        project.root, run, setting, metrics, **{"cost": cost, "samples": samples, **record}
    )


def message_of(project, cells=((RUN, "guided"),)):
    with pytest.raises(DimrError) as caught:
        results(project, project.root / "runs", cells)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_line_is_one_number_with_its_origin(project):
    file = put(project)
    frame = results(project, project.root / "runs", [(RUN, "guided")])
    assert tuple(frame) == COLUMNS
    assert dict(zip(frame["metric"], frame["value"], strict=True)) == {
        **METRICS, "parameters_m": 505.0, "gmacs": 160.2, "evaluations": 250, "epochs": 7,
    }  # fmt: skip
    named = frame[["dataset", "model", "seed", "run", "setting", "origin", "source"]]
    assert set(named.itertuples(index=False, name=None)) == {
        ("imagenet256", "dimr-xl-2r", "0", RUN, "guided", "run", str(file))
    }
    (key,) = set(frame["key"])
    assert re.fullmatch("[0-9a-f]{16}", key)


def test_only_results_of_this_configuration_are_available(project):
    runs, cells = project.root / "runs", [(RUN, "guided"), (RUN, "unguided")]
    assert available(project, runs, cells) == []
    assert results(project, runs).empty
    put(project)
    put(project, "unguided", key="0" * 16)
    assert available(project, runs, cells) == cells[:1]
    assert set(results(project, runs)["setting"]) == {"guided"}
    assert set(results(project, runs, cells, partial=True)["setting"]) == {"guided"}
    assert "unguided.json: of another configuration (key 0000000000000000," in message_of(
        project, cells
    )
    (runs / RUN / "provenance/guided.json").unlink()
    assert available(project, runs, cells) == []


def test_what_is_missing_is_counted(project):
    put(project)
    cells = [(RUN, "guided"), (RUN, "unguided"), ("imagenet256/dit-xl-2/published", "guided")]
    assert re.search(
        r"unguided\.json: no such file \(2 of 3 results are missing\): snakemake -- "
        r"runs/imagenet256/dimr-xl-2r/0/metrics/unguided\.json",
        message_of(project, cells),
    )
    assert "no setting 'gided' (did you mean guided?" in message_of(project, [(RUN, "gided")])


BAD = [
    ({**METRICS, "fid": None}, r"guided\.json: fid: None should be a finite number"),
    ({**METRICS, "recall": True}, "recall: True should be a finite number"),
    ({**METRICS, "fid": float("nan")}, "fid: nan should be a finite number"),
    ([1.7], "should hold names and values, not list"),
]


@pytest.mark.parametrize(("metrics", "message"), BAD)
def test_metrics_that_are_none_are_named(project, metrics, message):
    put(project, metrics=metrics)
    assert re.search(message, message_of(project))


def test_damaged_and_edited_files_are_named(project):
    file = put(project)
    good = file.read_text()
    file.write_text(good.replace("1.75", "1.5"))
    message = message_of(project)
    assert f"{file}: changed after it was made (sha256" in message
    assert message.endswith(f"regenerate it: snakemake --force -- runs/{RUN}/metrics/guided.json")
    with pytest.raises(DimrError, match="changed after it was made"):  # also of a partial table
        available(project, project.root / "runs", [(RUN, "guided")])
    file.write_text("{")
    assert re.search(r"metrics/guided\.json: not readable as JSON", message_of(project))
    (file.parents[1] / "provenance/guided.json").unlink()
    file.write_text(good)
    with pytest.raises(DimrError, match=r"provenance/guided\.json: no such file"):
        read_result(project.root / "runs", RUN, "guided")


def test_records_are_read_with_the_numbers(project):
    put(project)
    (one,) = read_results(project, project.root / "runs", [(RUN, "guided")]).values()
    assert one.model == {"images": 1281167 * 7}
    assert one.number("fid") == 1.75
    with pytest.raises(DimrError, match=r"guided\.json: no fud \(there are: fid, inception_score"):
        one.number("fud")


def test_what_papers_print():
    frame = published(PROJECT, "table7")
    own = frame[(frame["dataset"] == "imagenet256") & (frame["model"] == "DiMR-XL/2R")]
    assert set(own["setting"]) == {"guided"}
    assert dict(zip(own["metric"], own["value"], strict=True)) == {
        "epochs": 800, "parameters": 505e6, "gmacs": 160, "fid": 1.7, "inception_score": 289.0,
        "precision": 0.79, "recall": 0.63,
    }  # fmt: skip
    assert set(own["source"]) == {"published.yaml: results.table7.DiMR-XL/2R (repo)"}
    both = published(PROJECT, "table1a").set_index(["model", "setting", "metric"])["value"]
    assert both["DiMR-XL/2R", "unguided", "fid"] == 4.5
    assert both["DiMR-XL/2R", "guided", "fid"] == 1.7
    datasets = {"imagenet64", "imagenet256", "imagenet512", "coco256"}
    assert set(published(PROJECT)["dataset"]) == datasets


def test_recorded_numbers_have_the_same_form(tmp_path):
    frame = recorded(ROOT / "results/digits/seeds.csv")
    own = frame[(frame["run"] == "digits/dimr-xs-2r/0") & (frame["setting"] == "guided")]
    values = dict(zip(own["metric"], own["value"], strict=True))
    with open(ROOT / "results/digits/seeds.csv", newline="") as file:
        (line,) = [
            line for line in csv.DictReader(file)
            if (line["model"], line["seed"], line["setting"]) == ("dimr-xs-2r", "0", "guided")
            and line["dataset"] == "digits"
        ]  # fmt: skip
    assert (values["fid_digits"], values["evaluations"]) == (float(line["fid_digits"]), 18)
    assert tuple(frame) == COLUMNS
    assert not own.duplicated("metric").any()
    file = tmp_path / "seeds.csv"
    with pytest.raises(DimrError, match=r"seeds\.csv: no such file; make study makes it"):
        recorded(file)
    file.write_text("dataset,model\ndigits,dimr-xs-2r\n")
    with pytest.raises(DimrError, match=r"not written by dimr study-results \(no column 'seed'"):
        recorded(file)


def test_what_the_record_lacks(tmp_path):
    cells = [("digits/a/0", "guided"), ("digits/a/10", "guided"), ("digits/a/0", "unguided")]
    file = tmp_path / "seeds.csv"
    assert not_recorded(file, cells) == cells
    file.write_text("dataset,model,seed,setting,fid\ndigits,a,10,guided,1.5\n")
    assert not_recorded(file, cells) == [cells[0], cells[2]]
    file.write_text("dataset,model,seed\ndigits,a,10\n")
    with pytest.raises(DimrError, match=r"not written by dimr study-results \(no column 'setting'"):
        not_recorded(file, cells)


def test_results_of_a_linked_dataset_are_found(project, tmp_path):
    """A dataset's runs may lie on another disk."""
    put(project)
    (runs := project.root / "runs").joinpath("imagenet256").rename(tmp_path / "disk")
    (runs / "imagenet256").symlink_to(tmp_path / "disk")
    (runs / "README.md").touch()
    assert list(existing(project, runs)) == [(RUN, "guided")]
