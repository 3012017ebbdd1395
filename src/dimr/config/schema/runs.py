"""Sections about runs: training, sampling, metrics and recipes."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dimr.config.schema.base import (
    Batch,
    ConfigModel,
    Count,
    NotNegative,
    Positive,
    PositiveFloat,
    Share,
    Width,
)
from dimr.config.schema.data import Data
from dimr.config.schema.human_study import Distortion
from dimr.config.schema.networks import (
    NetworkInput,
    Schedule,
)

Solver = Literal["authors", "singlestep", "multistep", "ancestral"]
Distances = Literal["float16", "float32"]
Evaluations = Annotated[int, Field(ge=3, le=1000)]  # of the network, by the solver


class Train(ConfigModel):
    """Training: the paper's table of settings, with its units.

    ``from`` (``start``) is what training starts from in place of fresh weights: a run, or the path
    of a model's folder or of a file of weights (``dimr.config.start``).
    """

    steps: Positive
    batch: Batch
    lr: PositiveFloat
    betas: tuple[Share, Share]
    weight_decay: NotNegative
    warmup_steps: Annotated[int, Field(ge=0, le=10**10)]
    ema_decay: Share
    label_dropout: Annotated[float, Field(ge=0, le=1)]  # 1: an unconditional model
    objective: Literal["noise", "hybrid"]
    grad_clip: PositiveFloat | None
    # of matrix products; auto: bfloat16 on CUDA, float32 elsewhere
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool
    log_every: Positive
    # Omitted from the file if null: what starts from fresh weights keeps its key.
    start: Annotated[str, Field(pattern=r"^[^\r\n\x00{}]+$", max_length=4096)] | None = Field(
        default=None, alias="from", exclude_if=lambda value: value is None
    )


class Guidance(ConfigModel):
    """A guidance setting; all keys as in ``dimr.diffusion.guidance.wrap``."""

    kind: Literal["none", "constant", "power_cosine", "unconditional"]
    scale: NotNegative = 0.0
    power: PositiveFloat = 1.0
    channels: Width | None = None  # only the first ``channels`` are guided; null: all
    # diffusion times [low, high] that are guided; null: all, and omitted from the file.
    interval: tuple[float, float] | None = Field(default=None, exclude_if=lambda value: not value)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "power_cosine" and self.scale < 1:
            raise ValueError(f"scale {self.scale} of power_cosine is below 1")
        if self.interval is None:
            return self
        low, high = self.interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"interval [{low}, {high}] is not 0 <= low < high <= 1")
        if self.kind in ("none", "unconditional"):
            raise ValueError(f"interval [{low}, {high}]: kind {self.kind} guides nothing")
        return self

    @property
    def passes(self) -> float:
        """Network passes per evaluation, the mean over uniform times: 2 where it is guided."""
        if self.kind in ("none", "unconditional"):
            return 1.0
        low, high = self.interval or (0.0, 1.0)
        return 1.0 + high - low


class SamplingConfig(Guidance):
    """A way to sample a run: guidance, and what is not as for the run's other settings.

    A setting with a ``count`` of its own has no metrics: those are of the recipe's count.
    """

    count: Count | None = None
    steps: Evaluations | None = None
    solver: Solver | None = None

    def guidance(self) -> Guidance:
        """The guidance without the rest."""
        own = self.model_dump(exclude={"count", "steps", "solver"})
        return Guidance.model_validate(own)


class Sample(ConfigModel):
    """Sampling: how many images, network evaluations, solver, and the settings by name."""

    count: Count
    steps: Evaluations
    solver: Solver
    settings: dict[str, SamplingConfig]

    def count_at(self, setting: str) -> int:
        """How many images are drawn at a setting."""
        return self.settings[setting].count or self.count


class Evaluate(ConfigModel):
    """Metrics: feature extractor by name, splits of the Inception Score, k of precision/recall.

    ``digits`` and ``classifier`` are the dataset's own small classifier, trained here (of digits,
    and of one's own images). ``weights`` is the file name of torch-fidelity's Inception, which ends
    in the first 8 digits of the file's SHA-256. ``prc_distances`` are those of precision and
    recall: float16 as in ADM's suite, or float32.
    """

    extractor: Literal["digits", "classifier", "inception-v3-compat"]
    weights: Annotated[str, Field(pattern=r"^[\w.-]+-[0-9a-f]{8}\.pth$")] | None = None
    isc_splits: Count
    prc_neighborhood: Count
    # Omitted from the file if float32: what was measured before keeps its key.
    prc_distances: Distances = Field(default="float32", exclude_if=lambda value: value == "float32")

    @model_validator(mode="after")
    def _weights_where_needed(self) -> Self:
        if self.is_own and self.weights is not None:
            raise ValueError(f"extractor {self.extractor} takes no weights ({self.weights})")
        if not self.is_own and self.weights is None:
            raise ValueError(f"extractor {self.extractor} needs a weights file's name")
        return self

    @property
    def is_own(self) -> bool:
        """Whether features are those of the dataset's own classifier."""
        return self.extractor in ("digits", "classifier")


