"""Contract B: DVC stages, experiments, and results that come from elsewhere."""

import copy
import json
import time

import pytest
import yaml

RUN = "runs/digits/dimr-xs-2r/0"
"""A run that is recorded, as are its data."""
FINISHED = [f"{RUN}/metrics/guided.json", "runs/digits/real/0/metrics/reference.json"]


@pytest.fixture(scope="module")
def reproduced(stub_project, tmp_path_factory):
    """One project for all tests of this file, each of which leaves it as it was."""
    project = stub_project(tmp_path_factory.mktemp("dvc") / "project")
    project.run("dvc", "repro")
    project.first_calls = project.calls()
    project.commit("reproduced")
    return project


@pytest.fixture(scope="module")
def recorded(reproduced):
    """The same with finished runs, recorded and committed."""
    reproduced.snakemake("--", *FINISHED)
    reproduced.calls()
    reproduced.recording = dimr(reproduced, "record").stdout
    reproduced.commit("recorded")
    return reproduced


@pytest.fixture(scope="module")
def clone(recorded, tmp_path_factory):
    """Another clone, with all that was pushed, adopted."""
    folder = tmp_path_factory.mktemp("shared")
    recorded.run("dvc", "remote", "add", "-q", "-d", "shared", str(folder / "remote"))
    recorded.commit("remote")
    recorded.run("dvc", "push", "-q")
    recorded.run("git", "clone", "-q", str(recorded.folder), str(folder / "clone"))
    other = type(recorded)(folder / "clone")
    other.adopted = dimr(other, "pull").stdout
    return other


def dimr(project, *command, **options):
    """``dimr`` with the code of the project."""
    return project.run("dimr", *command, PYTHONPATH=str(project.folder / "src"), **options)


def undo(project):
    """Back to what was committed."""
    project.run("git", "checkout", "-q", "--", ".")
    project.run("dvc", "checkout", "-q", "--force", "dvc.yaml")
    project.calls()


def rewrite(path, text):
    """Replace a file, as every step does (a recorded one may be a link)."""
    path.unlink()
    path.write_text(text)


def experiments(project):
    """Name and value of the metric of each experiment."""
    table = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    rows = [e for base in table for e in base.get("experiments") or []]
    found = {}
    for row in rows:
        revision = row["revs"][-1]
        metrics = revision["data"]["metrics"]["runs/workspace/metrics.json"]["data"]
        found[revision["name"]] = metrics["unguided"]["value"]
    return found


def test_repro_runs_each_stage_once_then_nothing(reproduced):
    calls = reproduced.first_calls
    assert sorted(set(calls)) == sorted(
        ["images", "autoencoder", "encode", "classifier", "train", "sample", "evaluate"]
    )
    assert calls.count("sample") == 3
    assert "up to date" in reproduced.run("dvc", "repro").stdout
    assert reproduced.calls() == []
    assert "up to date" in reproduced.run("dvc", "status", "dvc.yaml").stdout


def test_experiments_run_what_they_change_and_line_up(reproduced):
    reproduced.run("dvc", "exp", "run", "-q", "-n", "sampling", "-S", "sample.steps=7")
    assert sorted(reproduced.calls()) == ["evaluate"] * 3 + ["sample"] * 3
    reproduced.run("dvc", "exp", "run", "-q", "-n", "longer", "-S", "train.steps=24")
    assert reproduced.calls().count("train") == 1
    found = experiments(reproduced)
    assert (found["sampling"], found["longer"]) == (12.0, 24.0)
    listed = reproduced.run("dimr", "experiments", "--root", ".").stdout
    heads, *rows = listed.splitlines()
    assert heads.split() == ["Experiment", "Made", "train.steps", "sample.steps"]
    assert [row.split()[1] for row in rows if row.startswith("  ")] == ["longer", "sampling"]
    compared = ("diff", "--json", "sampling", "longer")
    difference = json.loads(reproduced.run("dvc", "metrics", *compared).stdout)
    change = difference["runs/workspace/metrics.json"]["guided.value"]
    assert (change["old"], change["new"]) == (12.0, 24.0)
    curves = json.loads(reproduced.run("dvc", "plots", *compared).stdout)["data"]["loss"]
    assert {revision for curve in curves for revision in curve["revisions"]} == {
        "sampling", "longer",
    }  # fmt: skip
    undo(reproduced)


