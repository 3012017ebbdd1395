"""From a run's name, or params.yaml, to one resolved, validated, frozen configuration.

A run is ``{dataset}/{family}-{size}-{branches}r/{seed}``, or ``workspace``, which params.yaml
describes. Its configuration is split by phase, each part holding only what the phase's result
depends on (contract A of the design). This module imports no torch: the Snakefile reads it.
"""

import difflib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from dimr.errors import DimrError
from dimr.files import key_of, read_yaml, write_if_changed
from dimr.settings import (
    BaselinePhase,
    Evaluate,
    Network,
    Params,
    Recipe,
    Sample,
    SamplePhase,
    Section,
    Train,
    TrainPhase,
    Variant,
)

ROOT = Path(__file__).resolve().parents[2]
"""The repository that this code belongs to (a queued experiment's own folder holds its own)."""

BASELINES = ("real", "reconstruction")
"""Models of the sanity rows: training images as they are, or through the autoencoder."""
BASELINE_SETTING = "reference"
"""The one setting of a baseline."""

AnySection = TypeVar("AnySection", bound=Section)


@dataclass(frozen=True)
class Run:
    """A run, resolved: its name and everything that its phases depend on."""

    name: str
    dataset: str
    seed: int
    recipe: Recipe
    network: Network | None  # None: a baseline

    @property
    def settings(self) -> list[str]:
        """Names of the settings that the run is sampled with."""
        return list(self.recipe.sample.settings) if self.network else [BASELINE_SETTING]

    def phases(self) -> dict[str, Section]:
        """Each phase's configuration by name: train, sample-<setting>, evaluate."""
        sample = self.recipe.sample
        if self.network is None:
            source = self.name.split("/")[1]
            baseline = BaselinePhase.model_validate({"source": source, "count": sample.count})
            return {f"sample-{BASELINE_SETTING}": baseline, "evaluate": self.recipe.evaluate}
        phases: dict[str, Section] = {
            "train": TrainPhase(
                dataset=self.dataset, seed=self.seed, network=self.network, train=self.recipe.train
            )
        }
        for setting, guidance in sample.settings.items():
            phases[f"sample-{setting}"] = SamplePhase(
                seed=self.seed,
                count=sample.count,
                steps=sample.steps,
                solver=sample.solver,
                guidance=guidance,
            )
        return {**phases, "evaluate": self.recipe.evaluate}


# --- reading and checking -------------------------------------------------------------------------


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    """The sections in a field's type, however wrapped: ``dict[str, Guidance | None] | None``."""
    if hasattr(annotation, "model_fields"):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _sections(inner)


