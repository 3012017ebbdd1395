"""Contract A (what decides a rerun) and C (long jobs), on steps of a few lines."""

import json
import shutil

import pytest

METRICS = [f"runs/workspace/metrics/{s}.json" for s in ("unguided", "guided", "power_cosine")]
TABLE = "results/digits/table1.csv"


@pytest.fixture(scope="module")
def built_once(stub_project, tmp_path_factory):
    project = stub_project(tmp_path_factory.mktemp("built") / "project")
    done = project.snakemake("--verbose", "--", *METRICS, TABLE)
    (project.folder / "said.txt").write_text(done.stdout + done.stderr)
    return project


@pytest.fixture
def built(built_once, tmp_path):
    """A copy, times and Snakemake's records included, of a project in which all is made."""
    folder = tmp_path / "project"
    shutil.copytree(built_once.folder, folder, symlinks=True)
    project = type(built_once)(folder)
    project.calls()
    return project


def test_everything_once_then_nothing(built_once, built):
    calls = (built_once.folder / "calls.txt").read_text().split()
    assert calls.count("train") == 4  # the workspace run and the table's three
    assert calls.count("autoencoder") == calls.count("encode") == 1
    again = built.snakemake("--", *METRICS, TABLE)
    assert "Nothing to be done" in again.stdout + again.stderr
    assert built.calls() == []


def test_the_scheduler_wakes_when_jobs_end_and_no_more(built_once):
    """Snakemake's default limit of jobs kept it awake: 1,965 passes for a table's 26 steps."""
    wakes = (built_once.folder / "said.txt").read_text().count("Ready jobs:")
    made = len((built_once.folder / "calls.txt").read_text().split())
    assert made / 2 < wakes < 3 * made


def test_a_sampling_key_samples_again_and_does_not_train(built):
    built.edit("params.yaml", "sample.steps", 5)
    assert built.planned(*METRICS, TABLE) == {"sample", "evaluate"}
    built.snakemake("--", *METRICS, TABLE)
    assert sorted(built.calls()) == ["evaluate"] * 3 + ["sample"] * 3
    built.edit("params.yaml", "sample.settings.guided.scale", 0.9)
    built.snakemake("--", *METRICS, TABLE)
    assert sorted(built.calls()) == ["evaluate", "sample"]  # that setting alone


def test_an_evaluation_key_only_evaluates(built):
    built.edit("params.yaml", "evaluate.isc_splits", 3)
    built.snakemake("--", *METRICS, TABLE)
    assert built.calls() == ["evaluate"] * 3


def test_a_training_key_trains_and_all_that_follows(built):
    built.edit("params.yaml", "train.steps", 13)
    assert built.planned(*METRICS, TABLE) == {"train", "sample", "evaluate"}


@pytest.mark.parametrize("again", [13, 14])
def test_what_was_stopped_after_a_change_is_not_taken_as_up_to_date(built, again):
    """Stopped, a job has removed its earlier output; what follows from that is still there."""
    built.edit("params.yaml", "train.steps", 13)
    stopped = built.snakemake("--", *METRICS, check=False, STOP_AT="5")
    assert stopped.returncode
    assert not (built.folder / "runs/workspace/model").exists()
    built.calls()
    built.edit("params.yaml", "train.steps", again)
    assert built.planned(*METRICS) == {"train", "sample", "evaluate"}
    built.snakemake("--", *METRICS)
    assert built.calls().count("train") == 1
    values = {json.loads((built.folder / name).read_text())["value"] for name in METRICS}
    assert values == {float(again)}
    assert built.planned(*METRICS) == set()


def test_sampling_that_was_stopped_after_a_change_is_done_again(built):
    built.edit("params.yaml", "sample.steps", 5)
    shutil.rmtree(built.folder / "runs/workspace/samples/guided")  # as its job does when it begins
    built.snakemake("--", *METRICS)
    assert sorted(built.calls()) == ["evaluate"] * 3 + ["sample"] * 3
    assert built.planned(*METRICS) == set()


def test_what_was_removed_by_hand_and_still_fits_is_not_made_again(built):
    shutil.rmtree(built.folder / "runs/workspace/model")
    assert built.planned(*METRICS) == set()
    assert not (built.folder / "runs/workspace/model").exists()


def test_a_comment_reruns_nothing(built):
    for file in ("params.yaml", "experiments/recipes.yaml", "experiments/variants.yaml"):
        with open(built.folder / file, "a") as target:
            target.write("# a comment\n")
    assert built.planned(*METRICS, TABLE) == set()


MEMORY = ["--set-resources", "train:accumulate=4", "train:checkpointing=block"]


