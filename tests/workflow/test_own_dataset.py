"""From a folder of one's own images to a table row, with the commands of docs/datasets.md."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image, ImageDraw
from tests.support.own_images import SHORT

pytestmark = pytest.mark.slow
CLASSES = ["blue squares", "Größe & Maß", "7", "{x}"]


def image(number, label):
    """A shape on a ground, in another mode and size each time."""
    made = Image.new("RGBA", (70 + number, 64), (200, 220 - number, 190, 255))
    box = [10 + number, 8, 40 + number, 40]
    ImageDraw.Draw(made).rectangle(box, fill=(40 * label, 30, 160, 255))
    modes = ["RGBA", "RGB", "P", "L", "I;16", "LA"]
    return made.convert("L" if modes[number % 6] == "I;16" else modes[number % 6])


def fill(folder, classes=CLASSES, each=6):
    """Images of awkward names in all formats."""
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            made = image(number, label)
            suffix = ["png", "WEBP", "png", "jpg", "PNG", "webp"][number % 6]
            made.save(folder / name / f"Bild {number} – ü.{suffix}")
    return folder


def shorten(project, name):
    recipes = yaml.safe_load((project.folder / "experiments/recipes.yaml").read_text())
    is_trained = recipes[name]["data"]["autoencoder"]["kind"] == "trained"
    for key, value in SHORT.items():
        if key == "data.autoencoder.steps" and not is_trained:
            continue
        project.edit("experiments/recipes.yaml", f"{name}.{key}", value)


def dimr(project, *command, **options):
    return project.run("dimr", *command, PYTHONPATH=str(project.folder / "src"), **options)


def rows(project, table):
    project.snakemake("--", table)
    with open(project.folder / table) as file:
        return list(csv.DictReader(file))


def test_a_folder_of_images_becomes_a_table(project, tmp_path):
    pictures = fill(tmp_path / "my pictures")
    new = ("dataset", "new", "mine", "--images", str(pictures), "--size", "32", "--root", ".")
    said = dimr(project, *new).stdout
    assert "snakemake results/mine/table1.csv" in said
    shorten(project, "mine")
    found = rows(project, "results/mine/table1.csv")
    assert [row["model"] for row in found] == ["Real images", "Reconstructions"] + [
        "DiMR-XS/2R"
    ] * 2
    assert float(found[0]["nearest_ratio"]) == 0.0
    assert all(np.isfinite(float(row["fid_own"])) for row in found)
    # names are those of the folders, wherever there are names
    run = project.folder / "runs/mine/dimr-xs-2r/0"
    wanted = sorted(CLASSES)
    for manifest in (run / "samples/guided", project.folder / "data/mine/latents"):
        assert sorted(json.loads((manifest / "manifest.json").read_text())["class_names"]) == wanted
    provenance = json.loads((run / "provenance/guided.json").read_text())
    assert provenance["reference"]["images"] == 4  # one of each class
    grid = tmp_path / "grid.png"
    dimr(project, "sample", "--model", str(run / "model"), "--class", "BLUE  squares",
         "--class", "Größe & Maß", "--steps", "3", "--out", str(grid))  # fmt: skip
    assert Image.open(grid).height > 64
    wrong = dimr(project, "sample", "--model", str(run / "model"), "--class", "blue square",
                 "--out", str(grid), check=False)  # fmt: skip
    assert wrong.returncode == 2
    assert "blue squares" in wrong.stderr
    assert project.planned("results/mine/table1.csv") == set()

    # other images under the same names: said, not overlooked
    (pictures / "7" / "Bild 0 – ü.png").write_bytes((pictures / "7/Bild 2 – ü.png").read_bytes())
    changed = dimr(project, "data", "mine", "--out", str(tmp_path / "store"), check=False)
    assert changed.returncode == 2
    assert "--replace" in changed.stderr
    dimr(project, *new, "--replace")
    shorten(project, "mine")
    assert {"source", "images", "encode", "train"} <= project.planned("results/mine/table1.csv")


def test_one_class_in_a_flat_folder(project, tmp_path):
    """Its classifier tells quarter turns; there is no guidance, no score and no own class."""
    fill(tmp_path, ["all"], each=10)
    dimr(project, "dataset", "new", "flat", "--images", str(tmp_path / "all"), "--size", "16",
         "--root", ".")  # fmt: skip
    shorten(project, "flat")
    found = rows(project, "results/flat/table1.csv")
    assert [row["setting"] for row in found[2:]] == ["unguided"]
    assert not {"class_accuracy", "inception_score"} & found[0].keys()
    assert all(np.isfinite(float(row["fid_own"])) for row in found)
    recipe = yaml.safe_load((project.folder / "experiments/recipes.yaml").read_text())["flat"]
    assert recipe["network"]["num_classes"] == 1
