"""A repository's ``experiments/`` and params.yaml: each file read once; imports no torch."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dimr.config.runs import Run, resolve_run
from dimr.config.schema import (
    LEAST_CLASSIFIED,
    ConfigModel,
    DigitPairs,
    Digits,
    Images,
    ImagesData,
    Params,
    Recipe,
    Source,
)
from dimr.config.validation import did_you_mean, load_section, mapping, validate
from dimr.config.variants import Variant, fits, names_of, parse_variants
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

ROOT = Path(__file__).resolve().parents[3]
"""The repository that this code belongs to (a queued experiment's own folder holds its own)."""
AnySection = TypeVar("AnySection", bound=ConfigModel)


class Project:
    """What a repository's ``experiments/`` and params.yaml say; read on use, and once.

    Messages of a ``DimrError`` name the file, the key, the value and what is allowed.

    Attributes:
        root: the folder of the repository.
        resolving: names of the runs that are being resolved, each for the one before.
    """

    def __init__(self, root: Path = ROOT) -> None:
        self.root = root
        self.experiments = root / "experiments"
        self._recipes: dict[str, Recipe] = {}
        self._sources: dict[str, Source] = {}
        self._runs: dict[str, Run] = {}
        self.resolving: list[str] = []
        self._sections: dict[str, Any] = {}

    def load(self, section: type[AnySection], file: str) -> AnySection:
        """A YAML file below ``experiments/``, checked against ``section``.

        Args:
            section: the file's schema, the same for every call.
            file: its path there, ``published.yaml``.
        """
        if file not in self._sections:
            self._sections[file] = load_section(section, self.experiments / file)
        return self._sections[file]

    # --- datasets ---------------------------------------------------------------------------------

    @cached_property
    def recipes(self) -> Mapping[str, Any]:
        """Content of recipes.yaml by dataset, not checked; ``recipe`` checks a dataset's."""
        return mapping(read_yaml(self.experiments / "recipes.yaml"), "recipes.yaml")

    @cached_property
    def sources(self) -> Mapping[str, Any]:
        """Content of sources.yaml by name, not checked; ``source`` checks one."""
        return mapping(read_yaml(self.experiments / "sources.yaml"), "sources.yaml")

    @property
    def datasets(self) -> list[str]:
        """Names of the datasets, in the order of recipes.yaml."""
        return list(self.recipes)

    def recipe(self, dataset: str, where: str = "recipes.yaml") -> Recipe:
        """The recipe of a dataset.

        Raises:
            DimrError: an unknown dataset (``where`` says who names it) with the legal ones, or a
                mistake in the recipe.
        """
        if dataset not in self.recipes:
            hint = did_you_mean(dataset, self.datasets)
            raise DimrError(f"{where}: no dataset {dataset!r} {hint}")
        if dataset not in self._recipes:
            recipe = validate(Recipe, self.recipes[dataset], "recipes.yaml", dataset)
            if (source := recipe.data.source_name) is not None:
                self._check_classes(dataset, recipe, source)
            if recipe.learning_rates:
                known = [one for one in self.variants.values() if fits(one, recipe)]
                for name in recipe.learning_rates.keys() - {one.name for one in known}:
                    where = f"recipes.yaml: {dataset}.learning_rates"
                    hint = did_you_mean(name, names_of(known))
                    raise DimrError(f"{where}: {name!r} does not fit {hint}")
            self._recipes[dataset] = recipe
        return self._recipes[dataset]

    def _check_classes(self, dataset: str, recipe: Recipe, source: str) -> None:
        """The source exists, and has the classes or the captions that networks are to learn."""
        where = f"recipes.yaml: {dataset}"
        found = self.source(source, f"{where}.data: source")
        taken, images = recipe.network.num_classes, getattr(recipe.data, "images", None)
        if not taken and found.captions is None:
            raise DimrError(f"{where}.data.text_encoder: sources.yaml: {source} has no captions")
        own = getattr(images, "heldout", None)
        if own == Images.OWN_SPLIT and (not found.captions or own not in found.class_names):
            raise DimrError(
                f"{where}.data.images.heldout: {own}: sources.yaml: {source} has no such part: "
                "give a share, 0.2"
            )
        named = found.num_classes if found.captions is None else 1
        if found.class_names and taken and named != taken:
            raise DimrError(
                f"{where}.network.num_classes: {taken}; sources.yaml: {source} has {named} classes"
            )

    def source(self, name: str, where: str = "sources.yaml") -> Source:
        """A set of image files by its name; ``DimrError`` lists the legal ones."""
        if name not in self.sources:
            hint = did_you_mean(name, list(self.sources))
            raise DimrError(f"{where}: no source {name!r} {hint}")
        if name not in self._sources:
            self._sources[name] = validate(Source, self.sources[name], "sources.yaml", name)
        return self._sources[name]

    def training_images(self, dataset: str) -> int:
        """How many images a dataset trains on, mirror images not counted."""
        data = self.recipe(dataset).data
        if isinstance(data, ImagesData):
            return self._split(data.images)[0]
        source = self.source(data.source)
        return source.images - len(source.known_bad)

    def heldout_images(self, dataset: str) -> int:
        """How many images of a dataset are held out from training, for metrics to compare with.

        Only for datasets whose images are two arrays; others have a reference batch.
        """
        data = self.recipe(dataset).data
        assert isinstance(data, ImagesData), dataset
        return self._split(data.images)[1]

    def _split(self, images: Digits | DigitPairs | Images) -> tuple[int, int]:
        """Numbers of training and of held-out images."""
        if not isinstance(images, Images):
            return images.counts()
        source = self.source(images.source)
        if not isinstance(source.classes, dict):
            raise DimrError(
                f"sources.yaml: {images.source}: classes: should be names with their numbers of "
                "images, as dimr dataset new writes them"
            )
        return images.counts(source.classes)

    # --- networks and runs ------------------------------------------------------------------------

    @cached_property
    def variants(self) -> Mapping[str, Variant]:
        """Every variant by name: those of variants.yaml (``dimr-xl-2r``), then their others."""
        return parse_variants(read_yaml(self.experiments / "variants.yaml"), "variants.yaml")

    def variant(self, name: str) -> Variant:
        """A variant by its name; ``DimrError`` lists the legal ones."""
        if name not in self.variants:
            hint = did_you_mean(name, names_of(self.variants.values()))
            raise DimrError(f"variants.yaml: no variant {name!r} {hint}")
        return self.variants[name]

    def fitting(self, dataset: str) -> list[Variant]:
        """The variants that a dataset takes."""
        recipe = self.recipe(dataset)
        return [one for one in self.variants.values() if fits(one, recipe)]

    @cached_property
    def params(self) -> Params:
        """params.yaml: what the run ``workspace`` is."""
        return validate(Params, read_yaml(self.root / "params.yaml"), "params.yaml")

    def run(self, name: str) -> Run:
        """A run by its name.

        Args:
            name: ``digits/dimr-xs-2r/0``, ``digits/real/0``, ``.../published`` or ``workspace``.

        Raises:
            DimrError: a name, dataset, variant or value that is not allowed.
        """
        if name not in self._runs:
            self.resolving.append(name)
            try:
                run = resolve_run(name, self)
            finally:
                self.resolving.pop()
            self._check_metrics(run)
            self._runs[name] = run
        return self._runs[name]

    def _check_metrics(self, run: Run) -> None:
        """Refuse, before training, metrics for which one's own images are too few."""
        data, evaluate, count = run.recipe.data, run.recipe.evaluate, run.recipe.sample.count
        if not isinstance(data, ImagesData) or not isinstance(data.images, Images):
            return
        training, heldout = self._split(data.images)
        least, k = min(heldout, count), evaluate.prc_neighborhood
        wrong = ""
        drawn = {count, *map(run.recipe.sample.count_at, run.recipe.sample.settings)}
        uneven = [one for one in sorted(drawn) if one % min(heldout, one)]
        if data.text_encoder is not None and uneven:
            prompts = f"the {heldout} prompts, captions of the held-out images"
            wrong = f"sample: count: {uneven[0]} is neither a multiple of {prompts}, nor fewer"
        elif least < 2:
            counted = f"{heldout} held out (data.images.heldout), {count} drawn (sample.count)"
            wrong = f"metrics need 2 images and more of each: there are {counted}"
        elif least <= k:
            counted = f"{heldout} are held out, {count} drawn (sample.count)"
            wrong = f"evaluate.prc_neighborhood: {k}: {counted}: lower it to {least - 1}"
        elif evaluate.isc_splits > count:
            wrong = (
                f"evaluate.isc_splits: {evaluate.isc_splits}: {count} drawn: lower it to {count}"
            )
        elif evaluate.is_own and (training < 2 or data.image_size < LEAST_CLASSIFIED):
            takes = f"2 training images of {LEAST_CLASSIFIED} pixels or more"
            has = f"{training} of {data.image_size}"
            wrong = f"evaluate.extractor: {evaluate.extractor} needs {takes}: there are {has}"
        if wrong:
            where = "params.yaml" if run.name == "workspace" else f"recipes.yaml: {run.dataset}"
            raise DimrError(f"{where}: {wrong}")


PROJECT = Project()
"""The project of ``ROOT``."""
