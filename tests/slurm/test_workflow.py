"""The workflow as jobs of a real SLURM: resources, limits, stops and failures."""

import csv
import json
import os
import shutil
import signal

import pytest
import torch
from safetensors.torch import load_file

from .conftest import PATIENCE, RUN, SITE, STEPS, submitted

pytestmark = pytest.mark.slow
WEIGHTS = f"{RUN}/model/diffusion_pytorch_model.safetensors"
MODEL = f"{RUN}/model"


def sessions(on):
    """Of the training that made the model."""
    return json.loads((on.folder / MODEL / "provenance.json").read_text())["sessions"]


def test_from_nothing_to_a_table(finished):
    on, said = finished
    with open(on.folder / "results/digits/table1.csv") as file:
        assert [row["model"] for row in csv.DictReader(file)] == ["Real images", "DiMR-XS/2R"]
    # autoencoder, latents, classifier, a training, two of samples, two of metrics
    assert len(submitted(said)) == 8
    assert "Nothing to be done" in on.snakemake("results/digits/table1.csv")
    # nor is anything to be done without the cluster: where a job runs is no part of its result
    again = on.project.snakemake("results/digits/table1.csv")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_training_through_short_limits_ends_in_the_same_weights(finished, again):
    """Each job has 0 s of its 30 minutes, and leaves after a step: it takes as many as steps."""
    again.site(**{**SITE, "margin_minutes": 29.9999})
    said = again.snakemake(MODEL)
    assert len(submitted(said)) == STEPS
    assert "stopped by the time limit at step 1" in said
    assert len(sessions(again)) == STEPS
    undisturbed, stopped = (load_file(on.folder / WEIGHTS) for on in (finished[0], again))
    assert undisturbed.keys() == stopped.keys()
    assert all(torch.equal(undisturbed[name], stopped[name]) for name in undisturbed)


def test_two_nodes_train_together(finished, again):
    """One job of two nodes, on each of which srun starts torchrun; the processes meet by gloo."""
    again.project.edit("experiments/recipes.yaml", "digits.resources", {"train": {"nodes": 2}})
    said = again.snakemake(MODEL, "--slurm-keep-successful-logs")
    (job,) = submitted(said)
    shown = again.cluster.command("scontrol", "show", "job", job)
    assert "NodeList=first,second" in shown
    assert "NumNodes=2" in shown
    (session,) = sessions(again)
    assert session["processes"] == 2
    one, two = (load_file(on.folder / WEIGHTS) for on in (finished[0], again))
    # Gradients are the same sums in another order; where one is nearly 0, AdamW's first steps can
    # make an element's rounding as large as a step (1e-3), so tensors are compared as wholes.
    for name, tensor in one.items():
        difference = (tensor - two[name]).square().mean().sqrt()
        assert difference <= 1e-6 + 1e-4 * tensor.square().mean().sqrt(), name


def test_a_failure_that_no_retry_mends_is_shown_and_ends_the_retries(again):
    again.project.edit("experiments/recipes.yaml", "digits.learning_rates.dimr-xs-2r", 1e30)
    said = again.snakemake(MODEL, check=False)
    assert again.code == 1
    assert "loss is not finite at step" in said  # the log of the step, on the screen
    assert "failure.json" in said
    assert len(submitted(said)) == 2  # of the profile's 30 retries one
    assert not (again.folder / MODEL).exists()


def test_killed_at_its_limit_a_job_takes_nothing_with_it(stubbed):
    stubbed.project.edit("experiments/recipes.yaml", "digits.train.steps", 100_000)
    run = stubbed.start(MODEL, "--retries", "0", SLOW="1")
    steps = lambda: [*stubbed.folder.glob(f"{RUN}/state/*/steps")]  # noqa: E731
    run.wait_for(steps)
    made = [stubbed.folder / f"data/digits/{name}" for name in ("autoencoder", "latents")]
    assert all(folder.is_dir() for folder in made)
    job = submitted(run.text)[-1]
    stubbed.cluster.command("scontrol", "update", f"JobId={job}", "EndTime=now+1")
    assert run.process.wait(PATIENCE) == 1
    assert "TIMEOUT" in run.text
    assert "Traceback" not in run.text
    assert all((folder / "record.json").is_file() for folder in made)
    assert not (stubbed.folder / MODEL).exists()
    assert int(steps()[0].read_text()) > 0


def test_after_scancel_of_everything_the_same_command_goes_on(stubbed):
    """Meanwhile a second workflow in the folder is refused, and says so."""
    stubbed.project.edit("experiments/recipes.yaml", "digits.train.steps", 400)
    run = stubbed.start(MODEL, "--retries", "0", SLOW="1")
    run.wait_for(lambda: [*stubbed.folder.glob(f"{RUN}/state/*/steps")])
    second = stubbed.snakemake(MODEL, check=False)
    assert stubbed.code == 1
    assert "Directory cannot be locked" in second
    assert "Traceback" not in second
    stubbed.cluster.command("scancel", *stubbed.cluster.jobs())
    assert run.process.wait(PATIENCE) == 1
    assert "CANCELLED" in run.text
    said = stubbed.snakemake(MODEL)
    assert len(submitted(said)) == 1  # the data are there
    (resumed,) = stubbed.folder.glob(f"{RUN}/state/*/resumed_from")
    assert int(resumed.read_text()) > 0


def test_interrupted_snakemake_cancels_its_jobs(stubbed):
    stubbed.project.edit("experiments/recipes.yaml", "digits.train.steps", 100_000)
    run = stubbed.start(MODEL, "--retries", "0", SLOW="1")
    run.wait_for(lambda: [*stubbed.folder.glob(f"{RUN}/state/*/steps")])
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(PATIENCE) != 0
    stubbed.cluster.wait(lambda: stubbed.cluster.jobs() == [])  # of 100,000 steps it took some
    (steps,) = stubbed.folder.glob(f"{RUN}/state/*/steps")
    assert int(steps.read_text()) < 100_000


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"partition": "gpus"}, "site.yaml: partition: no partition 'gpus' (did you mean gpu?"),
        ({"partitions": "cpu"}, "site.yaml: partitions: unknown key (did you mean partition?"),
    ],
)
def test_a_mistake_in_the_site_file_is_one_line(stubbed, keys, message):
    stubbed.site(**keys)
    said = stubbed.snakemake(MODEL, check=False)
    assert stubbed.code == 1
    assert message in said
    assert "Traceback" not in said
    assert submitted(said) == []


def test_without_slurm_the_profile_says_so(stubbed, tmp_path):
    """On a laptop: programs, except for SLURM's."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("bash", "sh", "env", "which", "git"):
        (programs / name).symlink_to(shutil.which(name))
    venv = os.path.dirname(shutil.which("snakemake"))
    said = stubbed.snakemake(MODEL, check=False, PATH=f"{venv}:{programs}")
    assert stubbed.code == 1
    assert "no command 'sbatch' on this machine" in said
    assert "Traceback" not in said
