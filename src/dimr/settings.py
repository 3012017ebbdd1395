"""The configuration's sections: names, types, units and limits. Unknown keys are refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model, model_validator

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


def _checked_sizes(sizes: Any) -> Any:
    """Refuse what no network can be built of; pydantic turns the error into one of the key's."""
    if len(sizes.layers) != len(sizes.dims):
        raise ValueError(
            f"layers {list(sizes.layers)} and dims {list(sizes.dims)} differ in length"
        )
    if sizes.dims[0] % sizes.heads:
        raise ValueError(f"width {sizes.dims[0]} cannot be split into {sizes.heads} heads")
    return sizes


class Variant(Section):
    """Sizes of a DiMR network: N and D of each branch, lowest resolution first."""

    layers: tuple[Positive, ...]
    dims: tuple[Positive, ...]
    heads: Positive
    norm: Literal["rms", "layer"] = "rms"
    published: Published | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        return _checked_sizes(self)


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.input_size % 2 ** (len(self.layers) - 1):
            raise ValueError(
                f"input_size {self.input_size} cannot be halved {len(self.layers) - 1} times"
            )
        return _checked_sizes(self)


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

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "power_cosine" and self.scale < 1:
            raise ValueError(f"scale {self.scale} of power_cosine is below 1")
        return self


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


def _overrides(section: type[Section], **nested: Any) -> Any:
    """The section with every key optional: null means what the recipe says."""
    keys: Any = {
        name: (nested.get(name, field.rebuild_annotation()) | None, None)
        for name, field in section.model_fields.items()
    }
    return create_model(f"{section.__name__}Overrides", __base__=Section, **keys)


TrainOverrides = _overrides(Train)
GuidanceOverrides = _overrides(Guidance)
SampleOverrides = _overrides(
    Sample,
    settings=dict[str, GuidanceOverrides | None],  # type: ignore[valid-type]
)
EvaluateOverrides = _overrides(Evaluate)


class Params(Section):
    """params.yaml: null means what the dataset's recipe says."""

    dataset: str
    model: ModelChoice
    seed: Annotated[int, Field(ge=0)]
    train: TrainOverrides  # type: ignore[valid-type]
    sample: SampleOverrides  # type: ignore[valid-type]
    evaluate: EvaluateOverrides  # type: ignore[valid-type]


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


SCHEMAS: dict[str, Any] = {
    "params": TypeAdapter(Params),
    "recipes": TypeAdapter(dict[str, Recipe]),
    "variants": TypeAdapter(dict[str, dict[str, dict[int, Variant]]]),
}
"""What people edit, for their editors: ``.json_schema()`` of each is in workflow/schemas."""
