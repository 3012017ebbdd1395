"""The configuration's sections: names, types, units and limits. Unknown keys are refused."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model, model_validator

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
PositiveFloat = Annotated[float, Field(gt=0)]


class Section(BaseModel):
    """A part of the configuration: frozen, strictly typed, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


Count = Annotated[str, Field(pattern=r"^\d+(\.\d+)?[MB]$")]
"""A number of parameters as papers print it: 131M, 1.06B."""


class Published(Section):
    """What papers say of a variant: input (H, W, C), parameters and GMACs ("Gflops"), and where.

    ``parameters`` is exact where it was counted with the authors' code, else as it is printed.
    What no source confirms is null.
    """

    input: tuple[int, int, int]
    parameters: int | Count
    gmacs: float | int | None = None
    source: str


class Variant(Section):
    """A size of a network. Subclasses are the families' own."""

    published: Published | None = None

    def sizes(self) -> dict[str, Any]:
        """The arguments that the network's class takes."""
        return self.model_dump(exclude={"published"})


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise ValueError(f"width {dim} cannot be split into {heads} heads")


class DiMRSizes(Section):
    """N and D of each branch, lowest resolution first; see ``MultiResolutionNetwork``."""

    layers: tuple[Positive, ...]
    dims: tuple[Positive, ...]
    heads: Positive
    norm: Literal["rms", "layer"] = "rms"
    feed_forward: Literal["glu", "mlp"] = "glu"
    outputs: Literal["all", "last"] = "all"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.layers) != len(self.dims):
            raise ValueError(
                f"layers {list(self.layers)} and dims {list(self.dims)} differ in length"
            )
        _check_heads(self.dims[0], self.heads)
        return self


class UViTSizes(Section):
    """Number of blocks (odd) and D; see ``UViT``."""

    depth: Positive
    dim: Positive
    heads: Positive
    time: Literal["token", "adaln_zero", "td_norm"] = "token"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.depth % 2 == 0:
            raise ValueError(f"depth {self.depth} should be odd: half, one in the middle, half")
        _check_heads(self.dim, self.heads)
        return self


class DiTSizes(Section):
    """Number of blocks and D; see ``DiT``."""

    depth: Positive
    dim: Positive
    heads: Positive
    learn_sigma: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_heads(self.dim, self.heads)
        return self


class DiMRVariant(Variant, DiMRSizes):
    """A DiMR in variants.yaml, listed by its number of branches."""


class UViTVariant(Variant, UViTSizes):
    """A U-ViT in variants.yaml, listed by its patch."""


class DiTVariant(Variant, DiTSizes):
    """A DiT in variants.yaml, listed by its patch."""


VARIANTS: dict[str, type[Variant]] = {"dimr": DiMRVariant, "uvit": UViTVariant, "dit": DiTVariant}
"""The section of variants.yaml by family."""

Schedule = Literal["latent", "pixel", "linear"]
Solver = Literal["authors", "singlestep", "multistep", "ancestral"]
Evaluations = Annotated[int, Field(ge=3, le=1000)]  # of the network, by the solver


class Input(Section):
    """What any network is told of its input.

    ``time_map``: what time means to it; ``schedule``: of the noise (``linear`` is DiT's own).
    """

    input_size: Positive
    channels: Positive
    num_classes: Positive
    time_map: Literal["latent", "pixel"]
    schedule: Schedule


class NetworkInput(Input):
    """What a dataset asks of any network: branches of a DiMR, patches of the others, by family.

    Of several patches, the first that is listed for a size is what ``model.variant`` picks.
    """

    branches: Positive
    patches: dict[Literal["uvit", "dit"], tuple[Positive, ...]]


class Network(Input):
    """A network complete: config.json of a model's folder. Subclasses are the families' own."""

    family: str

    def arguments(self) -> dict[str, Any]:
        """The arguments that the network's class takes."""
        return self.model_dump(exclude={"family", "schedule"})


class DiMRNetwork(Network, DiMRSizes):
    """A DiMR."""

    family: Literal["dimr"]

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.input_size % 2 ** (len(self.layers) - 1):
            raise ValueError(
                f"input_size {self.input_size} cannot be halved {len(self.layers) - 1} times"
            )
        return self


class _Patched(Network):
    patch: Positive

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.input_size % self.patch:
            raise ValueError(f"input_size {self.input_size} is no multiple of patch {self.patch}")
        return self


