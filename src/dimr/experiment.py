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
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dimr.errors import DimrError
from dimr.files import key_of, read_yaml, write_if_changed

ROOT = Path(__file__).resolve().parents[2]
"""The repository that this code belongs to (a queued experiment's own folder holds its own)."""

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Published(Section):
    """What the paper counts for a variant: input (H, W, C), parameters and GMACs."""

    input: tuple[int, int, int]
    parameters: int
    gmacs: float


class Variant(Section):
    """Sizes of a DiMR network: N and D of each branch, lowest resolution first."""

    layers: tuple[Positive, ...]
    dims: tuple[Positive, ...]
    heads: Positive
    norm: Literal["rms", "layer"] = "rms"
    published: Published | None = None


class NetworkInput(Section):
    """What a dataset asks of any network: branches, input, labels and the meaning of time."""

    branches: Positive
    input_size: Positive
    channels: Positive
    num_classes: Positive
    time_map: Literal["latent", "pixel"]


class Network(Section):
    """A network complete: the arguments of ``dimr.models.build`` after the family."""

    family: Literal["dimr"]
    layers: tuple[Positive, ...]
    dims: tuple[Positive, ...]
    heads: Positive
    norm: Literal["rms", "layer"]
    input_size: Positive
    channels: Positive
    num_classes: Positive
    time_map: Literal["latent", "pixel"]


class Images(Section):
    """Raw images: where from, side in pixels, and the split into training and held-out images."""

    source: Literal["digits"]
    image_size: Positive
    train_per_class: Positive
    split_seed: int


class Autoencoder(Section):
    """Training of the small autoencoder: widths, steps, images a step, peak learning rate."""

    channels: tuple[Positive, ...]
    steps: Positive
    batch: Positive
    lr: PositiveFloat
    seed: int


class Latents(Section):
    """How latents are stored: images per shard."""

    shard_size: Positive


class Classifier(Section):
    """Training of the digit classifier: steps, images a step, peak learning rate."""

    steps: Positive
    batch: Positive
    lr: PositiveFloat
    seed: int


class Data(Section):
    """How a dataset is prepared, one section a step."""

    images: Images
    autoencoder: Autoencoder
    latents: Latents
    classifier: Classifier


class Train(Section):
    """Training: the paper's table of settings, with its units."""

    steps: Positive
    batch: Positive
    lr: PositiveFloat
    betas: tuple[Share, Share]
    weight_decay: Annotated[float, Field(ge=0)]
    warmup_steps: Annotated[int, Field(ge=0)]
    ema_decay: Share
    label_dropout: Share
    grad_clip: PositiveFloat | None
    compile: bool
    log_every: Positive


class Guidance(Section):
    """A guidance setting; ``scale`` and ``power`` as in ``dimr.diffusion.guidance``."""

    kind: Literal["none", "constant", "power_cosine"]
    scale: Annotated[float, Field(ge=0)] = 0.0
    power: PositiveFloat = 1.0


class Sample(Section):
    """Sampling: how many images, network evaluations, solver, and the guidance settings by name."""

    count: Positive
    steps: Annotated[int, Field(ge=3)]
    solver: Literal["authors", "singlestep", "multistep"]
    settings: dict[str, Guidance]


class Evaluate(Section):
    """Metrics: feature extractor by name, splits of the Inception Score, k of precision/recall."""

    extractor: Literal["digits"]
    isc_splits: Positive
    prc_neighborhood: Positive


class Recipe(Section):
    """Everything about a dataset."""

    network: NetworkInput
    data: Data
    train: Train
    sample: Sample
    evaluate: Evaluate


class ModelChoice(Section):
    """The network of the workspace run; the dataset says the number of branches."""

    family: str
    variant: str


class Params(Section):
    """params.yaml: null means what the dataset's recipe says."""

    dataset: str
    model: ModelChoice
    seed: Annotated[int, Field(ge=0)]
    train: dict[str, Any]
    sample: dict[str, Any]
    evaluate: dict[str, Any]


# What each phase's file holds: the phase's inputs from other phases are known by their keys.


class TrainPhase(Section):
    """``config/train.yaml`` of a run."""

    dataset: str
    seed: int
    network: Network
    train: Train


class SamplePhase(Section):
    """``config/sample-<setting>.yaml`` of a run that a network draws."""

    seed: int
    count: Positive
    steps: Positive
    solver: str
    guidance: Guidance


class BaselinePhase(Section):
    """``config/sample-<setting>.yaml`` of a run whose images come from the dataset itself."""

    source: Literal["real", "reconstruction"]
    count: Positive


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


