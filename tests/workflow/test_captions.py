"""Images with captions, from their files to a table: MS-COCO in miniature, and a set of one's own.

CLIP, the autoencoder and Inception are random, in their real file formats.
"""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.support.captions import coco, coco_captions
from tests.support.miniature import random_autoencoder
from tests.support.own_images import SHORT, encoded, picture
from tests.support.text_models import write_clip

from dimr.data.imagenet import ImageStore
from dimr.data.text.folder import open_captions
from dimr.runtime.files import read_json
from dimr.sampling.folder import read_samples

pytestmark = pytest.mark.slow
SIZE, TRAINING, HELDOUT = 32, 8, 4
RUNS = {"U-ViT-S/2": "uvit-s-2", "DiMR-S/2R": "dimr-s-2r"}
"""Of the table's rows those that are trained here."""
WIDTH, TOKENS = 16, 12
TRAIN = {"steps": 3, "batch": 4, "warmup_steps": 1, "log_every": 1, "compile": False}


def rows(project, table, **environment):
    project.snakemake("--", table, **environment)
    with open(project.folder / table) as file:
        return list(csv.DictReader(file))


# --- MS-COCO --------------------------------------------------------------------------------------


@pytest.fixture
def mini(project, inception_weights, tmp_path):
    """The project with a dozen images as MS-COCO, and everything that the recipe asks for."""
    experiments = project.folder / "experiments"
    numbers = {"classes": {"train": TRAINING, "val": HELDOUT}, "images": TRAINING + HELDOUT}
    for key, value in {**numbers, "captions": 30, "gigabytes": 0.001}.items():
        project.edit("experiments/sources.yaml", f"coco2014.{key}", value)
    recipes = yaml.safe_load((experiments / "recipes.yaml").read_text())
    recipe = recipes["coco256"]
    recipe["network"]["input_size"] = SIZE // 4
    data = recipe["data"]
    data["images"]["image_size"] = SIZE
    data["autoencoder"]["repo"] = random_autoencoder(tmp_path / "autoencoder", SIZE)
    write_clip(tmp_path / "clip", TOKENS, WIDTH)
    clip = {"repo": str(tmp_path / "clip"), "width": WIDTH, "tokens": TOKENS}
    data["text_encoder"].update(clip)
    data["captions"]["shard_size"] = 7
    recipe["train"].update(TRAIN)
    recipe["sample"].update(count=HELDOUT, steps=3)
    recipe["evaluate"].update(weights=inception_weights.name, isc_splits=1)
    (experiments / "recipes.yaml").write_text(yaml.safe_dump(recipes, sort_keys=False))
    variants = yaml.safe_load((experiments / "variants.yaml").read_text())
    variants["uvit"]["s"][2].update(depth=3, dim=16, heads=2)
    variants["dimr"]["s"][2].update(layers=[3, 2], dims=[16, 8], heads=2)
    (experiments / "variants.yaml").write_text(yaml.safe_dump(variants, sort_keys=False))
    table = yaml.safe_load((experiments / "tables/text.yaml").read_text())
    (block,) = table["blocks"]
    trained = [row for row in block["rows"] if row["run"].split("/")[1] in RUNS.values()]
    block["rows"] = [*trained, "U-ViT-S/2 (Deep)"]
    (experiments / "tables/text.yaml").write_text(yaml.safe_dump(table, sort_keys=False))
    project.commit("miniature")
    project.files = {
        "DIMR_COCO2014": str(coco(tmp_path / "coco")),
        "DIMR_EXTRACTOR": str(inception_weights),
    }
    return project