def test_how_steps_are_computed_is_chosen_without_rerunning(built):
    again = built.snakemake(*MEMORY, "--", *METRICS, TABLE)
    assert "Nothing to be done" in again.stdout + again.stderr
    built.edit("params.yaml", "train.steps", 13)
    planned = built.snakemake("-np", *MEMORY, "--", METRICS[0])
    assert "--accumulate 4 --checkpointing block" in planned.stdout + planned.stderr


def test_a_result_with_the_same_content_triggers_nothing(built):
    """Contract B: computed again, or put back by DVC, it hands on the same record."""
    for place in ("data/digits/latents", "runs/digits/dimr-xs-2r/0/model"):
        folder = built.folder / place
        shutil.copytree(folder, folder.with_name("copy"))  # with times of now
        shutil.rmtree(folder)
        folder.with_name("copy").rename(folder)
    assert built.planned(*METRICS, TABLE) == set()
    built.snakemake("--force", "--", "data/digits/images")
    assert built.calls() == ["images"]
    assert built.planned(*METRICS, TABLE) == set()


def test_the_recipe_reaches_workspace_and_table(built):
    built.edit("experiments/recipes.yaml", "digits.data.classifier.steps", 6)
    assert built.planned(*METRICS, TABLE) == {"classifier", "evaluate", "table"}


def test_the_dry_run_of_a_mistake_is_one_line(stubbed):
    stubbed.edit("params.yaml", "train.stepz", 5)
    done = stubbed.snakemake("-n", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "params.yaml: train.stepz: unknown key (did you mean steps?" in text
    assert "Traceback" not in text


def test_an_unknown_setting_of_a_run_is_named(stubbed):
    done = stubbed.snakemake("-n", "runs/workspace/samples/gided", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "no setting 'gided' (allowed: unguided, guided, power_cosine)" in text


def test_a_seed_that_no_table_names_can_be_asked_for(stubbed):
    assert "train" in stubbed.planned("runs/digits/dimr-xs-2r/7/metrics/guided.json")


def test_published_weights_are_imported_and_not_trained(stubbed):
    model = "runs/imagenet256/dimr-xl-2r/published/model"
    assert stubbed.planned(model) == {"published"}
    assert "published" not in stubbed.planned("runs/digits/dimr-xs-2r/0/model")


def test_stopped_training_goes_on_and_keeps_its_state(stubbed):
    """Exit code 75 fails the job, which deletes its outputs; the state lies elsewhere."""
    model = "runs/workspace/model"
    stopped = stubbed.snakemake(model, check=False, STOP_AT="7")
    assert stopped.returncode != 0
    assert not (stubbed.folder / model).exists()
    stubbed.snakemake(model)
    (resumed,) = stubbed.folder.glob("runs/workspace/state/*/resumed_from")
    assert resumed.read_text() == "7"


def test_retries_submit_a_stopped_job_again(stubbed):
    """What the slurm profile does: the same command again, until it is through."""
    done = stubbed.snakemake("runs/workspace/model", "--retries", "2", check=False, STOP_AT="7")
    assert done.returncode == 0, done.stderr
    assert stubbed.calls().count("train") == 2


def test_another_variant_does_not_meet_this_ones_state(stubbed):
    stubbed.snakemake("runs/workspace/model", check=False, STOP_AT="7")
    stubbed.edit("params.yaml", "model.variant", "xl")
    stubbed.snakemake("runs/workspace/model")
    resumed = {f.read_text() for f in stubbed.folder.glob("runs/workspace/state/*/resumed_from")}
    assert resumed == {"0"}
    assert len(list(stubbed.folder.glob("runs/workspace/state/*"))) == 2


def test_lint_is_clean(stubbed):
    done = stubbed.run("snakemake", "--lint", check=False)
    assert done.returncode == 0
    assert "good condition" in done.stdout + done.stderr


def test_every_rule_has_a_log_and_a_benchmark(built):
    produced = {f.stem for f in (built.folder / "logs").rglob("*.tsv")}
    for name in ("images", "autoencoder", "encode", "classifier", "train", "evaluate-guided"):
        assert name in produced


def test_config_files_hold_only_their_phase(built):
    folder = built.folder / "runs/workspace/config"
    text = {f.stem: f.read_text() for f in folder.glob("*.yaml")}
    assert set(text) == {
        "train", "evaluate", "sample-unguided", "sample-guided", "sample-power_cosine",
    }  # fmt: skip
    assert "guidance" not in text["train"]
    assert "lr" not in text["sample-guided"]


def test_metrics_are_numbers_only(built):
    for path in METRICS:
        values = json.loads((built.folder / path).read_text()).values()
        assert all(isinstance(value, int | float) for value in values)