def test_queued_experiments_run_their_own_code_and_configuration(reproduced):
    reproduced.run("dvc", "exp", "run", "--queue", "-n", "steps", "-S", "train.steps=20")
    stub = reproduced.folder / "src/dimr/stages/stub_stages.py"
    stub.write_text(stub.read_text().replace('MODEL = "1.0"', 'MODEL = "3.0"'))
    # The stub stands for the stages; a network's code is what the stage depends on.
    network = reproduced.folder / "src/dimr/models/dimr.py"
    network.write_text(network.read_text() + "\n# other code\n")
    reproduced.run("dvc", "exp", "run", "--queue", "-n", "code")
    reproduced.run("git", "checkout", "-q", "--", "src")
    reproduced.run("dvc", "queue", "start", "-j", "2")
    deadline = time.monotonic() + 500
    while any(word in (queue := status_of_queue(reproduced)) for word in ("Queued", "Running")):
        assert time.monotonic() < deadline, queue
        time.sleep(2)
    assert queue.count("Success") == 2, queue
    found = experiments(reproduced)
    assert (found["steps"], found["code"]) == (20.0, 36.0)
    undo(reproduced)


def status_of_queue(project):
    return project.run("dvc", "queue", "status").stdout


@pytest.mark.parametrize(
    ("dataset", "variant", "settings"),
    [("imagenet64", "m", ["unguided"]), ("own", "xs", ["unguided", "guided", "power_cosine"])],
)
def test_the_same_stages_make_every_dataset(stubbed, dataset, variant, settings):
    own_dataset(stubbed)
    before = stubbed.folder.joinpath("dvc.yaml").read_text()
    values = [f"dataset={dataset}", f"model.variant={variant}", "train.steps=12"]
    change = [word for value in values for word in ("-S", value)]
    stubbed.run("dvc", "exp", "run", "-q", "-n", dataset, *change)
    calls = stubbed.calls()
    assert {"autoencoder", "encode", "train", "sample", "evaluate"} <= set(calls)
    assert len(calls) == len(set(calls)) + 2 * (len(settings) - 1)
    file = stubbed.folder / "runs/workspace/metrics.json"
    assert list(json.loads(file.read_text())) == settings
    assert list(experiments(stubbed)) == [dataset]
    assert stubbed.planned("workspace_evaluate") == set()

    stubbed.run("dvc", "exp", "run", "-q", "-n", "other", *change, "-S", "sample.steps=9")
    assert set(stubbed.calls()) == {"sample", "evaluate"}
    stubbed.run("dvc", "exp", "apply", "-q", dataset)
    said = stubbed.run("dvc", "repro").stdout
    assert said.count("didn't change, skipping") == 4, (
        said
    )  # all but config, whose files DVC does not keep
    assert stubbed.calls() == []
    assert stubbed.folder.joinpath("dvc.yaml").read_text() == before


def own_dataset(project):
    """Images of one's own, whose store and images lie in the same folder of data."""
    recipes, sources = (
        project.folder / f"experiments/{name}.yaml" for name in ("recipes", "sources")
    )
    content = yaml.safe_load(recipes.read_text())
    own = copy.deepcopy(content["digits-pixel"])
    images = {"source": "own", "image_size": 16, "heldout": 0.2, "split_seed": 0}
    own["data"]["images"] = images
    content["own"] = own
    recipes.write_text(yaml.safe_dump(content, sort_keys=False))
    listed = yaml.safe_load(sources.read_text())
    classes = {f"class {number}": 10 for number in range(10)}
    listed["own"] = {"classes": classes, "images": 100, "gigabytes": 0.1, "sha256": "0" * 64}
    sources.write_text(yaml.safe_dump(listed, sort_keys=False))
    project.commit("own images")


# --- sharing --------------------------------------------------------------------------------------


def test_what_is_finished_is_recorded(recorded):
    listed = ["data-digits", "digits-dimr-xs-2r-0", "digits-real-0"]
    for stage in listed:
        assert f"recorded      results/dvc.yaml:recorded@{stage}\n" in recorded.recording
    assert "recorded      dvc.yaml:train\n" in recorded.recording
    assert "not recorded  results/dvc.yaml:tables@table1" in recorded.recording
    stages = [f"results/dvc.yaml:recorded@{stage}" for stage in listed]
    assert "up to date" in recorded.run("dvc", "status", "dvc.yaml", *stages).stdout
    for target in FINISHED:
        assert (recorded.folder / "results/recorded" / target).is_file()


