"""Sections about networks: listed variants, what a dataset asks of them, complete networks."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dimr.config.schema.base import ConfigModel, Depth, Width

PrintedCount = Annotated[str, Field(pattern=r"^\d+(\.\d+)?[MB]$")]
"""A number of parameters as papers print it: 131M, 1.06B."""


class Published(ConfigModel):
    """What papers say of a variant: input (H, W, C), parameters and GMACs ("Gflops"), and where.

    ``parameters`` is exact where it was counted with the authors' code, else as it is printed.
    What no source confirms is null.
    """

    input: tuple[int, int, int]
    parameters: int | PrintedCount
    gmacs: float | int | None = None
    source: str


class VariantSizes(ConfigModel):
    """A size of a network. Subclasses are the families' own."""

    published: Published | None = None

    def sizes(self) -> dict[str, Any]:
        """The arguments that the network's class takes."""
        return self.model_dump(exclude={"published"})


def _check_heads(dim: int, heads: int) -> None:
    if dim % heads:
        raise ValueError(f"width {dim} cannot be split into {heads} heads")


class DiMRSizes(ConfigModel):
    """N and D of each branch, lowest resolution first; see ``MultiResolutionNetwork``."""

    layers: Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)]
    dims: Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)]
    heads: Width
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


class UViTSizes(ConfigModel):
    """Number of blocks (odd) and D; see ``UViT``."""

    depth: Depth
    dim: Width
    heads: Width
    time: Literal["token", "adaln_zero", "td_norm"] = "token"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.depth % 2 == 0:
            raise ValueError(f"depth {self.depth} should be odd: half, one in the middle, half")
        _check_heads(self.dim, self.heads)
        return self


class DiTSizes(ConfigModel):
    """Number of blocks and D; see ``DiT``."""

    depth: Depth
    dim: Width
    heads: Width
    learn_sigma: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _check_heads(self.dim, self.heads)
        return self


class DiMRVariant(VariantSizes, DiMRSizes):
    """A DiMR in variants.yaml, listed by its number of branches."""


class UViTVariant(VariantSizes, UViTSizes):
    """A U-ViT in variants.yaml, listed by its patch."""


class DiTVariant(VariantSizes, DiTSizes):
    """A DiT in variants.yaml, listed by its patch."""


VARIANTS: dict[str, type[VariantSizes]] = {
    "dimr": DiMRVariant,
    "uvit": UViTVariant,
    "dit": DiTVariant,
}
"""The section of variants.yaml by family."""

Schedule = Literal["latent", "pixel", "linear"]


class Input(ConfigModel):
    """What any network is told of its input.

    ``time_map``: what time means to it; ``schedule``: of the noise (``linear`` is DiT's own).
    """

    input_size: Width
    channels: Width
    num_classes: Annotated[int, Field(gt=0, le=10**6)]
    time_map: Literal["latent", "pixel"]
    schedule: Schedule


class NetworkInput(Input):
    """What a dataset asks of any network: branches of a DiMR, patches of the others, by family.

    Of several patches, the first that is listed for a size is what ``model.variant`` picks.
    """

    branches: Annotated[int, Field(gt=0, le=8)]
    patches: dict[Literal["uvit", "dit"], tuple[Width, ...]]


class NetworkConfig(Input):
    """A network complete: config.json of a model's folder. Subclasses are the families' own."""

    family: str

    def arguments(self) -> dict[str, Any]:
        """The arguments that the network's class takes."""
        return self.model_dump(exclude={"family", "schedule"})


class DiMRNetwork(NetworkConfig, DiMRSizes):
    """A DiMR."""

    family: Literal["dimr"]

    @model_validator(mode="after")
    def _halves(self) -> Self:
        if self.input_size % 2 ** (len(self.layers) - 1):
            raise ValueError(
                f"input_size {self.input_size} cannot be halved {len(self.layers) - 1} times"
            )
        return self


class _Patched(NetworkConfig):
    patch: Width

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.input_size % self.patch:
            raise ValueError(f"input_size {self.input_size} is no multiple of patch {self.patch}")
        return self


class UViTNetwork(_Patched, UViTSizes):
    """A U-ViT."""

    family: Literal["uvit"]
    has_null_label: bool = True
    # None: as published, in pixel models only; it is then no part of config.json and of keys
    final_conv: bool | None = Field(default=None, exclude_if=lambda value: value is None)


class DiTNetwork(_Patched, DiTSizes):
    """A DiT."""

    family: Literal["dit"]


NETWORKS: dict[str, type[NetworkConfig]] = {
    "dimr": DiMRNetwork,
    "uvit": UViTNetwork,
    "dit": DiTNetwork,
}
"""The section of a complete network by family."""
AnyNetwork = Annotated[DiMRNetwork | UViTNetwork | DiTNetwork, Field(discriminator="family")]
