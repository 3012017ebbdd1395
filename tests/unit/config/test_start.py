"""``train.from``: which run or file it names, and what is refused before anything runs."""

import pytest
from tests.support.experiments import copy_experiments, edit

from dimr.config.phases import section_key, write_run
from dimr.config.project import PROJECT, Project
from dimr.config.schema import Train
from dimr.config.validation import validate
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

OWN, XL = "digits/dimr-xs-2r/0", "imagenet256/dimr-xl-2r/published"


@pytest.fixture
def change(tmp_path):
    """A function that changes values of a copy's params.yaml, or recipes.yaml, and returns it."""
    copy_experiments(tmp_path)

    def project(changes, file="params.yaml"):
        return edit(tmp_path, file, changes)

    return project


def test_without_it_no_file_and_no_key_has_it():
    run = PROJECT.run("workspace")
    assert (run.start, run.start_file, run.recipe.train.start) == (None, None, None)
    assert "from" not in run.phases()["train"].model_dump(mode="json")["train"]
    assert PROJECT.params.train.model_dump()["from"] is None


def test_a_run_is_resolved_and_named_in_the_file_and_the_key(change, tmp_path):
    project = change({"train.from": OWN})
    run = project.run("workspace")
    assert (run.start, run.start_file) == (project.run(OWN), None)
    phase = run.phases()["train"]
    assert section_key(phase) != section_key(PROJECT.run("workspace").phases()["train"])
    write_run(project, "workspace", tmp_path)
    assert read_yaml(tmp_path / "runs/workspace/config/train.yaml")["train"]["from"] == OWN
    assert "from" not in read_yaml(tmp_path / f"runs/{OWN}/config/train.yaml")["train"]


def test_published_weights_of_another_dataset(change):
    run = change({"train.from": XL, "model.variant": "xl"}).run("workspace")
    assert run.start.weights is not None
    assert run.network.input_size != run.start.network.input_size


@pytest.mark.parametrize("path", ["weights.pth", "/data/my model", "./digits/dimr-xs-2r/0", "a/b"])
def test_anything_else_is_a_path(change, path):
    run = change({"train.from": path}).run("workspace")
    assert (run.start, run.start_file) == (None, path)


def test_a_recipe_may_have_it_for_all_runs_that_are_trained(change):
    project = change({"imagenet512.train.from": "w.pth"}, "experiments/recipes.yaml")
    assert project.run("imagenet512/dimr-xl-3r-400epochs/0").start_file == "w.pth"
    assert project.run("imagenet512/dit-xl-2/published").start_file is None


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("workspace", "workspace changes with params.yaml: name another run"),
        ("digits/real/0", "digits/real/0 has no network"),
        ("digits/nonsuch/0", "digits/nonsuch/0: variants.yaml: no variant 'nonsuch' for digits"),
        ("digit/dimr-xs-2r/0", r"no dataset 'digit' .* \(the path of a folder begins with / or"),
        ("digits/uvit-xs-2/0", "is a U-ViT; this run trains a DiMR: choose the model uvit-xs-2;"),
        (XL, r"is a DiMR of layers \[39, 20\]; this run's has \[5, 3\]: choose the model dimr-xl-"),
        ("digits-pixel/dimr-xs-3r/0", "DiMR of channels 1; this run's has 4: both datasets need"),
        (3, "3: input should be a valid string"),
        ("a\nb", "string should match pattern"),
        ("{run}.pth", "string should match pattern"),  # Snakemake would fill it in
    ],
)
def test_what_cannot_be_is_one_line(change, value, message):
    with pytest.raises(DimrError, match=message) as caught:
        change({"train.from": value}).run("workspace")
    assert str(caught.value).startswith("params.yaml: train.from: ")
    assert "\n" not in str(caught.value)


def test_a_network_that_learns_its_variance_is_advised(change):
    choice = {"model.family": "dit", "model.variant": "xl"}
    project = change({"train.from": "imagenet256/dit-xl-2/published", **choice})
    with pytest.raises(DimrError, match=r"of learn_sigma True; .* choose the model dit-xl-sigma-2"):
        project.run("workspace")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"digits.train.from": OWN}, f"recipes.yaml: digits: train.from: {OWN} starts from this"),
        (
            {
                "digits.train.from": "imagenet256/dimr-xl-2r/0",
                "imagenet256.train.from": "digits/dimr-xl-2r/0",
            },
            "recipes.yaml: digits: train.from: imagenet256/dimr-xl-2r/0: recipes.yaml: "
            "imagenet256: train.from: digits/dimr-xl-2r/0 starts from this run itself",
        ),
    ],
)
def test_runs_that_start_from_each_other_are_one_line(change, changes, message):
    project = change(changes, "experiments/recipes.yaml")
    name = OWN if len(changes) == 1 else "digits/dimr-xl-2r/0"
    for _ in range(2):  # nothing of the first try is left
        with pytest.raises(DimrError, match=message):
            project.run(name)


def test_a_wrong_key_is_told_with_the_names_that_files_have():
    value = PROJECT.run(OWN).recipe.train.model_dump(mode="json")
    with pytest.raises(DimrError, match=r"frm: unknown key \(did you mean from\? allowed: steps,"):
        validate(Train, value | {"frm": OWN}, "recipes.yaml", "digits.train")
    with pytest.raises(DimrError, match="start: unknown key"):
        validate(Train, value | {"start": OWN}, "recipes.yaml", "digits.train")


def test_a_project_without_the_key_in_params_yaml(tmp_path):
    copy_experiments(tmp_path)
    content = (tmp_path / "params.yaml").read_text()
    lines = [line for line in content.splitlines() if not line.startswith("  from:")]
    (tmp_path / "params.yaml").write_text("\n".join(lines))
    assert Project(tmp_path).run("workspace").start is None
