"""`dimr dataset new` writes entries, and refuses names that mean something else."""

import shlex

import pytest
from PIL import Image
from tests.support.experiments import copy_experiments

from dimr.cli import main
from dimr.config.project import Project
from dimr.paper.tables.definitions import load_table

NAMES = ["blue squares", "Zürich", "yes", "007", "a: b", "it's", "#1"]


@pytest.fixture
def root(tmp_path):
    return copy_experiments(tmp_path / "project")


@pytest.fixture
def pictures(tmp_path):
    """Four images of every class."""
    for number, name in enumerate(NAMES):
        folder = tmp_path / "pictures" / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (40, 36), (30 * number, 60 * i, 9)).save(folder / f"{i}.png")
    return tmp_path / "pictures"


def new(root, pictures, *more, name="mine"):
    return main(["dataset", "new", name, "--images", str(pictures), "--root", str(root), *more])


def error(caplog):
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert "\n" not in line
    return line


def test_what_is_written_is_a_dataset_with_runs_and_a_table(root, pictures, capsys):
    before = {name: (root / f"experiments/{name}").read_text() for name in FILES}
    assert new(root, pictures, "--size", "32") == 0
    for name, text in before.items():  # comments of others too
        assert (root / f"experiments/{name}").read_text().startswith(text)
    project = Project(root)
    assert sorted(project.source("mine").class_names) == sorted(NAMES)
    assert project.source("mine").folder == str(pictures)
    for run in ("dimr-xs-2r", "real", "reconstruction"):
        assert project.run(f"mine/{run}/0").phases()
    assert project.training_images("mine") == 3 * len(NAMES)
    table = load_table(root / "experiments/tables/mine/table1.yaml", project)
    assert len(table.cells()) == 4
    printed = capsys.readouterr().out
    assert "snakemake results/mine/table1.csv" in printed
    command = next(line for line in printed.splitlines() if "dimr sample" in line)
    assert shlex.split(command)[5] in NAMES


FILES = ("sources.yaml", "recipes.yaml")


def test_a_dataset_is_written_once_unless_it_is_replaced(root, pictures, caplog):
    assert new(root, pictures, "--size", "32") == 0
    first = (root / "experiments/recipes.yaml").read_text()
    caplog.clear()
    assert new(root, pictures, "--size", "16") == 2
    assert "dataset 'mine' exists" in error(caplog)
    assert new(root, pictures, "--size", "16", "--replace") == 0
    assert Project(root).recipe("mine").data.image_size == 16
    assert new(root, pictures, "--size", "32", "--replace") == 0
    assert (root / "experiments/recipes.yaml").read_text() == first


def test_the_entries_of_others_stay_behind_one_that_is_replaced(root, pictures):
    assert new(root, pictures) == 0
    assert new(root, pictures, name="other") == 0
    file = root / "experiments/recipes.yaml"
    file.write_text(file.read_text().replace("\nother:", "\n# a person's note\nother:"))
    assert new(root, pictures, "--size", "16", "--replace") == 0
    assert "# a person's note\nother:" in file.read_text()
    project = Project(root)
    assert [project.recipe(name).data.image_size for name in ("mine", "other")] == [16, 32]


def test_an_interrupted_command_is_started_again(root, pictures):
    """Entries are written one after the other, that of recipes.yaml last."""
    before = (root / "experiments/recipes.yaml").read_text()
    assert new(root, pictures) == 0
    (root / "experiments/recipes.yaml").write_text(before)
    assert new(root, pictures) == 0
    assert Project(root).recipe("mine")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("digits", "is taken (experiments/recipes.yaml)"),
     ("imagenet", "is taken (experiments/sources.yaml)"),
     ("workspace", "it is the run of params.yaml"), ("demo", "a folder of results/demo"),
     ("my set", "is not allowed"), ("../x", "is not allowed"), ("Zürich", "is not allowed")],
)  # fmt: skip
def test_names_that_mean_something_else(root, pictures, caplog, name, reason):
    before = (root / "experiments/recipes.yaml").read_text()
    assert new(root, pictures, name=name) == 2
    assert reason in error(caplog)
    assert (root / "experiments/recipes.yaml").read_text() == before


def test_a_network_that_is_none(root, pictures, caplog):
    assert new(root, pictures, "--network", "dimr-xxl-3r") == 2
    assert "--network: no variant 'dimr-xxl-3r'" in error(caplog)