def test_experiments_leave_finished_runs_alone(recorded):
    """DVC puts its outputs back to their recorded version first, and deletes what has none."""
    newer = recorded.folder / RUN / "log.csv"
    before = newer.read_text()
    rewrite(newer, "newer than its record")
    other = recorded.folder / "runs/digits/dimr-xs-2r/1/model/weights"
    other.parent.mkdir(parents=True)
    other.write_text("not recorded")
    recorded.run("dvc", "exp", "run", "-q", "-n", "alone", "-S", "evaluate.isc_splits=1")
    assert recorded.calls() == ["evaluate"] * 3
    assert newer.read_text() == "newer than its record"
    assert other.read_text() == "not recorded"
    rewrite(newer, before)
    other.unlink()
    undo(recorded)


def test_pulled_results_are_adopted_and_rerun_nothing(clone):
    metrics = "runs/workspace/metrics/guided.json"
    assert f"adopted      {metrics}" in clone.adopted
    for target in FINISHED:
        assert f"brought in   {target}" in clone.adopted
    assert "not adopted" not in clone.adopted
    assert clone.planned(metrics, *FINISHED) == set()
    assert "up to date" in clone.run("dvc", "status", "dvc.yaml").stdout

    clone.edit("params.yaml", "sample.settings.guided.scale", 0.8)
    assert clone.planned(metrics) == {"sample", "evaluate"}
    clone.edit("params.yaml", "sample.settings.guided.scale", None)
    clone.edit("params.yaml", "train.lr", 0.5)
    assert clone.planned(metrics, *FINISHED) == {"train", "sample", "evaluate"}
    clone.run("git", "checkout", "-q", "--", ".")


def test_results_of_a_run_alone_are_pulled_by_name(clone):
    stage = "results/dvc.yaml:recorded@digits-real-0"
    folder = clone.folder / "results/recorded/runs/digits/real"
    before = {path for path in folder.rglob("*") if path.is_file()}
    for path in before:
        path.unlink()
    clone.run("dvc", "pull", "-q", stage)
    assert {path for path in folder.rglob("*") if path.is_file()} == before


def test_pull_without_the_remote_is_one_line(clone, tmp_path):
    clone.run("git", "clone", "-q", str(clone.folder), str(tmp_path / "third"))
    third = type(clone)(tmp_path / "third")
    (tmp_path / "empty").mkdir()
    third.run("dvc", "remote", "modify", "--local", "shared", "url", str(tmp_path / "empty"))
    done = dimr(third, "pull", check=False)
    assert done.returncode == 2
    message = done.stderr.strip()
    assert "\n" not in message
    assert message.startswith(f"dimr: remote 'shared' ({tmp_path}/empty) lacks ")
    assert message.endswith("whoever recorded them must run `dvc push`")
    assert not list((third.folder / "runs").glob("*/*/*/model"))

    (tmp_path / "empty").rmdir()
    message = dimr(third, "pull", check=False).stderr.strip()
    assert message.startswith(f"dimr: remote 'shared': no folder {tmp_path}/empty: mount it")

    third.run("dvc", "remote", "remove", "--local", "shared")
    third.run("dvc", "remote", "remove", "shared")
    message = dimr(third, "pull", check=False).stderr.strip()
    assert message.startswith("dimr: .dvc/config: no default remote: dvc remote add --default")


def test_results_of_another_configuration_are_not_adopted(reproduced):
    reproduced.edit("params.yaml", "train.steps", 99)
    adopted = dimr(reproduced, "adopt").stdout.splitlines()
    assert "not adopted  runs/workspace/model: made with another configuration" in adopted
    assert "adopted      data/digits/latents" in adopted
    assert reproduced.planned("runs/workspace/metrics/guided.json") == {
        "train", "sample", "evaluate",
    }  # fmt: skip
    undo(reproduced)


def test_plots_and_metrics_are_declared(reproduced):
    plots = json.loads(reproduced.run("dvc", "plots", "show", "--json").stdout)
    assert "loss" in str(plots)
