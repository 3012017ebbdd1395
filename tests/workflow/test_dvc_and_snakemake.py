"""Contract B, the real stages shortened: DVC and Snakemake do not undo each other, in one clone.

A table is made by Snakemake; DVC then makes the run of params.yaml, varies it, queues it, puts back
and checks out versions of it; Snakemake has nothing to do for the table at any time, and what is
there stays the same files with the same content.
"""

import json
import time

import pytest
import yaml
from tests.support.project import Project

from dimr.runtime.files import sha256

pytestmark = pytest.mark.slow
TABLE = "results/demo/digits/table1.csv"
LIKE = "runs/digits/dimr-xs-2r/0"
SETTINGS = ["unguided", "guided"]


def shorten(folder):
    """A table of two runs, and a workspace with few settings."""
    file = folder / "experiments/tables/digits/table1.yaml"
    table = yaml.safe_load(file.read_text())
    table["rows"] = [table["rows"][0], {**table["rows"][2], "settings": SETTINGS}]
    file.write_text(yaml.safe_dump(table, sort_keys=False))
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for name in set(params["sample"]["settings"]) - set(SETTINGS):
        del params["sample"]["settings"][name]
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")  # as it is committed


def state(project):
    """Content and time of all that Snakemake made for the table; jobs by their logs."""
    places = ("data/digits", LIKE, "runs/digits/real", "results/demo")
    files = [file for place in places for file in (project.folder / place).rglob("*")]
    kept = [file for file in files if file.is_file() and "config" not in file.parts]
    return {file: (sha256(file), file.stat().st_mtime_ns) for file in kept}


def jobs(project):
    """Names of the logs of jobs since the last question, below ``logs/``."""
    logs = project.folder / "logs"
    found = {file: file.stat().st_mtime_ns for file in logs.rglob("*.tsv")}
    new = [file for file, when in found.items() if project.seen.get(file) != when]
    project.seen = found
    return sorted(file.relative_to(logs).with_suffix("").as_posix() for file in new)


def workspace_jobs(step):
    return [f"workspace/{step}-{setting}" for setting in sorted(SETTINGS)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A fresh clone in which the demo's table was made."""
    from tests.support.project import copy_project

    origin = copy_project(tmp_path_factory.mktemp("demo") / "origin")
    shorten(origin.folder)
    origin.commit("shortened")
    clone = Project(origin.folder.with_name("clone"))
    origin.run("git", "clone", "-q", str(origin.folder), str(clone.folder))
    clone.run("git", "config", "user.name", "test")
    clone.run("git", "config", "user.email", "test@example.com")
    clone.seen = {}
    clone.snakemake("--", TABLE)
    jobs(clone)
    assert clone.run("git", "status", "--porcelain").stdout == ""
    clone.made = state(clone)
    return clone


def check_untouched(project):
    assert state(project) == project.made
    assert project.planned(TABLE) == set()
    changed = project.run("git", "status", "--porcelain").stdout.split("\n")
    assert {line[3:] for line in changed if line} <= {"dvc.lock", "params.yaml"}


def metrics(project):
    return json.loads((project.folder / "runs/workspace/metrics.json").read_text())


def test_dvc_after_the_demo(demo):
    """What is there is not made again: not the data, and not the run that would be the same."""
    said = demo.run("dvc", "repro").stdout
    assert jobs(demo) == []
    assert f"taken over   {LIKE}/model: the same configuration and code" in said
    assert metrics(demo)["guided"] == json.loads(
        (demo.folder / LIKE / "metrics/guided.json").read_text()
    )
    check_untouched(demo)
    assert "up to date" in demo.run("dvc", "repro").stdout
    demo.commit("reproduced")


def test_an_experiment_on_sampling_samples_and_measures_only(demo):
    demo.run("dvc", "exp", "run", "-q", "-n", "sampling", "-S", "sample.steps=4")
    assert jobs(demo) == sorted(workspace_jobs("sample") + workspace_jobs("evaluate"))
    check_untouched(demo)
    assert demo.planned("workspace_evaluate") == set()


def test_another_network_the_queue_and_back(demo):
    first = metrics(demo)
    variant = ["-S", "model.family=uvit"]
    demo.run("dvc", "exp", "run", "-q", "-n", "other", *variant)
    done = jobs(demo)
    assert "workspace/train" in done
    assert all(name.startswith("workspace/") for name in done)
    check_untouched(demo)
    other = metrics(demo)
    assert other != first

    demo.run("dvc", "exp", "run", "--queue", "-n", "queued", "-S", "sample.settings.guided.scale=0")
    demo.run("dvc", "queue", "start", "-j", "1")
    deadline = time.monotonic() + 900
    while "Success" not in (said := demo.run("dvc", "queue", "status").stdout):
        assert "Failed" not in said, demo.run("dvc", "queue", "logs", "queued").stdout
        assert time.monotonic() < deadline, said
        time.sleep(2)
    assert jobs(demo) == []  # in a folder of its own

    demo.run("dvc", "exp", "apply", "sampling")
    assert metrics(demo) == first
    check_untouched(demo)
    demo.run("dvc", "exp", "apply", "queued")
    assert demo.run("dvc", "repro").stdout.count("didn't change, skipping") == 4  # but config
    assert jobs(demo) == []
    check_untouched(demo)

    demo.run("git", "checkout", "-q", "--", ".")
    demo.run("dvc", "checkout", "-q", "--force", "dvc.yaml")
    check_untouched(demo)
    # of the workspace run, Snakemake remembers the last one that it made
    demo.run("dimr", "adopt", "--root", ".")
    assert demo.planned("workspace_evaluate", TABLE) == set()


def test_a_clone_that_pulls(demo, tmp_path):
    """Data of the workspace run come with it, though they are no outputs of DVC's."""
    demo.run("dvc", "remote", "add", "-q", "-d", "shared", str(tmp_path / "remote"))
    demo.commit("remote")
    demo.run("dvc", "push", "-q", "dvc.yaml")
    demo.run("git", "clone", "-q", str(demo.folder), str(tmp_path / "clone"))
    other = Project(tmp_path / "clone")
    other.seen = {}
    other.run("dvc", "pull", "-q", "dvc.yaml")
    other.run("dimr", "adopt", "--root", ".")
    assert other.planned("workspace_evaluate") == set()
    said = other.run("dvc", "repro", "dvc.yaml").stdout
    assert "Running stage" not in said
    assert jobs(other) == []
    rules = other.planned(f"{LIKE}/metrics/guided.json")
    assert rules == {"train", "sample", "evaluate"}  # the data are there
    other.run("dvc", "exp", "run", "-q", "-S", "sample.steps=5")
    assert jobs(other) == sorted(workspace_jobs("sample") + workspace_jobs("evaluate"))
