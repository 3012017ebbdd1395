"""Runs that start from other weights: Snakemake makes those first, and again if they change."""

import re
import shutil

import pytest
import yaml

from dimr.config.project import Project
from dimr.planning.plan import jobs_of, summary
from dimr.stages.pipeline import Pipeline

START, MODEL = "digits/dimr-xs-2r/0", "runs/workspace/model"
RECIPE = "digits-pixel"


def jobs(project, *targets):
    """Rules of models and the runs that they would be made for, in the order of a dry run."""
    planned = project.snakemake("-n", "--quiet", "host", "progress", "--", *targets).stdout
    return re.findall(r"rule (train|published):.*?wildcards: run=(\S+)", planned, re.DOTALL)


def test_the_run_that_it_starts_from_is_made_first(stubbed):
    assert jobs(stubbed, MODEL) == [("train", "workspace")]
    stubbed.snakemake("--", MODEL)
    stubbed.edit("params.yaml", "train.from", START)
    assert jobs(stubbed, MODEL) == [("train", START), ("train", "workspace")]
    plan = jobs_of(summary([MODEL], stubbed.folder), Pipeline(Project(stubbed.folder)))
    assert {one.place for one in plan} == {f"runs/{START}/model", MODEL}
    stubbed.calls()
    stubbed.snakemake("--", MODEL)
    assert stubbed.calls() == ["train", "train"]
    assert jobs(stubbed, MODEL) == []
    config = yaml.safe_load((stubbed.folder / "runs/workspace/config/train.yaml").read_text())
    assert config["train"]["from"] == START
    # another start is another model; what it was before is trained again
    stubbed.edit("experiments/recipes.yaml", "digits.learning_rates.dimr-xs-2r", 1e-3)
    stubbed.edit("params.yaml", "train.lr", config["train"]["lr"])
    assert jobs(stubbed, MODEL) == [("train", START), ("train", "workspace")]


def test_published_weights_are_imported_first(stubbed):
    published = "imagenet256/dimr-xl-2r/published"
    stubbed.edit("params.yaml", "train.from", published)
    stubbed.edit("params.yaml", "model.variant", "xl")
    assert jobs(stubbed, MODEL) == [("published", published), ("train", "workspace")]


def test_a_milestone_and_its_training_start_from_the_same(stubbed):
    stubbed.edit("experiments/recipes.yaml", f"{RECIPE}.milestones", {"half": 6})
    stubbed.edit("experiments/recipes.yaml", f"{RECIPE}.train.from", "start.pth")
    (stubbed.folder / "start.pth").write_bytes(b"weights")
    long, short = f"{RECIPE}/dimr-xs-3r/0", f"{RECIPE}/dimr-xs-3r-half/0"
    models = [f"runs/{run}/model" for run in (long, short)]
    assert jobs(stubbed, *models) == [("train", short), ("train", long)]
    stubbed.snakemake("--", *models)
    assert jobs(stubbed, *models) == []


@pytest.mark.parametrize("name", ["start.pth", "my weights/it's one.pth"])
def test_a_file_is_given_to_the_command_and_its_content_counts(stubbed, name):
    file = stubbed.folder / name
    stubbed.edit("params.yaml", "train.from", name)
    done = stubbed.snakemake("--", MODEL, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"{name}: no such file, and {MODEL} is to be made from it" in text
    assert "Traceback" not in text
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"weights")
    stubbed.snakemake("--", MODEL)
    assert jobs(stubbed, MODEL) == []
    place = Pipeline(Project(stubbed.folder))
    assert place.is_made(MODEL)
    file.write_bytes(b"others")
    assert jobs(stubbed, MODEL) == [("train", "workspace")]
    assert not Pipeline(Project(stubbed.folder)).is_made(MODEL)


def test_a_mistake_is_one_line(stubbed):
    stubbed.edit("params.yaml", "train.from", "digits/uvit-xs-2/0")
    done = stubbed.snakemake("-n", MODEL, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "params.yaml: train.from: digits/uvit-xs-2/0 is a U-ViT; this run trains a DiMR" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_real_weights_of_a_run_and_of_its_export(project):
    """From a run, then from a file with the authors' names of it: the same network."""
    project.edit("params.yaml", "train.from", START)
    project.snakemake("--", MODEL)
    log = (project.folder / "logs/workspace/train.log").read_text()
    assert f"starts from {START} (content " in log
    assert "label embedding: 10 of 10 classes kept by name (0, 1, 2, 3, " in log
    weights = (project.folder / MODEL / "diffusion_pytorch_model.safetensors").read_bytes()
    project.run("dimr", "export", "--model", f"runs/{START}/model", "--out", "start.pth",
                PYTHONPATH=str(project.folder / "src"))  # fmt: skip
    shutil.rmtree(project.folder / "runs")
    project.edit("params.yaml", "train.from", "start.pth")
    project.snakemake("--", MODEL)
    again = (project.folder / MODEL / "diffusion_pytorch_model.safetensors").read_bytes()
    assert weights == again
