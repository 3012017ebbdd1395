"""The paper's tables of results in the workflow: complete, partial, and planned."""

import csv
import json
import os
import re
import shutil

import pytest
from tests.support.results import put_result

from dimr.config.phases import write_run
from dimr.config.project import ROOT, Project
from dimr.paper.results import read_result
from dimr.runtime.errors import DimrError

RUN = "imagenet512/dit-xl-2/published"
METRICS = {
    "fid": 3.06, "inception_score": 288.0, "precision": 0.79, "recall": 0.63, "images": 50000,
}  # fmt: skip
CHAIN = {
    "source", "autoencoder", "encode", "reference", "extractor", "published", "train", "sample",
    "evaluate",
}  # fmt: skip


@pytest.fixture(scope="module")
def unbuilt(stub_project, tmp_path_factory):
    """A stubbed project whose tests here run nothing but dry runs."""
    return stub_project(tmp_path_factory.mktemp("unbuilt") / "project")


@pytest.fixture
def with_tables(stubbed):
    """A stubbed project in which ``dimr table`` is the real one."""
    shutil.copy(ROOT / "src/dimr/cli/paper.py", stubbed.folder / "src/dimr/cli/paper.py")
    return stubbed


def leave(project, run, setting, metrics=METRICS, **record):
    """A result as ``dvc pull`` and ``dimr adopt`` leave it: newer than its configuration."""
    write_run(Project(project.folder), run, project.folder)
    cost = {"parameters_m": 505.0, "gmacs": 160.2}
    put_result(project.folder, run, setting, metrics, cost=cost, **record)


def rows(project, name):
    with open(project.folder / name) as file:
        return {(row.get("block"), row["model"]): row for row in csv.DictReader(file)}


def plan(project, *arguments, check=True, **environment):
    """``dimr plan`` in the copy."""
    source = str(project.folder / "src")
    command = ["dimr", "plan", "--root", ".", *arguments]
    return project.run(*command, check=check, PYTHONPATH=source, **environment)


def test_the_papers_eight_tables_are_planned_in_one_go_from_the_source_on(unbuilt):
    every = [f"results/table{number}.csv" for number in range(1, 9)]
    assert unbuilt.planned(*every) == {*CHAIN, "plain_table"}
    assert unbuilt.planned("results/table6.csv") == {*CHAIN, "plain_table"} - {"published"}
    counted = [f"results/{folder}table{n}.csv" for folder in ("", "digits/") for n in (4, 5)]
    assert unbuilt.planned(*counted) == {"plain_table"}


def test_a_partial_table_without_runs_has_the_published_side_only(with_tables):
    target = "results/partial/table8.csv"
    assert with_tables.planned(target) == {"plain_table"}
    with_tables.snakemake("--", target)
    made = rows(with_tables, target)
    assert len(made) == 8 + 1
    assert not any(row["fid"] for row in made.values())
    assert all(row["fid_published"] for row in made.values())
    assert "all of 6" in (with_tables.folder / "results/partial/table8.md").read_text()
    assert with_tables.planned(target) == set()


def test_a_partial_table_takes_what_is_available_and_follows_it(with_tables):
    target, other = "results/partial/table8.csv", "imagenet512/dit-xl-2/0"
    leave(with_tables, RUN, "guided")
    leave(with_tables, other, "guided", key="0" * 16)  # of another configuration
    assert with_tables.planned(target) == {"plain_table"}
    with_tables.snakemake("--", target)
    row = rows(with_tables, target)[None, "DiT-XL/2, authors' weights"]
    assert (row["fid"], row["fid_published"]) == ("3.06", "3.04")
    assert float(row["fid_difference"]) == pytest.approx(0.02)
    text = (with_tables.folder / "results/partial/table8.md").read_text()
    assert "5 of 6" in text
    assert f"{other} guided" in text
    leave(with_tables, other, "guided")  # what is made later is taken up
    assert with_tables.planned(target) == {"plain_table"}
    with_tables.snakemake("--", target)
    assert "4 of 6" in (with_tables.folder / "results/partial/table8.md").read_text()


def test_a_digits_table_is_made_from_the_runs_that_are_available(with_tables):
    target, run = "results/partial/digits/table6.csv", "digits-pixel/dimr-xs-3r"
    columns = ("inception_score", "precision", "recall", "class_accuracy", "nearest_ratio")
    for seed, fid in enumerate((1.0, 2.0)):
        metrics = {"fid_digits": fid, **dict.fromkeys(columns, 0.5)}
        leave(with_tables, f"{run}/{seed}", "guided", metrics=metrics)
    with_tables.snakemake("--", target)
    assert with_tables.planned(target) == set()
    with open(with_tables.folder / target) as file:
        made = {(row["model"], row["setting"]): row for row in csv.DictReader(file)}
    row = made["DiMR-XS/3R", "guided"]
    assert (row["seeds"], row["fid_digits"], row["missing"]) == ("2", "1.5", f"{run}/2 guided")
    assert made["U-ViT-XS/4", "guided"]["fid_digits"] == ""
    base = (with_tables.folder / target).with_suffix("")
    assert f"{run}/2 guided" in base.with_suffix(".md").read_text()
    assert r"1.50 $\pm$ 0.71" in base.with_suffix(".tex").read_text()
    # what was changed by hand is no number of a table
    metrics = with_tables.folder / f"runs/{run}/1/metrics/guided.json"
    metrics.write_text(metrics.read_text().replace("2.0", "1.9"))
    done = with_tables.snakemake("-n", target, check=False)
    assert done.returncode != 0
    (line,) = [one for one in (done.stdout + done.stderr).splitlines() if "changed after" in one]
    assert f"runs/{run}/1/metrics/guided.json: changed after it was made (sha256" in line


