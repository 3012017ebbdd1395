"""From a published form of a miniature ImageNet to a row of a table, by Snakemake, the real steps.

The autoencoder and Inception are random, in their real file formats. ImageNet 64 and 256 are made
of one miniature source: pixels, and latents of images and their mirror images.
"""

import csv
import io
import json

import numpy as np
import pytest
import yaml
from PIL import Image
from tests.support.miniature import random_autoencoder

from dimr.checkpoints import read_class_names
from dimr.config.runs import BASELINES
from dimr.data.imagenet import ImageStore, center_crop
from dimr.data.pictures import as_rgb
from dimr.data.reader import ShardReader
from dimr.runtime.files import read_json
from dimr.sampling.folder import read_samples
from dimr.sampling.own_images import in_turn

pytestmark = pytest.mark.slow

SIZE, CLASSES, COUNT = 32, 3, 12
MODEL = "imagenet256/dimr-xl-2r"
TRAIN = {"steps": 3, "batch": 4, "warmup_steps": 1, "log_every": 1, "compile": False}
TABLE = {
    "title": "Miniature",
    "notes": [],
    "seeds": 1,
    "columns": [
        {"key": key, "title": key}
        for key in ("parameters_m", "fid", "sfid", "inception_score", "precision", "recall")
    ],
    "rows": [
        {"name": "Real images", "run": "imagenet256/real"},
        {"name": "Autoencoder", "run": "imagenet256/reconstruction"},
        {"name": "DiMR-XL/2R", "run": MODEL, "settings": ["guided"]},
    ],
}


def of_the_miniature(recipe, weights, **changes):
    """An ImageNet recipe at the miniature's size."""
    recipe["network"].update(num_classes=CLASSES, **changes["network"])
    recipe["data"].update(source="miniature", **changes["data"])
    recipe["data"]["latents"].update(image_size=SIZE, shard_size=8)
    recipe["data"]["reference"] = {"file": "reference.npz"}
    recipe["train"].update(TRAIN)
    recipe["sample"].update(count=COUNT, steps=3)
    recipe["sample"]["settings"].pop("guided80k", None)  # 80,000 are no multiple of the classes
    recipe["evaluate"].update(weights=weights, isc_splits=2)
    return recipe


