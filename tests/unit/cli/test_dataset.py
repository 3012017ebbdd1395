"""`dimr dataset new` writes entries, and refuses names that mean something else."""

import shlex

import pytest
from PIL import Image
from tests.support.captions import coco
from tests.support.experiments import copy_experiments, edit

from dimr.cli import main
from dimr.config.project import Project
from dimr.paper.tables.definitions import load_table
from dimr.runtime.errors import DimrError

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


# --- captions -------------------------------------------------------------------------------------


@pytest.fixture
def captioned(root, tmp_path):
    """A set in MS-COCO's layout, as the dataset ``mine``."""
    assert new(root, coco(tmp_path / "coco")) == 0
    return root


def test_images_with_captions_are_a_dataset_of_text(captioned, tmp_path, capsys):
    assert new(captioned, tmp_path / "coco", "--replace") == 0
    project = Project(captioned)
    source, recipe = project.source("mine"), project.recipe("mine")
    assert (source.captions, source.classes) == (30, {"train": 8, "val": 4})
    assert (project.training_images("mine"), project.heldout_images("mine")) == (8, 4)
    assert project.run("mine/dimr-xs-2r/0").network.text_tokens == recipe.data.text_encoder.tokens
    table = load_table(captioned / "experiments/tables/mine/table1.yaml", project)
    assert not {"class_accuracy", "inception_score"} & {column.key for column in table.columns}
    assert "FID-own" in [column.title for column in table.columns]
    printed = capsys.readouterr().out
    command = next(line for line in printed.splitlines() if "dimr sample" in line)
    assert shlex.split(command)[4:6] == ["--prompt", "A cat in train2014, seen twice."]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sample.count": 7}, "sample: count: 7 is neither a multiple of the 4 prompts"),
        ({"sample.settings.guided.count": 9}, "sample: count: 9 is neither a multiple of the 4"),
        (
            {"data.images.source": "imagenet"},
            "text_encoder: sources.yaml: imagenet has no",
        ),
        ({"network.num_classes": 1}, "network.num_classes, or data.text_encoder"),
    ],
)
def test_recipes_of_captions_that_are_wrong(captioned, changes, problem):
    changed = {f"mine.{key}": value for key, value in changes.items()}
    project = edit(captioned, "experiments/recipes.yaml", changed)
    with pytest.raises(DimrError, match=problem):
        project.run("mine/dimr-xs-2r/0")


def test_a_split_that_a_set_does_not_have(root, pictures):
    assert new(root, pictures, "--size", "32") == 0
    project = edit(root, "experiments/recipes.yaml", {"mine.data.images.heldout": "val"})
    with pytest.raises(DimrError, match=r"heldout: val: sources.yaml: mine has no such part: give"):
        project.recipe("mine")
    project = edit(root, "experiments/recipes.yaml", {"mine.data.images.heldout": "train"})
    with pytest.raises(DimrError, match="heldout"):
        project.recipe("mine")


def test_coco_is_a_set_of_its_own(root):
    project = Project(root)
    assert (project.training_images("coco256"), project.heldout_images("coco256")) == (82783, 40504)
    assert project.run("coco256/dimr-s-2r/0").network.text_dim == 768