class Weights(ConfigModel):
    """Published weights: where on the Hugging Face hub, and how they are sampled.

    ``file`` is a checkpoint of the authors', or the folder (``transformer``) of a diffusers model.
    What is null is as the recipe says for networks that are trained here.
    """

    repo: str
    file: str
    revision: str | None = None  # a commit of the repository; null: its newest
    schedule: Schedule | None = None
    solver: Solver | None = None
    guided_channels: Width | None = None


class Resources(ConfigModel):
    """What a stage is given: ``gpus`` on each of ``nodes`` (0: it runs on a CPU)."""

    nodes: Annotated[int, Field(gt=0, le=10_000)] = 1
    gpus: Annotated[int, Field(ge=0, le=1_000)] = 0


Step = Literal["encode", "train", "sample", "evaluate"]
Suffix = Annotated[str, Field(pattern=r"^\w+$")]  # of a run's model


class Trials(ConfigModel):
    """Trainings by which a learning rate is chosen: one of ``lr`` each, by name.

    Each is as long as the recipe's, and draws ``count`` images at a setting.
    """

    lr: dict[Suffix, PositiveFloat]
    count: Count


class Recipe(ConfigModel):
    """Everything about a dataset. ``resources`` change how fast a stage is, not its result.

    ``milestones`` are other steps than the last one, by name, whose weights are results too: of the
    run ``<dataset>/<model>-<milestone>/<seed>``. To one after the last step training resumes only
    for that run.
    ``trials`` are of the runs ``<dataset>/<model>-<trial>/<seed>``, which compare with validation
    images; what was chosen for a variant by them, in place of ``train.lr``, stands in
    ``learning_rates``.
    """

    network: NetworkInput
    data: Data
    train: Train
    learning_rates: dict[str, PositiveFloat] = {}
    trials: Trials | None = None
    milestones: dict[Suffix, Positive] = {}
    sample: Sample
    evaluate: Evaluate
    distortion: Distortion | None = None  # null: no distortion study
    published: dict[str, Weights] = {}
    resources: dict[Step, Resources] = {}

    @model_validator(mode="after")
    def _learns_something(self) -> Self:
        if bool(self.network.num_classes) == bool(self.data.text_encoder):
            found = "has both" if self.network.num_classes else "has neither"
            raise ValueError(f"network.num_classes, or data.text_encoder: the dataset {found}")
        return self

    @property
    def network_input(self) -> dict[str, Any]:
        """What networks need to know of their input: sizes of ``NetworkConfig``."""
        known = self.network.model_dump(mode="json", exclude={"branches", "patches"})
        if (encoder := self.data.text_encoder) is None:
            return known
        return {**known, "text_dim": encoder.width, "text_tokens": encoder.tokens}

    @model_validator(mode="after")
    def _metrics_are_possible(self) -> Self:
        if self.evaluate.is_own and getattr(self.data, "classifier", None) is None:
            raise ValueError(f"evaluate.extractor: {self.evaluate.extractor}: no data.classifier")
        return self

    @property
    def trial_names(self) -> list[str]:
        """Names of the trials, if there are any."""
        return list(self.trials.lr) if self.trials else []

    def of_trial(self, name: str) -> "Recipe":
        """The recipe of a trial: with its learning rate and its number of images."""
        assert self.trials
        changes = {
            "train": self.train.model_copy(update={"lr": self.trials.lr[name]}),
            "sample": self.sample.model_copy(update={"count": self.trials.count}),
        }
        return self.model_copy(update=changes)

    def of_variant(self, variant: str) -> "Recipe":
        """The recipe with the learning rate that was chosen for a variant, if one was."""
        lr = self.learning_rates.get(variant, self.train.lr)
        return self.model_copy(update={"train": self.train.model_copy(update={"lr": lr})})

    @model_validator(mode="after")
    def _trials_are_possible(self) -> Self:
        images = getattr(self.data, "images", None)
        if self.trials and not getattr(images, "validation_per_class", 0):
            raise ValueError("trials: data.images.validation_per_class: 0: nothing to compare with")
        if both := sorted(self.milestones.keys() & set(self.trial_names)):
            raise ValueError(f"trials.lr.{both[0]}: is a milestone too")
        return self

    @model_validator(mode="after")
    def _milestones_are_others(self) -> Self:
        for name, steps in self.milestones.items():
            if steps == self.train.steps:
                raise ValueError(f"milestones.{name}: {steps} is the last step (train.steps)")
        return self
