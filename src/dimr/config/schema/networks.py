"""Sections about networks: listed variants, what a dataset requires of them, complete networks.

Sizes, their defaults and how they must fit together come from ``dimr.models.sizes``; here they are
checked strictly and given limits.
"""

import dataclasses
import functools
import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, get_type_hints

from pydantic import Field, create_model, field_validator, model_validator

from dimr.config.schema.base import MOST_CLASSES, ConfigModel, Depth, NumClasses, Width
from dimr.models.sizes import FAMILIES, Sizes

PrintedCount = Annotated[str, Field(pattern=r"^\d+(\.\d+)?[MB]$")]
"""A number of parameters as papers print it: 131M, 1.06B."""


class Published(ConfigModel):
    """What papers say of a variant: input (H, W, C), parameters and GMACs ("Gflops"), and where.

    ``parameters`` is exact where it was counted with the authors' code, else as it is printed.
    What no source confirms is null. ``other_norm``: parameters with the other norm inside blocks,
    counted likewise.
    """

    input: tuple[int, int, int]
    parameters: int | PrintedCount | None
    other_norm: int | None = None
    gmacs: float | int | None = None
    source: str


class VariantSizes(ConfigModel):
    """A size of a network in variants.yaml: what the dataset does not say, and not its number.

    Subclasses are the families' own, made from ``dimr.models.sizes``.
    """

    published: Published | None = None

    def sizes(self) -> dict[str, Any]:
        """The network's listed sizes, including those at their defaults."""
        return {name: value for name, value in self if name != "published"}


_is_none = functools.partial(operator.is_, None)
Schedule = Literal["latent", "pixel", "linear"]


class Input(ConfigModel):
    """What any network is told of its input.

    ``time_map``: what time means to it; ``schedule``: of the noise (``linear`` is DiT's own).
    """

    input_size: Width
    channels: Width
    num_classes: NumClasses
    time_map: Literal["latent", "pixel"]
    schedule: Schedule


class NetworkInput(Input):
    """What a dataset asks of any network: branches of a DiMR, patches of the others.

    ``patches`` are by family; ``any`` stands for those that are not named. Of several patches, the
    first that is listed for a size is what ``model.variant`` picks. A dataset with captions has no
    ``num_classes``: its text encoder says what networks take (``Recipe.network_input``).
    """

    num_classes: Annotated[int, Field(ge=0, le=MOST_CLASSES)] = 0
    branches: Annotated[int, Field(gt=0, le=8)]
    patches: dict[str, tuple[Width, ...]]

    @field_validator("patches")
    @classmethod
    def _known(cls, patches: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        allowed = ["any", *(name for name, sizes in FAMILIES.items() if sizes.has_patch())]
        for name in patches:
            if name not in allowed:
                raise ValueError(f"{name!r} is not one of {', '.join(allowed)}")
        return patches

    def numbers(self, family: str) -> tuple[int, ...]:
        """Patches, or numbers of branches, of the family's variants that the dataset takes."""
        if not FAMILIES[family].has_patch():
            return (self.branches,)
        return self.patches.get(family, self.patches.get("any", ()))


class NetworkConfig(Input):
    """A network complete: config.json of a model's folder.

    Subclasses are the families' own, made from ``dimr.models.sizes``. What a network of text has in
    place of classes is written for it only, and ``num_classes`` is 0 there.
    """

    num_classes: Annotated[int, Field(ge=0, le=MOST_CLASSES)]
    text_dim: Annotated[Width | None, Field(exclude_if=_is_none)] = None
    text_tokens: Annotated[Width | None, Field(exclude_if=_is_none)] = None
    family: str

    @property
    def sizes(self) -> Sizes:
        """What the network is built from (``dimr.models.build``)."""
        return FAMILIES[self.family](**self.model_dump(exclude={"family", "schedule"}))

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.sizes  # noqa: B018, raises ValueError
        return self


LIMITS: dict[Any, Any] = {
    "layers": Annotated[tuple[Depth, ...], Field(min_length=1, max_length=8)],
    "dims": Annotated[tuple[Width, ...], Field(min_length=1, max_length=8)],
    "depth": Depth,
    int: Width,
}
"""Limits of sizes by name, else by type; without one a size may be all that its type allows."""
OF_INPUT = {field.name for field in dataclasses.fields(Sizes)}
NOT_LISTED = {"patch", "has_null_label", "final_conv"}
"""Sizes that variants.yaml does not give: the patch, and those only published weights vary in."""
WRITTEN = {"norm", "feed_forward", "outputs", "time", "has_null_label", "learn_sigma"}
"""Sizes that are written even at their default. Later switches are not: what was trained before
a switch existed keeps its configuration, and so its key."""
ANY_INPUT: dict[str, Any] = {"input_size": 128, "channels": 1, "num_classes": 1}
"""An input that suits any number of branches and patches of 1, to check a listed size alone."""


def _fields(sizes: type[Sizes], listed: bool) -> dict[str, Any]:
    """The sizes that variants.yaml lists, or the others, as pydantic takes fields."""
    hints, found = get_type_hints(sizes), {}
    for field in dataclasses.fields(sizes):
        if field.name in OF_INPUT or (field.name in NOT_LISTED) == listed:
            continue
        kind = hints[field.name]
        limited = LIMITS.get(field.name, LIMITS.get(kind, kind))
        default = ... if field.default is dataclasses.MISSING else field.default
        if default is not ... and field.name not in WRITTEN:
            default = Field(default=default, exclude_if=functools.partial(operator.eq, default))
        found[field.name] = (limited, default)
    return found


def _listed(sizes: type[Sizes]) -> type[VariantSizes]:
    number: dict[str, Any] = {"patch": 1} if sizes.has_patch() else {}

    def fits(section: Any) -> Any:
        sizes(**section.sizes(), **number, **ANY_INPUT)
        return section

    own: Any = create_model("Own", __base__=ConfigModel, **_fields(sizes, listed=True))
    name = sizes.__name__.removesuffix("Sizes")
    validators: dict[str, Any] = {"fits": model_validator(mode="after")(fits)}
    return create_model(
        f"{name}Variant",
        __base__=(VariantSizes, own),
        __validators__=validators,
        __doc__=f"A {name} in variants.yaml, listed by its "
        f"{'patch' if sizes.has_patch() else 'number of branches'}.",
    )


def _complete(sizes: type[Sizes]) -> type[NetworkConfig]:
    own: Any = create_model("Own", __base__=ConfigModel, **_fields(sizes, listed=True))
    more = {"family": (Literal[sizes.family], ...), **_fields(sizes, listed=False)}
    name = sizes.__name__.removesuffix("Sizes")
    return create_model(f"{name}Network", __base__=(NetworkConfig, own), **more)


VARIANTS = {family: _listed(sizes) for family, sizes in FAMILIES.items()}
"""The section of variants.yaml by family."""
NETWORKS = {family: _complete(sizes) for family, sizes in FAMILIES.items()}
"""The section of a complete network by family."""
if TYPE_CHECKING:
    AnyNetwork = NetworkConfig
    AnyVariant = VariantSizes
else:
    AnyVariant = functools.reduce(operator.or_, VARIANTS.values())
    AnyNetwork = functools.reduce(operator.or_, NETWORKS.values())
    AnyNetwork = Annotated[AnyNetwork, Field(discriminator="family")]
