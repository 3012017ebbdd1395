"""The real steps, tiny: DVC makes the workspace run, Snakemake a table, on the same data."""

import csv
import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.slow
METRICS = {
    "fid_digits", "inception_score", "inception_score_std", "precision", "recall",
    "class_accuracy", "low_fidelity_share", "nearest_distance", "heldout_nearest_distance",
    "nearest_ratio", "near_copy_share", "images",
}  # fmt: skip


def test_from_nothing_to_a_table(project):
    folder = project.folder
    project.run("dvc", "repro")
    assert (folder / "dvc.lock").exists()
    for setting in ("unguided", "guided", "power_cosine"):
        metrics = json.loads((folder / f"runs/workspace/metrics/{setting}.json").read_text())
        assert set(metrics) == METRICS
        assert all(np.isfinite(list(metrics.values())))
        assert metrics["images"] == 80
        provenance = json.loads((folder / f"runs/workspace/provenance/{setting}.json").read_text())
        assert provenance["git_revision"] == project.run("git", "rev-parse", "HEAD").stdout.strip()
        assert provenance["extractor"].startswith("digits-")
        assert provenance["cost"]["parameters_m"] > 0
    with np.load(folder / "runs/workspace/samples/guided/samples.npz") as archive:
        assert archive["arr_0"].shape == (80, 32, 32, 3)
    assert Image.open(folder / "runs/workspace/samples/guided/grid.png").width > 100
    assert Image.open(folder / "data/digits/autoencoder/reconstruction.png").width > 100
    shown = json.loads(project.run("dvc", "metrics", "show", "--json").stdout)
    assert any("fid_digits" in str(value) for value in shown.values())

    few_cells(folder / "experiments/tables/digits/table1.yaml")
    table = "results/digits/table1.csv"
    planned = project.planned(table)
    assert "autoencoder" not in planned  # the data that DVC made serves Snakemake too
    project.snakemake("--", table)
    with open(folder / table) as file:
        rows = list(csv.DictReader(file))
    models = ["Real images", "Autoencoder", "DiMR-XS/2R", "U-ViT-XS/2", "DiT-XS/2"]
    assert [row["model"] for row in rows] == models
    assert float(rows[0]["nearest_ratio"]) == 0.0  # training images are copies of themselves
    assert float(rows[2]["nearest_ratio"]) > 0.0
    # workspace and recipe say the same here, so the same seed draws the same images
    ours, theirs = (
        np.load(folder / f"runs/{run}/samples/guided/00000.npy")
        for run in ("workspace", "digits/dimr-xs-2r/0")
    )
    assert np.abs(ours.astype(int) - theirs).max() <= 1
    assert project.planned(table) == set()

    # a step that meets a damaged file says which, and leaves nothing at a final name
    shard = folder / "data/digits/latents/00000.npy"
    data = shard.read_bytes()
    shard.unlink()
    shard.write_bytes(data[: len(data) // 2])
    shutil.rmtree(folder / "runs/workspace/model")
    shutil.rmtree(folder / "runs/workspace/state")
    failed = project.snakemake(
        "--allowed-rules", "train", "--", "runs/workspace/model", check=False
    )
    assert failed.returncode != 0
    assert "00000.npy" in (folder / "logs/workspace/train.log").read_text()
    assert not (folder / "runs/workspace/model").exists()


def few_cells(file):
    """DiMR guided, the baselines unguided."""
    table = yaml.safe_load(file.read_text())
    for row, setting in zip(table["rows"][2:], ["guided", "unguided", "unguided"], strict=True):
        row["settings"] = [setting]
    file.write_text(yaml.safe_dump(table, sort_keys=False))


def test_a_comparison_on_pixels(project):
    """Two rows and two seeds of table 6: no autoencoder, three branches, a paired comparison."""
    folder = project.folder
    file = folder / "experiments/tables/digits/table6.yaml"
    table = yaml.safe_load(file.read_text())
    table.update(seeds=2, rows=[{**row, "settings": ["unguided"]} for row in table["rows"]])
    file.write_text(yaml.safe_dump(table, sort_keys=False))
    project.snakemake("--", "results/digits/table6.csv")
    with open(folder / "results/digits/table6.csv") as opened:
        ours, other = csv.DictReader(opened)
    assert ours["change"] == ""
    difference = float(ours["fid_digits"]) - float(other["fid_digits"])
    rounding = 1e-5 * float(other["fid_digits"])  # of numbers of six digits
    assert float(other["change_mean"]) == pytest.approx(difference, abs=rounding)
    assert float(other["change_low"]) < difference < float(other["change_high"])
    manifest = json.loads((folder / "data/digits-pixel/latents/manifest.json").read_text())
    assert (manifest["kind"], manifest["shape"]) == ("pixels", [16, 16, 1])
    assert Image.open(folder / "results/digits/table6.png").width > 500
