"""Datasets as data: recipes.yaml and sources.yaml, read and checked; imports no torch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.phases import write_phases
from dimr.config.schema import AUTOENCODERS, Recipe, Source, SourceData
from dimr.config.validation import load_choice
from dimr.config.validation import mapping as mapping

if TYPE_CHECKING:
    from dimr.config.project import Project

ROOT = Path(__file__).resolve().parents[3]
"""The repository that this code belongs to (a queued experiment's own folder holds its own)."""


def _project(root: Path) -> "Project":
    from dimr.config.project import PROJECT, Project

    return PROJECT if root == ROOT else Project(root)


def load_recipe(dataset: str, root: Path = ROOT, where: str = "recipes.yaml") -> Recipe:
    """``Project.recipe``."""
    return _project(root).recipe(dataset, where)


def load_source(name: str, root: Path = ROOT, where: str = "sources.yaml") -> Source:
    """``Project.source``."""
    return _project(root).source(name, where)


def training_images(recipe: Recipe, root: Path = ROOT) -> int:
    """How many images a dataset trains on, mirror images not counted."""
    if isinstance(recipe.data, SourceData):
        source = load_source(recipe.data.source, root)
        return source.images - len(source.known_bad)
    return recipe.data.images.train_per_class * recipe.network.num_classes


def datasets(root: Path = ROOT) -> list[str]:
    """``Project.datasets``."""
    return _project(root).datasets


def load_autoencoder_config(path: Path) -> Any:
    """The configuration of a dataset's autoencoder, of whichever kind."""
    return load_choice(AUTOENCODERS, path, "kind")


def write_data_config(dataset: str, folder: Path, root: Path = ROOT) -> None:
    """Write ``<folder>/<step>.yaml`` for a dataset's steps, each only if its content differs."""
    write_phases(load_recipe(dataset, root).data.phases(), folder)


def write_source_config(source: str, folder: Path, root: Path = ROOT) -> None:
    """Write ``<folder>/source.yaml`` if its content differs."""
    write_phases({"source": load_source(source, root)}, folder)