def _schema_keys(section: type[BaseModel], location: tuple[Any, ...]) -> list[str]:
    """Keys that are allowed where an unknown one was met."""
    current: Any = section
    for part in location[:-1]:
        field = getattr(current, "model_fields", {}).get(part)
        if field is None:  # a name of the user's own, such as that of a guidance setting
            continue
        annotation = field.annotation
        inner = getattr(annotation, "__args__", None) or (annotation,)
        current = next((a for a in inner if hasattr(a, "model_fields")), None)
    return list(getattr(current, "model_fields", {}))


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
            allowed = _schema_keys(section, location)
            close = difflib.get_close_matches(str(location[-1]), allowed, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            message = f"unknown key ({hint}allowed: {', '.join(allowed)})"
        elif first["type"] == "missing":
            message = "is missing"
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


def load_recipe(dataset: str, root: Path = ROOT) -> Recipe:
    """The recipe of a dataset; ``DimrError`` names the file and the legal datasets."""
    path = root / "experiments/recipes.yaml"
    recipes = read_yaml(path) or {}
    if dataset not in recipes:
        raise DimrError(f"{path.name}: no dataset {dataset!r} {nearest(dataset, list(recipes))}")
    return validate(Recipe, recipes[dataset], path.name, dataset)


def variants(root: Path = ROOT) -> Iterator[tuple[str, str, int, Variant]]:
    """Every listed variant: family, size, branches and sizes."""
    path = root / "experiments/variants.yaml"
    for family, sizes in (read_yaml(path) or {}).items():
        for size, by_branches in sizes.items():
            for branches, value in by_branches.items():
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
    sizes = variant.model_dump(exclude={"published"})
    inputs = recipe.network.model_dump(exclude={"branches"})
    return Network.model_validate({"family": family, **sizes, **inputs})


def _overlay(recipe: Any, override: Any) -> Any:
    """The recipe's values with those of params.yaml that are not null in their place."""
    if not isinstance(override, dict) or not isinstance(recipe, dict):
        return recipe if override is None else override
    merged = dict(recipe)
    for key, value in override.items():
        if value is not None:
            merged[key] = _overlay(recipe.get(key), value)
    return {key: value for key, value in merged.items() if not _all_none(value)}


def _all_none(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(map(_all_none_leaf, value.values()))


def _all_none_leaf(value: Any) -> bool:
    return value is None or _all_none(value)


def load_workspace(params: Path, root: Path = ROOT) -> Run:
    """The run ``workspace`` as params.yaml describes it."""
    source = params.name
    choice = validate(Params, read_yaml(params), source)
    try:
        recipe = load_recipe(choice.dataset, root)
        branches = recipe.network.branches
        listed = {(f, s) for f, s, b, _ in variants(root) if b == branches}
        families = sorted({f for f, _ in listed})
        sizes = sorted(s for f, s in listed if f == choice.model.family)
        if choice.model.family not in families:
            hint = nearest(choice.model.family, families)
            raise DimrError(f"model.family: no family {choice.model.family!r} {hint}")
        if choice.model.variant not in sizes:
            hint = nearest(choice.model.variant, sizes)
            raise DimrError(
                f"model.variant: {choice.model.variant!r} is not listed in variants.yaml with "
                f"{branches} branches, which {choice.dataset} takes {hint}"
            )
    except DimrError as error:
        raise DimrError(f"{source}: {error}") from None
    model = variant_name(choice.model.family, choice.model.variant, branches)
    sections: list[tuple[str, type[Section], Any, Any]] = [
        ("train", Train, recipe.train.model_dump(), choice.train),
        ("sample", Sample, recipe.sample.model_dump(), choice.sample),
        ("evaluate", Evaluate, recipe.evaluate.model_dump(), choice.evaluate),
    ]
    parts = {
        name: validate(section, _overlay(recipe_part, override), source, name)
        for name, section, recipe_part, override in sections
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


def _schema_of_recipes() -> dict[str, Any]:
    return {"type": "object", "additionalProperties": Recipe.model_json_schema()}


def _schema_of_variants() -> dict[str, Any]:
    by_branches = {"type": "object", "additionalProperties": Variant.model_json_schema()}
    by_size = {"type": "object", "additionalProperties": by_branches}
    return {"type": "object", "additionalProperties": by_size}


SCHEMAS = {
    "params": Params.model_json_schema,
    "recipes": _schema_of_recipes,
    "variants": _schema_of_variants,
}
"""JSON schemas of the files that people edit, for their editors (workflow/schemas)."""