class UViTNetwork(_Patched, UViTSizes):
    """A U-ViT."""

    family: Literal["uvit"]
    has_null_label: bool = True


class DiTNetwork(_Patched, DiTSizes):
    """A DiT."""

    family: Literal["dit"]


NETWORKS: dict[str, type[Network]] = {
    "dimr": DiMRNetwork,
    "uvit": UViTNetwork,
    "dit": DiTNetwork,
}
"""The section of a complete network by family."""
AnyNetwork = Annotated[DiMRNetwork | UViTNetwork | DiTNetwork, Field(discriminator="family")]


class Images(Section):
    """Raw images: where from, side in pixels, and the split into training and held-out images."""

    source: Literal["digits"]
    image_size: Positive
    train_per_class: Positive
    split_seed: int


class Autoencoder(Section):
    """How the small autoencoder is trained: widths, steps, images a step, peak learning rate."""

    kind: Literal["trained"]
    channels: tuple[Positive, ...]
    steps: Positive
    batch: Positive
    lr: PositiveFloat
    seed: int


class Identity(Section):
    """No autoencoder: the network sees pixels in [-1, 1], of one channel where all are equal."""

    kind: Literal["identity"]
    channels: Literal[1, 3]


AUTOENCODERS: dict[str, type[Section]] = {"trained": Autoencoder, "identity": Identity}
"""The section of an autoencoder by its kind."""


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
    autoencoder: Annotated[Autoencoder | Identity, Field(discriminator="kind")]
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
    label_dropout: Annotated[float, Field(ge=0, le=1)]  # 1: an unconditional model
    objective: Literal["noise", "hybrid"]
    grad_clip: PositiveFloat | None
    compile: bool
    log_every: Positive


class Guidance(Section):
    """A guidance setting; all keys as in ``dimr.diffusion.guidance.wrap``."""

    kind: Literal["none", "constant", "power_cosine", "unconditional"]
    scale: Annotated[float, Field(ge=0)] = 0.0
    power: PositiveFloat = 1.0
    channels: Positive | None = None  # only the first so many are guided; null: all

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.kind == "power_cosine" and self.scale < 1:
            raise ValueError(f"scale {self.scale} of power_cosine is below 1")
        return self


class Sample(Section):
    """Sampling: how many images, network evaluations, solver, and the guidance settings by name."""

    count: Positive
    steps: Evaluations
    solver: Solver
    settings: dict[str, Guidance]


class Evaluate(Section):
    """Metrics: feature extractor by name, splits of the Inception Score, k of precision/recall."""

    extractor: Literal["digits", "inception-v3-compat"]
    isc_splits: Positive
    prc_neighborhood: Positive


class Weights(Section):
    """Published weights: where on the Hugging Face hub, and how they are sampled.

    ``file`` is a checkpoint of the authors', or the folder (``transformer``) of a diffusers model.
    What is null is as the recipe says for networks that are trained here.
    """

    repo: str
    file: str
    revision: str | None = None  # a commit of the repository; null: its newest
    schedule: Schedule | None = None
    solver: Solver | None = None
    guided_channels: Positive | None = None


class Recipe(Section):
    """Everything about a dataset. Without ``data``, nothing here prepares it."""

    network: NetworkInput
    data: Data | None
    train: Train
    sample: Sample
    evaluate: Evaluate
    published: dict[str, Weights] = {}


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
    network: AnyNetwork
    train: Train


class ImportPhase(Section):
    """``config/import.yaml`` of a run with published weights."""

    dataset: str
    network: AnyNetwork
    repo: str
    file: str
    revision: str | None = None


class SamplePhase(Section):
    """``config/sample-<setting>.yaml`` of a run that a network draws."""

    seed: int
    count: Positive
    steps: Evaluations
    solver: Solver
    guidance: Guidance


class BaselinePhase(Section):
    """``config/sample-<setting>.yaml`` of a run whose images come from the dataset itself."""

    source: Literal["real", "reconstruction"]
    count: Positive


SCHEMAS: dict[str, Any] = {
    "params": TypeAdapter(Params),
    "recipes": TypeAdapter(dict[str, Recipe]),
    "variants": TypeAdapter(
        dict[str, dict[str, dict[int, DiMRVariant | UViTVariant | DiTVariant]]]
    ),
}
"""What people edit, for their editors: ``.json_schema()`` of each is in workflow/schemas."""
