"""Datasets as data: recipes.yaml and sources.yaml, read and checked; imports no torch."""

from pathlib import Path
from typing import Any

from dimr.config.schema import AUTOENCODERS, ConfigModel, Recipe, Source, SourceData
from dimr.config.validation import choose, did_you_mean, validate
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml, write_if_changed
from dimr.runtime.strict_yaml import dump

ROOT = Path(__file__).resolve().parents[3]
"""The repository that this code belongs to (a queued experiment's own folder holds its own)."""


def load_recipe(dataset: str, root: Path = ROOT, where: str = "recipes.yaml") -> Recipe:
    """The recipe of a dataset.

    Raises:
        DimrError: an unknown dataset (``where`` says who names it) with the legal ones, or a
            mistake in the recipe.
    """
    path = root / "experiments/recipes.yaml"
    recipes = mapping(read_yaml(path), path.name)
    if dataset not in recipes:
        raise DimrError(f"{where}: no dataset {dataset!r} {did_you_mean(dataset, list(recipes))}")
    recipe = validate(Recipe, recipes[dataset], path.name, dataset)
    if isinstance(recipe.data, SourceData):
        load_source(recipe.data.source, root, f"{path.name}: {dataset}.data.source")
    return recipe


def load_source(name: str, root: Path = ROOT, where: str = "sources.yaml") -> Source:
    """A set of image files by its name; ``DimrError`` names the legal ones."""
    path = root / "experiments/sources.yaml"
    sources = mapping(read_yaml(path), path.name)
    if name not in sources:
        raise DimrError(f"{where}: no source {name!r} {did_you_mean(name, list(sources))}")
    return validate(Source, sources[name], path.name, name)


def training_images(recipe: Recipe, root: Path = ROOT) -> int:
    """How many images a dataset trains on, mirror images not counted."""
    if isinstance(recipe.data, SourceData):
        source = load_source(recipe.data.source, root)
        return source.images - len(source.known_bad)
    return recipe.data.images.train_per_class * recipe.network.num_classes


def datasets(root: Path = ROOT) -> list[str]:
    """Names of the datasets, in the order of recipes.yaml."""
    path = root / "experiments/recipes.yaml"
    return list(mapping(read_yaml(path), path.name))


def mapping(value: Any, where: str) -> dict[Any, Any]:
    """``value`` if it is a mapping, else ``DimrError``."""
    if not isinstance(value, dict):
        raise DimrError(f"{where}: {value!r} should be a mapping of names")
    return value


def load_autoencoder_config(path: Path) -> Any:
    """The configuration of a dataset's autoencoder, of whichever kind."""
    value = read_yaml(path)
    return validate(choose(AUTOENCODERS, value, "kind", str(path)), value, str(path))


def as_yaml(section: ConfigModel) -> str:
    """The text of a phase's file."""
    return dump(section.model_dump(mode="json"))


def write_data_config(dataset: str, folder: Path, root: Path = ROOT) -> None:
    """Write ``<folder>/<step>.yaml`` for a dataset's steps, each only if its content differs."""
    for name, section in load_recipe(dataset, root).data.phases().items():
        write_if_changed(folder / f"{name}.yaml", as_yaml(section))


def write_source_config(source: str, folder: Path, root: Path = ROOT) -> None:
    """Write ``<folder>/source.yaml`` if its content differs."""
    write_if_changed(folder / "source.yaml", as_yaml(load_source(source, root)))