@pytest.fixture
def mini(project, miniature, inception_weights, tmp_path):
    """The project with the miniature as ImageNet 64 and 256, and everything they ask for."""
    experiments = project.folder / "experiments"
    sources = yaml.safe_load((experiments / "sources.yaml").read_text())
    sources["miniature"] = miniature.section()
    (experiments / "sources.yaml").write_text(yaml.safe_dump(sources))
    random_autoencoder(tmp_path / "autoencoder", SIZE)
    recipes = yaml.safe_load((experiments / "recipes.yaml").read_text())
    weights = inception_weights.name
    pretrained = {"kind": "pretrained", "repo": str(tmp_path / "autoencoder")}
    of_the_miniature(
        recipes["imagenet256"], weights, network={"input_size": SIZE // 4},
        data={"autoencoder": pretrained},
    )  # fmt: skip
    recipes["imagenet256"]["milestones"] = {"400epochs": TRAIN["steps"] - 1}
    of_the_miniature(recipes["imagenet64"], weights, network={"input_size": SIZE}, data={})
    (experiments / "recipes.yaml").write_text(yaml.safe_dump(recipes, sort_keys=False))
    variants = yaml.safe_load((experiments / "variants.yaml").read_text())
    for one in (one for sizes in variants.values() for of in sizes.values() for one in of.values()):
        if "depth" in one:
            one.update(depth=3, dim=16, heads=2)
        else:
            one.update(layers=[3, 2, 2][: len(one["layers"])], dims=[16, 8, 4][: len(one["dims"])])
            one.update(heads=2)
    (experiments / "variants.yaml").write_text(yaml.safe_dump(variants, sort_keys=False))
    (experiments / "tables/mini.yaml").write_text(yaml.safe_dump(TABLE))
    project.commit("miniature")

    opened = (Image.open(io.BytesIO(data)) for _, _, data in miniature.images())
    images = np.stack([center_crop(as_rgb(image), SIZE) for image in opened])
    statistics = {"mu_s": np.zeros(2023), "sigma_s": np.eye(2023)}  # FID's are of the images
    np.savez(tmp_path / "reference.npz", arr_0=images, **statistics)
    project.files = {
        "DIMR_REFERENCE": str(tmp_path),
        "DIMR_EXTRACTOR": str(inception_weights),
    }
    return project


def make(project, source, *targets, check=True):
    return project.snakemake(
        "--", *targets, check=check, DIMR_MINIATURE=str(source), **project.files
    )


def test_from_a_source_to_a_row_and_to_the_papers_tables(mini, miniature, tmp_path):
    folder, source = mini.folder, miniature.archive(tmp_path / "official")
    table = "results/mini.csv"
    make(mini, source, table)
    with open(folder / table) as file:
        real, reconstruction, row = csv.DictReader(file)
    check_the_sanity_rows(folder, real, reconstruction)
    assert 0 < float(real["fid"]) < float(reconstruction["fid"])  # of images of the reference
    assert float(row["fid"]) > 0
    assert float(row["sfid"]) > 0
    assert 1 <= float(row["inception_score"]) <= CLASSES * COUNT
    assert Image.open(folder / "results/mini.png").width > 100

    manifest = read_json(folder / "data/imagenet256/latents/manifest.json")
    assert manifest["count"] == 2 * miniature.count
    assert manifest["shape"] == [8, SIZE // 4, SIZE // 4]
    names = ["tench, Tinca tinca", "tabby, tabby cat", "castle"]
    assert read_class_names(folder / f"runs/{MODEL}/0/model") == manifest["class_names"] == names
    samples = folder / "runs/imagenet256/dimr-xl-2r/0/samples/guided"
    with np.load(samples / "samples.npz") as archive:
        assert archive["arr_0"].shape == (COUNT, SIZE, SIZE, 3)
    assert np.load(samples / "labels.npy").tolist() == [i % CLASSES for i in range(COUNT)]
    provenance = json.loads(
        (folder / "runs/imagenet256/dimr-xl-2r/0/provenance/guided.json").read_text()
    )
    assert provenance["precision_recall_distances"] == "float16"
    assert provenance["reference"]["sfid_statistics"] == "mu_s and sigma_s of the file"
    assert (
        provenance["inputs"]["reference"]
        == read_json(folder / "data/imagenet256/reference/record.json")["key"]
    )
    assert mini.planned(table) == set()
    adopted = mini.run("dimr", "adopt", "--root", ".").stdout
    assert "not adopted" not in adopted
    for target in ("data/miniature/source", "data/imagenet256/latents", "metrics/guided.json"):
        assert f"{target}\n" in adopted
    check_dvc(mini, table)
    check_the_papers_tables(mini, miniature, source)


def check_the_sanity_rows(folder, *rows):
    """Training images, as many of each class, and the same through the autoencoder."""
    store = ImageStore(folder / "data/miniature/source")
    numbers = in_turn(store.labels, COUNT, shuffled=True)
    runs = [folder / f"runs/imagenet256/{name}/0/samples/reference" for name in BASELINES]
    (real, labels), (again, others) = map(read_samples, runs)
    assert (real == np.stack([store.crop(number, SIZE) for number in numbers])).all()
    assert (labels == others).all()
    assert labels.tolist() == [i % CLASSES for i in range(COUNT)]
    assert 5 < np.abs(again.astype(float) - real).mean() < 128  # by an autoencoder of chance
    for row in rows:
        assert row["parameters_m"] == ""


def check_dvc(mini, table):
    """DVC makes the same run by the same stages; what is there is not made again."""
    mini.edit("params.yaml", "dataset", "imagenet256")
    mini.edit("params.yaml", "model.variant", "xl")
    before = (mini.folder / "data/imagenet256/latents/record.json").stat().st_mtime_ns
    said = mini.run("dvc", "repro", **mini.files).stdout  # without the source
    assert f"taken over   runs/{MODEL}/0/model: the same configuration and code" in said
    metrics = read_json(mini.folder / "runs/workspace/metrics.json")
    assert set(metrics) == {"unguided", "guided"}
    assert metrics["guided"] == read_json(mini.folder / f"runs/{MODEL}/0/metrics/guided.json")
    assert (mini.folder / "data/imagenet256/latents/record.json").stat().st_mtime_ns == before
    assert mini.planned(table) == set()
    mini.run("git", "checkout", "-q", "--", ".")


def lines(project, name):
    with open(project.folder / f"results/{name}.csv") as file:
        return {row.get("model") or row["setting"]: row for row in csv.DictReader(file)}


def check_the_papers_tables(mini, miniature, source):
    """All eight, with the runs that are available: one training, at two of its steps."""
    make(mini, source, f"runs/{MODEL}/0/metrics/unguided.json",
         f"runs/{MODEL}-400epochs/0/metrics/guided.json")  # fmt: skip
    numbers = range(1, 9)
    names = [f"table{n}" if n in (4, 5) else f"partial/table{n}" for n in numbers]
    make(mini, source, *(f"results/{name}.csv" for name in names))
    tables = {n: lines(mini, name) for n, name in zip(numbers, names, strict=True)}

    full, early = tables[1]["DiMR-XL/2R"], tables[1]["DiMR-XL/2R (400 epochs)"]
    assert all(float(full[f"fid_{setting}"]) > 0 for setting in ("guided", "unguided"))
    assert (early["fid_unguided"], full["fid_guided_published"]) == ("", "1.7")
    seen = {round(float(row["epochs"]) * miniature.count) for row in (full, early)}
    assert seen == {TRAIN["steps"] * TRAIN["batch"], (TRAIN["steps"] - 1) * TRAIN["batch"]}
    for number, rows in tables.items():
        assert rows, number
        if number in (2, 3, 6, 7, 8):
            made = {name for name, row in rows.items() if row["fid"]}
            assert made == {
                3: {name for name in rows if name.endswith(("Transformer", "addition", "without"))},
                7: {"DiMR-XL/2R", "DiMR-XL/2R (400 epochs)"},
            }.get(number, set())
    assert float(tables[7]["DiMR-XL/2R (400 epochs)"]["sfid"]) > 0


def test_every_published_form_gives_the_same_pixels(mini, miniature, tmp_path):
    """The pixel dataset, made again from each form, is the same to the last bit."""
    sources = {
        "folders": miniature.class_folders(tmp_path / "folders/train"),
        "archive": miniature.archive(tmp_path / "official"),
        "parquet": miniature.shards(tmp_path / "hub/data"),
    }
    made = {}
    for form, source in sources.items():
        make(mini, source, "data/imagenet64/latents")
        manifest = read_json(mini.folder / "data/imagenet64/latents/manifest.json")
        made[form] = [shard["sha256"] for shard in manifest["shards"]]
        reader = ShardReader(mini.folder / "data/imagenet64/latents", 4, 0)
        assert reader.count == miniature.count
        mini.run("rm", "-r", "data/miniature/source", "data/imagenet64/latents")
    assert made["folders"] == made["archive"] == made["parquet"]


def test_what_is_not_there_is_said_in_one_line(mini, tmp_path):
    """Nothing is downloaded unasked; the log of the step says what to do."""
    mini.files = {}
    for target, log, words in (
        ("data/miniature/source", "data/miniature/source", "DIMR_MINIATURE"),
        ("data/imagenet256/reference", "data/imagenet256/reference", "DIMR_REFERENCE"),
    ):
        failed = make(mini, "", target, check=False)
        assert failed.returncode != 0
        text = (mini.folder / f"logs/{log}.log").read_text()
        assert words in text
        assert "Traceback" not in text
        assert not (mini.folder / target).exists()
    failed = make(mini, tmp_path / "nowhere", "data/miniature/source", check=False)
    assert failed.returncode != 0
    assert "nowhere" in (mini.folder / "logs/data/miniature/source.log").read_text()