def test_coco_from_its_files_to_the_table_beside_what_is_published(mini):
    folder, table = mini.folder, "results/text.csv"
    found = {row["model"]: row for row in rows(mini, table, **mini.files)}
    assert float(found.pop("DiMR-S/2R")["fid"]) > 0
    assert [row["fid_published"] for row in found.values()] == ["5.95", "5.48"]
    assert [bool(row["fid"]) for row in found.values()] == [True, False]

    store = ImageStore(folder / "data/coco2014/source")
    assert (store.class_names, store.manifest.counts) == (["train", "val"], [TRAINING, HELDOUT])
    captions = open_captions(folder / "data/coco256/captions")
    assert captions.condition(captions.prompts).tokens.shape == (HELDOUT, TOKENS, WIDTH)
    first = {coco_captions("val2014", number)[0] for number in range(HELDOUT)}
    prompts = [captions.texts[number] for number in captions.prompts]
    assert set(prompts) == first
    for run in RUNS.values():
        model = folder / f"runs/coco256/{run}/0/model"
        assert read_json(model / "config.json")["text_dim"] == WIDTH
        assert read_json(model / "text_encoder.json")["kind"] == "clip"
    samples = folder / "runs/coco256/uvit-s-2/0/samples/guided"
    images, labels = read_samples(samples)
    assert images.shape == (HELDOUT, SIZE, SIZE, 3)
    assert labels.tolist() == list(range(HELDOUT))
    assert read_json(samples / "manifest.json")["class_names"] == prompts
    provenance = read_json(folder / "runs/coco256/uvit-s-2/0/provenance/guided.json")
    assert provenance["reference"]["images"] == HELDOUT
    assert mini.planned(table) == set()


def test_a_plan_of_coco_names_every_step(project):
    """With nothing there: captions, latents, training and sampling are counted."""
    said = project.run("dimr", "plan", "results/text.csv", "--gpu", "h100").stdout
    for word in ("source", "images", "captions", "encode", "train", "sample", "evaluate"):
        assert word in said, said


# --- a set of one's own ---------------------------------------------------------------------------


def test_a_folder_with_captions_becomes_a_table(project, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    lines = []
    for number, thing in enumerate(("cat", "dog", "bus") * 4):
        (pictures / f"{number}.png").write_bytes(encoded(picture(number, (36, 33))))
        captions = [f"a {thing}", f"One {thing}, number {number}!"]
        lines.append(json.dumps({"file": f"{number}.png", "captions": captions}))
    (pictures / "captions.jsonl").write_text("\n".join(lines))

    def dimr(*command, **options):
        return project.run("dimr", *command, PYTHONPATH=str(project.folder / "src"), **options)

    new = ("dataset", "new", "mine", "--images", str(pictures), "--size", "32", "--root", ".")
    assert "--prompt 'a cat'" in dimr(*new).stdout
    for key, value in SHORT.items():
        project.edit("experiments/recipes.yaml", f"mine.{key}", value)
    found = rows(project, "results/mine/table1.csv")
    assert [row["setting"] for row in found[2:]] == ["unguided", "guided"]
    assert all(np.isfinite(float(row["fid_own"])) for row in found)
    assert not {"class_accuracy", "inception_score"} & found[0].keys()
    grid = tmp_path / "grid.png"
    model = project.folder / "runs/mine/dimr-xs-2r/0/model"
    dimr("sample", "--model", str(model), "--prompt", "a bus", "--prompt", "one dog",
         "--steps", "3", "--out", str(grid))  # fmt: skip
    assert Image.open(grid).width > 64
    wrong = dimr("sample", "--model", str(model), "--prompt", "a cow", "--out", str(grid),
                 check=False)  # fmt: skip
    assert wrong.returncode == 2
    assert "'cow'" in wrong.stderr

    # another caption under the same names: said, not overlooked
    (pictures / "captions.jsonl").write_text("\n".join(lines).replace("a dog", "a fox"))
    changed = dimr("data", "mine", "--out", str(tmp_path / "store"), check=False)
    assert changed.returncode == 2
    assert "--replace" in changed.stderr
    dimr(*new, "--replace")
    assert {"source", "images", "captions", "train"} <= project.planned("results/mine/table1.csv")
