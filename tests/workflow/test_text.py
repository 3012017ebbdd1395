"""The digits with captions, tiny, from nothing to their table; then a person's prompts."""

import csv
import json

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.slow

TABLE = "results/digits/text.csv"
CAPTIONS = ("caption_accuracy", "caption_accuracy_seen", "caption_accuracy_heldout")


def one_seed(file):
    """Of the table's networks, guided."""
    table = yaml.safe_load(file.read_text())
    table["seeds"] = 1
    for row in table["rows"][2:]:
        row["settings"] = ["guided"]
    file.write_text(yaml.safe_dump(table, sort_keys=False))


def test_digits_with_captions(project):
    folder = project.folder
    one_seed(folder / "experiments/tables/digits/text.yaml")
    project.snakemake("--", TABLE)
    assert project.planned(TABLE) == set()
    with open(folder / TABLE) as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [
        "Real pictures", "Autoencoder", "DiMR-XS/2R", "U-ViT-XS/2",
    ]  # fmt: skip
    assert rows[0]["caption_accuracy_heldout"] == ""  # training shows none
    assert all(0 <= float(row["caption_accuracy_seen"]) <= 1 for row in rows)
    assert all(0 <= float(row["caption_accuracy_heldout"]) <= 1 for row in rows[2:])

    run = folder / "runs/digits-text/dimr-xs-2r/0"
    metrics = json.loads((run / "metrics/guided.json").read_text())
    assert not {"precision", "recall"} & metrics.keys()  # of digits that are in several pictures
    shares = [metrics[name] for name in CAPTIONS]
    assert shares[0] == pytest.approx(0.8 * shares[1] + 0.2 * shares[2])
    manifest = json.loads((run / "samples/guided/manifest.json").read_text())
    prompts = manifest["class_names"]
    assert len(prompts) == 400
    assert {"a zero to the left of a one", "a two below an eight"} <= set(prompts)
    assert Image.open(run / "samples/guided/grid.png").width > 100
    encoder = json.loads((run / "model/text_encoder.json").read_text())
    assert encoder["kind"] == "words"
    assert {"three", "left", "above"} <= set(encoder["vocabulary"])

    # image i has prompt i, and is the picture that a person draws of it with the same noise
    drawn = np.load(run / "samples/guided/00000.npy")[1]
    out = folder / "grid.png"
    asked = ("dimr", "sample", "--model", str(run / "model"), "--out", str(out))
    project.run(*asked, "--prompt", prompts[1], "--per-class", "1")
    assert drawn.shape == (32, 32, 3)
    assert Image.open(out).width > 32
    failed = project.run(*asked, "--prompt", "a cat above a two", check=False)
    assert failed.returncode == 2
    assert "'cat'" in failed.stderr
    assert failed.stderr.strip().count("\n") == 0
    failed = project.run(*asked, "--class", "3", check=False)
    assert failed.returncode == 2
    assert "--prompt" in failed.stderr

    # another encoder of the captions: images, autoencoder, latents and classifier stay
    project.edit("experiments/recipes.yaml", "digits-text.data.text_encoder.width", 64)
    planned = project.planned(TABLE)
    assert {"text_encoder", "captions", "train", "sample", "evaluate"} <= planned
    assert not {"images", "autoencoder", "encode", "classifier"} & planned
