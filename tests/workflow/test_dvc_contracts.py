"""Contract B: DVC stages, experiments, and results that come from elsewhere."""

import json

import pytest


@pytest.fixture(scope="module")
def reproduced(stub_project, tmp_path_factory):
    """One project for all tests of this file, each of which leaves it as it was."""
    project = stub_project(tmp_path_factory.mktemp("dvc") / "project")
    project.run("dvc", "repro")
    project.first_calls = project.calls()
    project.commit("reproduced")
    return project


def undo(project):
    """Back to what was committed."""
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout", "-q", "--force")
    project.calls()


def experiments(project):
    """Name and value of the metric of each experiment."""
    table = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    rows = [e for base in table for e in base.get("experiments") or []]
    found = {}
    for row in rows:
        revision = row["revs"][-1]
        metrics = revision["data"]["metrics"]["runs/workspace/metrics/guided.json"]["data"]
        found[revision["name"]] = metrics["value"]
    return found


def test_repro_runs_each_stage_once_then_nothing(reproduced):
    calls = reproduced.first_calls
    assert sorted(set(calls)) == sorted(
        ["images", "autoencoder", "encode", "classifier", "train", "sample", "evaluate"]
    )
    assert calls.count("sample") == 3
    assert "up to date" in reproduced.run("dvc", "repro").stdout
    assert reproduced.calls() == []
    assert "up to date" in reproduced.run("dvc", "status").stdout


def test_experiments_run_what_they_change_and_line_up(reproduced):
    reproduced.run("dvc", "exp", "run", "-q", "-n", "sampling", "-S", "sample.steps=7")
    assert sorted(reproduced.calls()) == ["evaluate"] * 3 + ["sample"] * 3
    reproduced.run("dvc", "exp", "run", "-q", "-n", "longer", "-S", "train.steps=24")
    assert reproduced.calls().count("train") == 1
    found = experiments(reproduced)
    assert (found["sampling"], found["longer"]) == (12.0, 24.0)
    shown = json.loads(reproduced.run("dvc", "metrics", "show", "--json").stdout)
    assert any("value" in str(v) for v in shown.values())
    undo(reproduced)


def test_queued_experiments_run_their_own_code_and_configuration(reproduced):
    reproduced.run("dvc", "exp", "run", "--queue", "-n", "steps", "-S", "train.steps=20")
    stub = reproduced.folder / "src/dimr/cli/training.py"
    stub.write_text(stub.read_text().replace('MODEL = "1.0"', 'MODEL = "3.0"'))
    # The stub stands in the CLI; a network's code is what the stage depends on.
    network = reproduced.folder / "src/dimr/models/multires.py"
    network.write_text(network.read_text() + "\n# other code\n")
    reproduced.run("dvc", "exp", "run", "--queue", "-n", "code")
    reproduced.run("git", "checkout", "-q", "--", "src")
    reproduced.run("dvc", "exp", "run", "--run-all", "-q")
    found = experiments(reproduced)
    assert (found["steps"], found["code"]) == (20.0, 36.0)
    undo(reproduced)


def test_pulled_results_are_adopted_and_rerun_nothing(reproduced, tmp_path):
    remote, clone = tmp_path / "remote", tmp_path / "clone"
    reproduced.run("dvc", "remote", "add", "-q", "-d", "local", str(remote))
    reproduced.commit("remote")
    reproduced.run("dvc", "push", "-q")
    reproduced.run("git", "clone", "-q", str(reproduced.folder), str(clone))
    other = type(reproduced)(clone)
    other.run("dvc", "pull", "-q")
    metrics = "runs/workspace/metrics/guided.json"
    adopted = other.run("dimr", "adopt", PYTHONPATH=str(clone / "src")).stdout
    assert f"adopted      {metrics}" in adopted
    assert "not adopted" not in adopted
    assert other.planned(metrics) == set()
    assert "up to date" in other.run("dvc", "status").stdout

    other.edit("params.yaml", "sample.settings.guided.scale", 0.8)
    assert other.planned(metrics) == {"sample", "evaluate"}
    other.edit("params.yaml", "sample.settings.guided.scale", None)
    other.edit("params.yaml", "train.lr", 0.5)
    assert other.planned(metrics) == {"train", "sample", "evaluate"}


def test_results_of_another_configuration_are_not_adopted(reproduced):
    reproduced.edit("params.yaml", "train.steps", 99)
    adopted = reproduced.run(
        "dimr", "adopt", PYTHONPATH=str(reproduced.folder / "src")
    ).stdout.splitlines()
    assert "not adopted  runs/workspace/model: made with another configuration" in adopted
    assert "adopted      data/digits/latents" in adopted
    assert reproduced.planned("runs/workspace/metrics/guided.json") == {
        "train", "sample", "evaluate",
    }  # fmt: skip
    undo(reproduced)


def test_plots_and_metrics_are_declared(reproduced):
    plots = json.loads(reproduced.run("dvc", "plots", "show", "--json").stdout)
    assert "loss" in str(plots)
