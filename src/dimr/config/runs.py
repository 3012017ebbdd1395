"""From a run's name, or params.yaml, to one resolved, validated, frozen configuration.

A run is ``{dataset}/{model}/{seed}`` (``digits/dimr-xs-2r/0``), ``{dataset}/{model}/published`` for
the authors' weights, or ``workspace``, which params.yaml describes. With a milestone of the recipe
after the model (``imagenet256/dimr-xl-2r-400epochs/0``) it is the same training up to that step;
with a trial (``digits/dimr-xs-2r-lr4/100``), one with the trial's learning rate.
Its configuration is split by phase, each part holding only what the phase's result depends on
(contract A of the design).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dimr.config.schema import (
    LEARNS,
    NETWORKS,
    BaselineConfig,
    ConfigModel,
    Evaluate,
    EvaluateConfig,
    ImportConfig,
    NetworkConfig,
    Params,
    Recipe,
    Sample,
    SampleConfig,
    SourceData,
    Train,
    TrainConfig,
    Weights,
    objective_problem,
    sampling_problem,
)
from dimr.config.start import RUN_NAME, start_run
from dimr.config.validation import did_you_mean, validate
from dimr.config.variants import Variant, names_of, taken
from dimr.models.sizes import FAMILIES
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    from dimr.config.project import Project

BASELINES = ("real", "reconstruction")
"""Models of the sanity rows: training images as they are, or through the autoencoder."""
BASELINE_SETTING = "reference"
"""The one setting of a baseline."""


@dataclass(frozen=True)
class Run:
    """A run, resolved: its name and everything that its phases depend on."""

    name: str
    dataset: str
    seed: int
    recipe: Recipe
    network: NetworkConfig | None  # None: a baseline
    weights: Weights | None = None  # None: trained here
    class_names: tuple[str, ...] = ()  # of such weights; empty: not the dataset's own
    milestone: str = ""  # of the recipe, at which training ends; empty: at the recipe's last step
    trial: str = ""  # of the recipe, whose learning rate it has; empty: that of its variant
    before: "Run | None" = None  # the same training up to the last milestone before; None: none
    start: "Run | None" = None  # whose weights training starts from; None: fresh ones, or a file's
    like: str = ""  # for the workspace: the run of its dataset, variant and seed

    @property
    def training(self) -> str:
        """Name of the run whose state is its state: its own, if it has no milestone."""
        model, slash, seed = self.name.rpartition("/")
        return f"{model.removesuffix(f'-{self.milestone}')}{slash}{seed}"

    @property
    def start_file(self) -> str | None:
        """Model folder or file that training starts from, as configured; None: no such one."""
        is_trained = self.network is not None and self.weights is None
        return self.recipe.train.start if is_trained and self.start is None else None

    @property
    def own_steps(self) -> int:
        """Steps of its training after those of ``before``."""
        return self.recipe.train.steps - (self.before.recipe.train.steps if self.before else 0)

    @property
    def settings(self) -> list[str]:
        """Names of the settings that the run is sampled with."""
        return list(self.recipe.sample.settings) if self.network else [BASELINE_SETTING]

    def is_measured(self, setting: str) -> bool:
        """Whether a setting has metrics, which always use the recipe's count of images."""
        own = self.recipe.sample.settings.get(setting)
        return own is None or own.count is None

    def phases(self) -> dict[str, ConfigModel]:
        """Each phase's configuration by name: train, sample-<setting>, evaluate, distortion."""
        phases = {**self._model_phase(), **self._sample_phases()}
        phases["evaluate"] = EvaluateConfig(
            **self.recipe.evaluate.model_dump(),
            count=self.recipe.sample.count,
            compared="validation" if self.trial else "heldout",
        )
        if self.recipe.distortion and self.name != "workspace":  # which is in no study
            phases["distortion"] = self.recipe.distortion
        return phases

    def _model_phase(self) -> dict[str, ConfigModel]:
        """Where the network's weights come from: training, or the authors."""
        if self.network is None:
            return {}
        common: dict[str, Any] = {"dataset": self.dataset, "network": self.network}
        if self.weights is None:
            return {"train": TrainConfig(**common, seed=self.seed, train=self.recipe.train)}
        where = self.weights.model_dump(include={"repo", "file", "revision"})
        return {"import": ImportConfig(**common, class_names=self.class_names, **where)}

    def _sample_phases(self) -> dict[str, ConfigModel]:
        sample = self.recipe.sample
        if self.network is None:
            data, source = self.recipe.data, self.name.split("/")[1]
            size = data.image_size if isinstance(data, SourceData) else None
            value = {"source": source, "count": sample.count, "image_size": size}
            return {f"sample-{BASELINE_SETTING}": BaselineConfig.model_validate(value)}
        return {
            f"sample-{name}": SampleConfig(
                seed=self.seed,
                count=sample.count_at(name),
                steps=setting.steps or sample.steps,
                solver=setting.solver or sample.solver,
                guidance=setting.guidance(),
            )
            for name, setting in sample.settings.items()
        }