def test_the_command_that_is_printed_evaluates_again_and_no_more(stubbed):
    """For metrics that were edited, and for those of before there were checksums."""
    target = "runs/digits/real/0/metrics/reference.json"
    stubbed.snakemake("--", target)
    file = stubbed.folder / target
    good, record = file.read_text(), stubbed.folder / target.replace("metrics", "provenance")
    old = json.loads(record.read_text())
    del old["metrics_sha256"], old["digest"]
    for path, text in ((file, '{"value": 7}'), (record, json.dumps(old))):
        path.write_text(text)
        stubbed.calls()
        with pytest.raises(DimrError) as caught:
            read_result(stubbed.folder / "runs", "digits/real/0", "reference")
        command = str(caught.value).rpartition("regenerate it: ")[2].split()
        assert command[0] == "snakemake"
        stubbed.snakemake(*command[1:])
        assert stubbed.calls() == ["evaluate"]
        read_result(stubbed.folder / "runs", "digits/real/0", "reference")
        assert file.read_text() == good


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("results/digits/table8.csv", "table 8 (ImageNet 512 in detail) has no counterpart"),
        (
            "results/partial/digits/table4.csv",
            "digits/table4.yaml: has no runs",
        ),
    ],
)
def test_a_table_that_there_is_not_is_one_line(unbuilt, target, message):
    done = unbuilt.snakemake("-n", target, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert len([line for line in text.splitlines() if message in line]) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("{published: U-ViT-L/2, ", "{published: U-ViT-L/3, ", "no row 'U-ViT-L/3'"),
        ("run: imagenet256/dit-l-2}", "run: imagenet256/dit-l-3}", "no variant 'dit-l-3'"),
        ("settings: [guided]", "settings: [gided]", "no setting 'gided' (did you mean guided?"),
    ],
)
def test_a_row_that_names_nothing_is_one_line(stubbed, old, new, message):
    path = stubbed.folder / "experiments/tables/table7.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    for target in ("results/table7.csv", "results/partial/table7.csv"):
        done = stubbed.snakemake("-n", target, check=False)
        text = done.stdout + done.stderr
        assert done.returncode != 0
        (line,) = [line for line in text.splitlines() if message in line]
        assert "table7.yaml: ImageNet 256 x 256, with guidance: " in line
    assert stubbed.planned("results/table4.csv") == {"plain_table"}  # other targets still work


def test_a_plan_names_every_job_of_the_dry_run(unbuilt):
    target = "results/digits/table1.csv"
    text = unbuilt.snakemake("-n", "--quiet", "host", "progress", "--", target).stdout
    jobs = len(re.findall(r"^(?:local)?rule \w+:$", text, re.MULTILINE))
    value = json.loads(plan(unbuilt, target, "--json").stdout)
    steps = [step["step"] for step in value["steps"]]
    assert len(steps) == jobs > 20
    assert set(steps) == {
        "images", "autoencoder", "encode", "classifier", "train", "sample", "baseline",
        "evaluate", "table",
    }  # fmt: skip
    assert all(step["seconds"] for step in value["steps"])  # all of the digits is estimated
    trained = [step["of"] for step in value["steps"] if step["step"] == "train"]
    assert trained == ["digits/dimr-xs-2r/0", "digits/dit-xs-2/0", "digits/uvit-xs-2/0"]


def test_a_plan_of_a_mistake_is_one_line(unbuilt):
    for target, message in (
        ("results/table9.csv", "snakemake: No rule to produce results/table9.csv"),
        ("runs/imagenet256/dimr-xl-2r/0/metrics/gided.json", "no setting 'gided'"),
        ("runs/imagenet256/dimr-xl-4r/0/model", "no variant 'dimr-xl-4r' for imagenet256"),
    ):
        done = plan(unbuilt, target, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("dimr: snakemake: ")
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
        assert done.stdout == ""


def test_a_plan_of_what_is_there_is_empty(stubbed):
    assert "images" in plan(stubbed, "data/digits/images").stdout
    stubbed.snakemake("--", "data/digits/images")
    done = plan(stubbed, "data/digits/images", SNAKEMAKE_PROFILE=os.devnull)
    assert done.stdout == "nothing to do: all of it exists\n"