def _allowed_keys(section: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that are allowed where an unknown one was met."""
    current = section
    for part in location[:-1]:
        if part in current.model_fields:  # else a name of the user's own, as of a setting
            current = next(_sections(current.model_fields[part].annotation))
    return list(current.model_fields)


def validate(section: type[AnySection], value: Any, source: str, prefix: str = "") -> AnySection:
    """Check ``value`` against ``section``.

    Raises:
        DimrError: one line with the file (``source``), the key, the value and what is allowed.
    """
    try:
        return section.model_validate_json(json.dumps(value))
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise DimrError(f"{source}: {prefix or 'value'} is not plain YAML ({error})") from None
        first = error.errors(include_url=False)[0]
        location = tuple(part for part in first["loc"] if part != "[key]")
        key = ".".join([*filter(None, [prefix]), *map(str, location)]) or "the whole file"
        if first["type"] == "extra_forbidden":
            allowed = _allowed_keys(section, location)
            message = f"unknown key {nearest(str(location[-1]), allowed)}"
        elif first["type"] == "missing":
            message = "is missing"
        elif first["type"] == "value_error":  # a check of our own, which names its values
            message = first["msg"].removeprefix("Value error, ")
        else:
            message = f"{first['input']!r}: {first['msg'][0].lower()}{first['msg'][1:]}"
            if isinstance(first["input"], str) and re.fullmatch(r"[\d.]+e[-+]?\d+", first["input"]):
                message += " (YAML wants a point and a sign, as in 2.0e-4)"
        raise DimrError(f"{source}: {key}: {message}") from None


def load_section(section: type[AnySection], path: str | Path) -> AnySection:
    """Read and check a YAML file."""
    return validate(section, read_yaml(path), str(path))


def nearest(name: str, allowed: list[str]) -> str:
    """`` (did you mean ...? allowed: ...)`` for messages about unknown names."""
    close = difflib.get_close_matches(name, allowed, 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"({hint}allowed: {', '.join(allowed)})"


def load_recipe(dataset: str, root: Path = ROOT, where: str = "recipes.yaml") -> Recipe:
    """The recipe of a dataset.

    Raises:
        DimrError: an unknown dataset (``where`` says who names it) with the legal ones, or a
            mistake in the recipe.
    """
    path = root / "experiments/recipes.yaml"
    recipes = _mapping(read_yaml(path), path.name)
    if dataset not in recipes:
        raise DimrError(f"{where}: no dataset {dataset!r} {nearest(dataset, list(recipes))}")
    return validate(Recipe, recipes[dataset], path.name, dataset)


def _mapping(value: Any, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise DimrError(f"{where}: {value!r} should be a mapping of names")
    return value


def variants(root: Path = ROOT) -> Iterator[tuple[str, str, int, Variant]]:
    """Every listed variant: family, size, branches and sizes."""
    path = root / "experiments/variants.yaml"
    for family, sizes in _mapping(read_yaml(path), path.name).items():
        for size, by_branches in _mapping(sizes, f"{path.name}: {family}").items():
            for branches, value in _mapping(by_branches, f"{path.name}: {family}.{size}").items():
                where = f"{family}.{size}.{branches}"
                yield family, size, branches, validate(Variant, value, path.name, where)


def variant_name(family: str, size: str, branches: int) -> str:
    """``dimr-xl-2r``: the model part of a run's name."""
    return f"{family}-{size}-{branches}r"


def find_variant(name: str, root: Path = ROOT) -> tuple[str, Variant]:
    """Family and sizes of a variant by its name; ``DimrError`` names the legal ones."""
    listed = {variant_name(f, s, b): (f, v) for f, s, b, v in variants(root)}
    if name not in listed:
        raise DimrError(f"variants.yaml: no variant {name!r} {nearest(name, list(listed))}")
    return listed[name]


def _network(model: str, recipe: Recipe, dataset: str, root: Path) -> Network:
    family, variant = find_variant(model, root)
    if len(variant.layers) != recipe.network.branches:
        fitting = [
            variant_name(f, s, b) for f, s, b, _ in variants(root) if b == recipe.network.branches
        ]
        raise DimrError(
            f"variants.yaml: {model!r} does not fit {dataset}, which takes "
            f"{recipe.network.branches} branches {nearest(model, fitting)}"
        )
    sizes = variant.model_dump(mode="json", exclude={"published"})
    inputs = recipe.network.model_dump(mode="json", exclude={"branches"})
    return validate(Network, {"family": family, **sizes, **inputs}, f"variants.yaml: {model}")


def _overlay(recipe: Any, override: Any) -> Any:
    """The recipe's values with those of params.yaml that are not null in their place."""
    if not isinstance(override, dict) or not isinstance(recipe, dict):
        return recipe if override is None else override
    merged = dict(recipe)
    for key, value in override.items():
        if value is not None:
            merged[key] = _overlay(recipe.get(key), value)
    return merged


def load_workspace(params: Path, root: Path = ROOT) -> Run:
    """The run ``workspace`` as params.yaml describes it."""
    source = params.name
    choice = validate(Params, read_yaml(params), source)
    recipe = load_recipe(choice.dataset, root, f"{source}: dataset")
    branches = recipe.network.branches
    listed = {(f, s) for f, s, b, _ in variants(root) if b == branches}
    families = sorted({f for f, _ in listed})
    sizes = sorted(s for f, s in listed if f == choice.model.family)
    if choice.model.family not in families:
        hint = nearest(choice.model.family, families)
        raise DimrError(f"{source}: model.family: no family {choice.model.family!r} {hint}")
    if choice.model.variant not in sizes:
        hint = nearest(choice.model.variant, sizes)
        raise DimrError(
            f"{source}: model.variant: {choice.model.variant!r} is not listed in variants.yaml "
            f"with {branches} branches, which {choice.dataset} takes {hint}"
        )
    model = variant_name(choice.model.family, choice.model.variant, branches)
    sections: list[tuple[str, type[Section], Section, Section]] = [
        ("train", Train, recipe.train, choice.train),
        ("sample", Sample, recipe.sample, choice.sample),
        ("evaluate", Evaluate, recipe.evaluate, choice.evaluate),
    ]
    parts = {
        name: validate(
            section, _overlay(part.model_dump(mode="json"), override.model_dump()), source, name
        )
        for name, section, part, override in sections
    }
    recipe = recipe.model_copy(update=parts)
    network = _network(model, recipe, choice.dataset, root)
    return Run("workspace", choice.dataset, choice.seed, recipe, network)


def load_run(name: str, root: Path = ROOT, params: Path | None = None) -> Run:
    """Resolve a run by name.

    Args:
        name: ``digits/dimr-xs-2r/0``, ``digits/real/0`` or ``workspace``.
        root: the repository whose ``experiments/`` is read.
        params: params.yaml of the workspace run; None: the repository's.

    Raises:
        DimrError: a name, dataset, variant or value that is not allowed, in one line.
    """
    if name == "workspace":
        return load_workspace(params or root / "params.yaml", root)
    match = re.fullmatch(r"([\w-]+)/([\w-]+)/(\d+)", name)
    if match is None:
        raise DimrError(f"run {name!r} is neither 'workspace' nor dataset/model/seed")
    dataset, model, seed = match[1], match[2], int(match[3])
    recipe = load_recipe(dataset, root)
    network = None if model in BASELINES else _network(model, recipe, dataset, root)
    return Run(name, dataset, seed, recipe, network)


# --- the files of contract A ----------------------------------------------------------------------


def data_phases(recipe: Recipe) -> dict[str, Section]:
    """Configuration of each data step by name: images, autoencoder, latents, classifier."""
    return {name: getattr(recipe.data, name) for name in type(recipe.data).model_fields}


def _as_yaml(section: Section) -> str:
    return yaml.safe_dump(section.model_dump(mode="json"), sort_keys=False)


def write_data_config(dataset: str, folder: Path, root: Path = ROOT) -> None:
    """Write ``<folder>/<step>.yaml`` for a dataset's steps, each only if its content differs."""
    for name, section in data_phases(load_recipe(dataset, root)).items():
        write_if_changed(folder / f"{name}.yaml", _as_yaml(section))


def write_run_config(run: Run, folder: Path) -> None:
    """Write ``<folder>/<phase>.yaml`` for a run's phases, each only if its content differs."""
    for name, section in run.phases().items():
        write_if_changed(folder / f"{name}.yaml", _as_yaml(section))


def section_key(section: Section, *inputs: str) -> str:
    """Key of a step's result: its configuration and the keys of what it reads."""
    return key_of(section.model_dump(mode="json"), *inputs)
