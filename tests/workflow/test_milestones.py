"""A milestone's model and that of the whole training: trained once, in this order."""

import re
import shutil

import pytest
import yaml
from safetensors.torch import load_file

LONG, SHORT = "digits/dimr-xs-2r/0", "digits/dimr-xs-2r-half/0"
MODELS = [f"runs/{run}/model" for run in (LONG, SHORT)]
MILESTONES = "digits.milestones"


@pytest.fixture
def halved(stubbed):
    """A stubbed project whose trainings of 12 steps have a milestone."""
    stubbed.edit("experiments/recipes.yaml", MILESTONES, {"half": 6})
    return stubbed


def trainings(project, *runs):
    """Runs that a dry run would train for their models, in its order."""
    models = [f"runs/{run}/model" for run in runs]
    planned = project.snakemake("-n", "--quiet", "host", "progress", "--", *models).stdout
    return re.findall(r"rule train:.*?wildcards: run=(\S+)", planned, re.DOTALL)


def steps(project, run):
    """How many its configuration asks for."""
    config = project.folder / f"runs/{run}/config/train.yaml"
    return yaml.safe_load(config.read_text())["train"]["steps"]


def test_both_are_trained_once_and_the_milestone_first(halved):
    assert trainings(halved, LONG) == trainings(halved, LONG, SHORT) == [SHORT, LONG]
    assert trainings(halved, SHORT) == [SHORT]
    assert [steps(halved, run) for run in (SHORT, LONG)] == [6, 12]
    halved.snakemake("--", *MODELS)
    assert halved.calls().count("train") == 2
    assert trainings(halved, LONG, SHORT) == []
    # without its milestone's model it is what it was; that comes back from the state of both
    shutil.rmtree(halved.folder / f"runs/{SHORT}")
    assert trainings(halved, LONG) == []
    halved.snakemake("--", MODELS[1])
    assert trainings(halved, LONG, SHORT) == []
    assert not (halved.folder / f"runs/{SHORT}/state").exists()
    halved.edit("experiments/recipes.yaml", "digits.learning_rates.dimr-xs-2r", 1e-3)
    assert trainings(halved, LONG, SHORT) == [SHORT, LONG]


def test_what_was_trained_before_there_was_a_milestone_stays(stubbed):
    """Also where Snakemake has no record of it, as of a run that was brought in."""
    stubbed.snakemake("--", MODELS[0])
    stubbed.edit("experiments/recipes.yaml", MILESTONES, {"half": 6})
    assert trainings(stubbed, LONG) == []
    assert trainings(stubbed, LONG, SHORT) == [SHORT]
    stubbed.snakemake("--", *MODELS)
    assert trainings(stubbed, LONG, SHORT) == []
    shutil.rmtree(stubbed.folder / f"runs/{SHORT}")
    shutil.rmtree(stubbed.folder / ".snakemake")
    assert trainings(stubbed, LONG, SHORT) == [SHORT]
    stubbed.edit("experiments/recipes.yaml", "digits.learning_rates.dimr-xs-2r", 1e-3)
    assert trainings(stubbed, LONG, SHORT) == [SHORT, LONG]


@pytest.mark.parametrize("run", ["imagenet256/dimr-xl-2r{}/0", "imagenet512/dimr-xl-3r{}/0"])
def test_400_and_800_epochs_of_imagenet(stubbed, run):
    short, long = run.format("-400epochs"), run.format("")
    assert trainings(stubbed, long, short) == trainings(stubbed, long) == [short, long]
    assert [steps(stubbed, one) for one in (short, long)] == [500_000, 1_000_000]


def test_an_unknown_milestone_is_one_line(stubbed):
    done = stubbed.snakemake("-n", "runs/imagenet256/dimr-xl-2r-40epochs/0/model", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "imagenet256: no milestone '40epochs' of dimr-xl-2r (milestones: 400epochs)" in text
    assert "Traceback" not in text


@pytest.mark.slow
def test_the_weights_are_those_of_one_training(project):
    """Real stages: 6 steps, then 6 more; and 12 at once."""
    project.edit("experiments/recipes.yaml", MILESTONES, {"half": 6})
    project.snakemake("--", *MODELS)
    halves = [weights(project, run) for run in (SHORT, LONG)]
    assert "resuming at step 6 of 12" in (project.folder / f"logs/{LONG}/train.log").read_text()
    shutil.rmtree(project.folder / "runs")
    project.edit("experiments/recipes.yaml", MILESTONES, {})
    project.snakemake("--", MODELS[0])
    whole = weights(project, LONG)
    assert all(halves[1][name].equal(tensor) for name, tensor in whole.items())
    assert any(not halves[0][name].equal(tensor) for name, tensor in whole.items())


def weights(project, run):
    """Those of a run's model."""
    return load_file(project.folder / f"runs/{run}/model/diffusion_pytorch_model.safetensors")