# --- the network ----------------------------------------------------------------------------------


def _find_variant(model: str, dataset: str, project: "Project") -> Variant:
    """The variant in a run's name, which the dataset must accept."""
    fitting = project.fitting(dataset)
    hint = did_you_mean(model, names_of(fitting))
    if (variant := project.variants.get(model)) is None:
        raise DimrError(f"variants.yaml: no variant {model!r} for {dataset} {hint}")
    if variant not in fitting:
        wanted = taken(project.recipe(dataset), variant.family)
        raise DimrError(
            f"variants.yaml: {model!r} does not fit {dataset}, which takes {wanted} {hint}"
        )
    return variant


def _complete(one: Variant, recipe: Recipe) -> NetworkConfig:
    """The network of a variant on a dataset."""
    value = {"family": one.family, **one.sizes, **recipe.network_input}
    return validate(NETWORKS[one.family], value, f"variants.yaml: {one.name}")


def _chosen_variant(choice: Params, source: str, project: "Project") -> Variant:
    """The variant that ``model`` in params.yaml picks for a dataset."""
    recipe, fitting = project.recipe(choice.dataset), project.fitting(choice.dataset)
    family, size = choice.model.family, choice.model.variant
    families = sorted({one.family for one in fitting})
    if family not in families:
        hint = did_you_mean(family, families)
        raise DimrError(f"{source}: model.family: no family {family!r} {hint}")
    same = {one.number: one for one in fitting if (one.family, one.size) == (family, size)}
    if not same:
        sizes = sorted({one.size for one in fitting if one.family == family and one.is_listed})
        hint = f"which {choice.dataset} takes {did_you_mean(size, sizes)}"
        raise DimrError(
            f"{source}: model.variant: {size!r} is not listed in variants.yaml "
            f"with {taken(recipe, family)}, {hint}"
        )
    return next(same[number] for number in recipe.network.numbers(family) if number in same)


# --- the whole ------------------------------------------------------------------------------------


def _check_together(recipe: Recipe, network: NetworkConfig, source: str) -> None:
    """Refuse settings that each may be right, but not together."""
    train, sample = recipe.train, recipe.sample
    for name, setting in sample.settings.items():
        key = f"{source}: sample.settings.{name}"
        if train.label_dropout == 1 and setting.kind != "unconditional":
            raise DimrError(
                f"{key}.kind: {setting.kind}: train.label_dropout 1.0 makes an unconditional "
                "model, which takes only kind unconditional"
            )
        if train.label_dropout == 0 and setting.kind != "none":
            raise DimrError(
                f"{key}.kind: {setting.kind}: with train.label_dropout 0.0 nothing is learned "
                "without a class: only kind none is possible"
            )
        solver = setting.solver or sample.solver
        complete = setting.model_copy(update={"solver": solver})
        if (problem := sampling_problem(complete, sample.count_at(name), network)) is not None:
            named = problem.split(":")[0]
            where = f"{source}: sample" if getattr(setting, named, None) is None else key
            raise DimrError(f"{where}.{problem}")
        if solver == "ancestral" and train.objective != "hybrid":
            own = f"{key}.solver" if setting.solver else f"{source}: sample.solver"
            raise DimrError(f"{own}: ancestral needs {LEARNS}, and train.objective hybrid")
    if (problem := objective_problem(train.objective, network)) is not None:
        raise DimrError(f"{source}: train.objective: {problem}")


def resolve_run(name: str, project: "Project") -> Run:
    """``Project.run``, not cached."""
    if name == "workspace":
        return _workspace_run(project)
    match = RUN_NAME.fullmatch(name)
    if match is None:
        forms = "workspace, dataset/model/seed, .../published"
        raise DimrError(f"run {name[:100]!r} is none of {forms}")
    dataset, model, seed = match.groups()
    recipe = project.recipe(dataset)
    if seed == "published":
        return _published_run(name, dataset, model, project)
    if model in BASELINES:  # as many images as networks draw, or all that there are
        count = min(recipe.sample.count, project.training_images(dataset))
        sample = recipe.sample.model_copy(update={"count": count})
        return Run(name, dataset, int(seed), recipe.model_copy(update={"sample": sample}), None)
    variant, suffix = _split_model(model, dataset, project)
    network = _complete(_find_variant(variant, dataset, project), recipe)
    is_trial = suffix in recipe.trial_names
    recipe = recipe.of_trial(suffix) if is_trial else recipe.of_variant(variant)
    _check_together(recipe, network, f"recipes.yaml: {dataset}")
    start = start_run(recipe.train.start, network, project, f"recipes.yaml: {dataset}")
    if is_trial:
        return Run(name, dataset, int(seed), recipe, network, trial=suffix, start=start)
    last = recipe.train.steps
    steps = recipe.milestones.get(suffix, last)
    ends = {f"{variant}-{one}": end for one, end in recipe.milestones.items()}
    earlier = {one: end for one, end in {**ends, variant: last}.items() if end < steps}
    latest = max(earlier, key=earlier.__getitem__, default=None)
    before = project.run(f"{dataset}/{latest}/{seed}") if latest else None
    train = recipe.train.model_copy(update={"steps": steps})
    recipe = recipe.model_copy(update={"train": train})
    return Run(
        name, dataset, int(seed), recipe, network, milestone=suffix, before=before, start=start
    )


