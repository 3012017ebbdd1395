"""A dataset of one's own images: a folder as ``dimr images`` leaves it, and its recipe."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tests.support.experiments import copy_experiments

from dimr.config.project import Project
from dimr.data.image_arrays import ImagesManifest
from dimr.runtime.files import key_of, save_array, sha256
from dimr.runtime.record import seal

SPLIT = "train: 5 of 6 images of each class; heldout: the others"


def shapes(labels, size: int, seed: int):
    """Pictures of the labels' classes: a coloured bar on a noisy background, lighter at the top.

    uint8 (N, size, size, 3); the bar's colour and height depend on the class.
    """
    rng = np.random.default_rng(seed)
    images = rng.normal(110, 20, (len(labels), size, size, 3))
    images += np.linspace(60, -60, size)[:, None, None]
    for image, label in zip(images, labels, strict=True):
        colour = np.random.default_rng(1000 + label).integers(0, 256, 3)
        top = size // 4 + (7 * label) % (size // 4) + int(rng.integers(0, size // 16 + 1))
        left = int(rng.integers(0, size // 3))
        image[top : top + size // 4, left : left + size // 2] = colour
    return images.clip(0, 255).astype(np.uint8)


def write_images(folder: Path, train, heldout, names: list[str], dataset: str = "own") -> Path:
    """Write a pair (images, labels) for each of the two splits; return the folder."""
    folder.mkdir(parents=True)
    for split, (images, labels) in (("train", train), ("heldout", heldout)):
        save_array(images, folder / f"{split}.npy")
        save_array(np.asarray(labels, np.int64), folder / f"{split}_labels.npy")
    ImagesManifest.write(
        folder,
        format="dimr-images-1",
        dataset=dataset,
        size=train[0].shape[1],
        counts={"train": len(train[0]), "heldout": len(heldout[0])},
        classes=len(names),
        class_names=names,
        split=SPLIT,
        key=key_of(dataset, *names),
        files={path.name: {"sha256": sha256(path)} for path in sorted(folder.glob("*.npy"))},
    )
    seal(folder, "images", {"key": key_of(dataset, *names)})
    return folder


def add_dataset(
    folder: Path, name: str, classes: dict[str, int], size: int = 32, **evaluate: Any
) -> Project:
    """Copy the experiments into ``folder`` once, and add a pixel dataset with these classes."""
    if not (folder / "experiments").exists():
        copy_experiments(folder)
    sources, recipes = (folder / f"experiments/{file}.yaml" for file in ("sources", "recipes"))
    known = yaml.safe_load(sources.read_text())
    entry = {"classes": classes, "images": sum(classes.values()), "gigabytes": 0.1}
    known[name] = {**entry, "sha256": "0" * 64}
    sources.write_text(yaml.safe_dump(known, sort_keys=False))
    recipe_file = yaml.safe_load(recipes.read_text())
    recipe = copy.deepcopy(recipe_file["digits-pixel"])
    recipe["network"] |= {"num_classes": len(classes), "input_size": size, "channels": 3}
    images = {"source": name, "image_size": size, "heldout": 0.2, "split_seed": 0}
    recipe["data"] |= {"images": images, "autoencoder": {"kind": "identity", "channels": 3}}
    chosen = {"extractor": "classifier", "isc_splits": 2, "prc_neighborhood": 3, **evaluate}
    recipe["sample"]["count"] = chosen.pop("count", 40)
    if chosen["extractor"] == "inception-v3-compat":
        recipe["data"].pop("classifier")
    recipe["evaluate"] = chosen
    recipe.pop("distortion", None)
    recipe_file[name] = recipe
    recipes.write_text(yaml.safe_dump(recipe_file, sort_keys=False))
    return Project(folder)
