"""Networks by name: the variants of variants.yaml, and which of them a dataset takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.schema import NETWORKS, VARIANTS, NetworkConfig, Recipe, VariantSizes
from dimr.config.validation import choose, did_you_mean, mapping, validate
from dimr.models.sizes import FAMILIES, Sizes
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json


@dataclass(frozen=True)
class Variant:
    """A variant of variants.yaml, or one that is named after it with another norm.

    Attributes:
        family: ``dimr``, ``uvit``, ``dit``.
        size: its name there, followed by what differs from variants.yaml: ``xl-layer``.
        number: of branches (DiMR), or the patch (others).
        variant: what variants.yaml says about it.
        is_listed: whether variants.yaml has it under this name.
    """

    family: str
    size: str
    number: int
    variant: VariantSizes
    is_listed: bool = True

    @property
    def name(self) -> str:
        """The model part of a run's name: ``dimr-xl-2r``, ``uvit-h-2``."""
        branches = "" if FAMILIES[self.family].has_patch() else "r"
        return f"{self.family}-{self.size}-{self.number}{branches}"

    @property
    def title(self) -> str:
        """As papers print it: ``DiMR-XL/2R``, ``DiMR-XL/2R (concat)``, ``U-ViT-H/2``."""
        family, (size, _, change) = FAMILIES[self.family], self.size.partition("-")
        number = f"{self.number}{'' if family.has_patch() else 'R'}"
        return f"{family.title}-{size.upper()}/{number}{f' ({change})' if change else ''}"

    @property
    def sizes(self) -> dict[str, Any]:
        """The network's arguments, without those that the dataset sets."""
        patch = {"patch": self.number} if FAMILIES[self.family].has_patch() else {}
        return {**self.variant.sizes(), **patch}

    def complete(self, **others: Any) -> Sizes:
        """All sizes of the network: its own, and ``others``, which take their place.

        Raises:
            ValueError: sizes that do not fit together.
            TypeError: a size that the network does not have, or one that is missing.
        """
        return FAMILIES[self.family](**{**self.sizes, **others})

    def others(self) -> Iterator["Variant"]:
        """The same with another value of each size that names can express: ``dimr-xl-layer-2r``.

        Of the published numbers, the input and GMACs stay (norms have none), and the parameters
        are those of the other norm, if counted.
        """
        for key, values in FAMILIES[self.family].in_names.items():
            own, published = getattr(self.variant, key), self.variant.published
            if published is not None:
                counts = {"parameters": published.other_norm, "other_norm": None}
                published = published.model_copy(update=counts)
            for value in values if own in values else ():
                if value != own:
                    changed = self.variant.model_copy(update={key: value, "published": published})
                    size = f"{self.size}-{value}"
                    yield Variant(self.family, size, self.number, changed, is_listed=False)

    @property
    def published_input(self) -> dict[str, Any]:
        """What the paper feeds it: 1,000 classes; empty for sizes of our own."""
        if self.variant.published is None:
            return {}
        side, _, channels = self.variant.published.input
        time_map = "pixel" if channels == 3 else "latent"
        return {
            "input_size": side,
            "channels": channels,
            "num_classes": 1000,
            "time_map": time_map,
        }


def parse_variants(content: Any, source: str) -> dict[str, Variant]:
    """Every variant that the content of variants.yaml lists, by name, and their ``others``.

    Raises:
        DimrError: the message names ``source``, the key and what is allowed.
    """
    listed = []
    for family, sizes in mapping(content, source).items():
        if family not in VARIANTS:
            raise DimrError(
                f"{source}: no family {family!r} {did_you_mean(family, list(VARIANTS))}"
            )
        for size, by_number in mapping(sizes, f"{source}: {family}").items():
            for number, value in mapping(by_number, f"{source}: {family}.{size}").items():
                variant = validate(VARIANTS[family], value, source, f"{family}.{size}.{number}")
                listed.append(Variant(family, size, number, variant))
    named = {one.name: one for one in listed}
    for one in listed:
        for other in one.others():
            named.setdefault(other.name, other)
    return named


def fits(one: Variant, recipe: Recipe) -> bool:
    """Whether a dataset takes a variant: by number of branches, or by patch, and by text."""
    can = recipe.data.text_encoder is None or FAMILIES[one.family].takes_text
    return can and one.number in recipe.network.numbers(one.family)


def names_of(variants: Iterable[Variant]) -> list[str]:
    """Names for messages about what is allowed: those of variants.yaml."""
    return [one.name for one in variants if one.is_listed]


def taken(recipe: Recipe, family: str) -> str:
    """What a dataset takes of a family, for messages: ``2 branches``, ``patch 2 or 4``."""
    numbers = " or ".join(map(str, recipe.network.numbers(family)))
    if not FAMILIES[family].has_patch():
        return f"{numbers} branches"
    return f"patch {numbers}" if numbers else f"no {family}"


def check_network(value: Any, source: str) -> NetworkConfig:
    """The network that the content of a model's config.json describes.

    Keys that begin with an underscore are diffusers' own and are left out.

    Raises:
        DimrError: the message names the key, and ``source`` as where it is.
    """
    section = choose(NETWORKS, value, "family", source)
    own = {key: entry for key, entry in value.items() if not str(key).startswith("_")}
    return validate(section, own, source)


def load_network_config(path: Path) -> NetworkConfig:
    """The network that a model folder's config.json describes; ``DimrError`` names the key."""
    return check_network(read_json(path), str(path))