def _split_model(model: str, dataset: str, project: "Project") -> tuple[str, str]:
    """``dimr-xl-2r-400epochs`` as the variant's name and the milestone's or trial's; "": none."""
    recipe = project.recipe(dataset)
    variant, _, suffix = model.rpartition("-")
    is_known = suffix in recipe.milestones or suffix in recipe.trial_names
    if model in project.variants or not (variant in project.variants or is_known):
        return model, ""
    if not is_known:
        listed = f"milestones: {', '.join(recipe.milestones) or 'none'}"
        listed += f"; trials: {', '.join(recipe.trial_names)}" if recipe.trials else ""
        raise DimrError(f"recipes.yaml: {dataset}: no milestone {suffix!r} of {variant} ({listed})")
    return variant, suffix


def _published_run(name: str, dataset: str, model: str, project: "Project") -> Run:
    """The run of weights that the recipe lists; schedule and solver may be their own."""
    recipe = project.recipe(dataset)
    if model not in recipe.published:
        listed = f"published: {', '.join(recipe.published) or 'none'}"
        raise DimrError(f"recipes.yaml: {dataset}: no published weights of {model!r} ({listed})")
    weights, sample = recipe.published[model], recipe.sample
    guided = {"channels": weights.guided_channels} if weights.guided_channels else {}
    settings = {key: one.model_copy(update=guided) for key, one in sample.settings.items()}
    changes = {"solver": weights.solver or sample.solver, "settings": settings}
    recipe = recipe.model_copy(update={"sample": sample.model_copy(update=changes)})
    network = _complete(_find_variant(model, dataset, project), recipe)
    published = FAMILIES[network.family].of_published
    own = {"schedule": weights.schedule or network.schedule, **published}
    source = recipe.data.source_name if network.num_classes else None
    names = project.source(source).class_names if source else ()
    return Run(name, dataset, 0, recipe, network.model_copy(update=own), weights, names)


def _workspace_run(project: "Project") -> Run:
    """The run ``workspace`` as params.yaml describes it.

    Raises:
        DimrError: what is wrong; and, as DVC leaves its edit in the file, how to undo it.
    """
    try:
        return _workspace(project)
    except DimrError as error:
        if not str(error).startswith("params.yaml: "):
            raise
        undo = "if `dvc exp run -S` set it, it is still in the file: git checkout params.yaml"
        raise DimrError(f"{error}; {undo}") from None


def _workspace(project: "Project") -> Run:
    source, choice = "params.yaml", project.params
    recipe = project.recipe(choice.dataset, f"{source}: dataset")
    variant = _chosen_variant(choice, source, project)
    recipe = recipe.of_variant(variant.name)
    parts = {}
    for name, section in (("train", Train), ("sample", Sample), ("evaluate", Evaluate)):
        given = getattr(choice, name).model_dump()
        value = _overlay(getattr(recipe, name).model_dump(mode="json"), given)
        if given.get("settings") is not None:  # only those that params.yaml names, as in dvc.yaml
            settings = value["settings"].items()
            value["settings"] = {key: one for key, one in settings if key in given["settings"]}
        parts[name] = validate(section, value, source, name)
    recipe = recipe.model_copy(update=parts)
    network = _complete(variant, recipe)
    _check_together(recipe, network, source)
    start = start_run(recipe.train.start, network, project, source)
    like = f"{choice.dataset}/{variant.name}/{choice.seed}"
    return Run("workspace", choice.dataset, choice.seed, recipe, network, start=start, like=like)


def _overlay(recipe: Any, override: Any) -> Any:
    """The recipe's values, replaced by those of params.yaml that are not null.

    What the recipe does not have, and params.yaml has all null (a setting of other datasets), is
    left out.
    """
    if not isinstance(override, dict):
        return recipe if override is None else override
    merged = dict(recipe) if isinstance(recipe, dict) else {}
    for key, value in override.items():
        chosen = _overlay(merged.get(key), value)
        if chosen is not None and chosen != {}:
            merged[key] = chosen
    return merged
