"""Every variant counted, beside what is known of it: the authors' own network, and print.

Numbers of our networks come from ``dimr.models.complexity``; nothing is trained or computed.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.recipes import datasets, load_recipe
from dimr.config.runs import ROOT, Variant, did_you_mean, fits, variants
from dimr.config.schema import NetworkInput
from dimr.paper.published import UNITS, PublishedValues
from dimr.paper.published import as_number as as_number
from dimr.runtime.errors import DimrError

OWN_SIZE = "xs"
"""The size that is ours, made for digits (``xs``, ``xs-last``, ...). Other sizes are papers'."""


@dataclass(frozen=True)
class Figure:
    """A number of a variant.

    Attributes:
        ours: counted here; None: not asked for.
        counted: of the authors' network, exact (GMACs: two decimals).
        printed: in papers: ``505M``, or whole GMACs.
    """

    ours: float | None
    counted: float | None = None
    printed: str | float | None = None

    @property
    def difference(self) -> float | None:
        """Ours less the most exact figure there is."""
        reference = self.counted if self.counted is not None else as_number(self.printed)
        return None if self.ours is None or reference is None else self.ours - reference

    @property
    def agrees(self) -> bool | None:
        """Whether ours is every figure there is, to its last digit; None where there is none.

        Whole GMACs are met by either neighbour: U-ViT-L/2 is printed as 77 and has 76.46.
        """
        if self.ours is None or (self.counted is None and self.printed is None):
            return None
        exact, ours = self.counted is None or self._is(self.counted), self.ours
        if isinstance(self.printed, str):
            return exact and as_printed(ours, like=self.printed) == self.printed
        return exact and (self.printed is None or abs(ours - self.printed) < 1)

    def _is(self, counted: float) -> bool:
        """Equal: whole numbers exactly, others to two decimals."""
        whole = isinstance(self.ours, int)
        return self.ours == counted if whole else round(self.ours or 0, 2) == round(counted, 2)


def as_printed(value: float, like: str) -> str:
    """``value`` with the unit and the decimals of ``like``: 505,046,408 like 1.06B is 0.51B."""
    decimals = len(like[:-1].partition(".")[2])
    return f"{value / UNITS[like[-1]]:.{decimals}f}{like[-1]}"


@dataclass(frozen=True)
class Counted:
    """A variant with its numbers, all for one image of the input.

    Attributes:
        listed: its sizes.
        input: H, W and C.
        parameters: learned values.
        gmacs: multiply-accumulates of one forward pass / 1e9, what papers call "Gflops".
        memory_mb: what eager float32 training keeps of one image for the backward pass / 1e6.
        source: where the published figures were seen.
    """

    listed: Variant
    input: tuple[int, int, int]
    parameters: Figure
    gmacs: Figure
    memory_mb: float | None
    source: str | None


# --- what a variant is counted on -----------------------------------------------------------------


def _input_of(network: NetworkInput) -> dict[str, Any]:
    return network.model_dump(include={"input_size", "channels", "num_classes", "time_map"})


def counting_input(one: Variant, root: Path = ROOT) -> dict[str, Any]:
    """The input that a variant is counted on.

    A variant with published figures: theirs. A size of ours (``xs``): that of the first dataset in
    recipes.yaml that takes it. Any other: that of the published variant nearest in name, of the
    same family; so ``m-last`` has the input of ``m``, and DiT-S/4 that of the published DiTs.
    """
    if one.variant.published:
        return one.published_input
    base = one.size.split("-")[0]
    if base != OWN_SIZE:
        kin = [other for other in variants(root) if other.family == one.family]
        kin = [other for other in kin if other.variant.published]
        kin.sort(key=lambda other: (other.size != base, other.number != one.number))
        if kin:
            return kin[0].published_input
    for dataset in datasets(root):
        recipe = load_recipe(dataset, root)
        if fits(one, recipe):
            return _input_of(recipe.network)
    raise DimrError(f"variants.yaml: {one.name}: no dataset of recipes.yaml takes it")


# --- counting -------------------------------------------------------------------------------------


def count(
    one: Variant,
    published: PublishedValues,
    inputs: dict[str, Any],
    parameters_only: bool = False,
) -> Counted:
    """Count a variant on an input (see ``counting_input``).

    Published figures hold for the input that they were published for: on another they are left
    out. ``parameters_only`` takes 20 ms in place of 300.
    """
    from dimr.models import FAMILIES, complexity
    from dimr.models.complexity import count_parameters, on_meta

    family, sizes = FAMILIES[one.family], {**one.sizes, **inputs}
    if parameters_only:
        parameters, gmacs, memory = count_parameters(on_meta(family, sizes)), None, None
    else:
        counted = complexity(family, sizes)
        parameters, gmacs = counted.parameters, counted.macs / 1e9
        memory = counted.activation_bytes / 1e6
    side, channels = inputs["input_size"], inputs["channels"]
    known = _known(one, published) if inputs == one.published_input else {}
    return Counted(
        listed=one,
        input=(side, side, channels),
        parameters=Figure(parameters, *known.get("parameters", ())),
        gmacs=Figure(gmacs, *known.get("gmacs", ())),
        memory_mb=memory,
        source=known.get("source"),
    )


def _known(one: Variant, published: PublishedValues) -> dict[str, Any]:
    """What is known of a published variant: (counted, printed) of each figure, and the source.

    variants.yaml holds exact counts of the authors' DiMR networks; how those are printed stands in
    published.yaml. For the other families it holds what is printed.
    """
    figures = one.variant.published
    if figures is None:
        return {}
    if isinstance(figures.parameters, str):
        return {
            "parameters": (None, figures.parameters),
            "gmacs": (None, figures.gmacs),
            "source": figures.source,
        }
    printed = published.variants.get(one.name)
    return {
        "parameters": (figures.parameters, printed and printed.parameters),
        "gmacs": (figures.gmacs, printed and printed.gmacs),
        "source": figures.source,
    }


def check_names(published: PublishedValues, root: Path = ROOT) -> None:
    """Refuse published sizes of a variant that is not listed, and settings of no dataset."""
    _check_names("variants", list(published.variants), [one.name for one in variants(root)])
    _check_names("settings", list(published.settings), datasets(root))


def _check_names(section: str, names: list[str], allowed: list[str]) -> None:
    for name in names:
        if name not in allowed:
            hint = did_you_mean(name, allowed)
            raise DimrError(f"published.yaml: {section}: unknown name {name!r} {hint}")


def chosen_variants(
    patterns: Sequence[str] = (),
    family: str | None = None,
    dataset: str | None = None,
    root: Path = ROOT,
) -> list[tuple[Variant, dict[str, Any]]]:
    """Variants and the input that each is counted on.

    Args:
        patterns: names or patterns (``dimr-*-2r``), of which one must match; none: all variants.
        family: of this family only.
        dataset: of those that this dataset takes, on its input; None: see ``counting_input``.
        root: the repository.

    Raises:
        DimrError: a family or dataset that is not listed, or a pattern that matches nothing.
    """
    listed = list(variants(root))
    families = list(dict.fromkeys(one.family for one in listed))
    if family is not None and family not in families:
        raise DimrError(f"variants.yaml: no family {family!r} {did_you_mean(family, families)}")
    recipe = None if dataset is None else load_recipe(dataset, root)
    listed = [one for one in listed if family in (None, one.family)]
    listed = [one for one in listed if recipe is None or fits(one, recipe)]
    names = [one.name for one in listed]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise DimrError(
                f"variants.yaml: no variant matches {pattern!r} {did_you_mean(pattern, names)}"
            )
    chosen = {name for pattern in patterns or ["*"] for name in fnmatch.filter(names, pattern)}
    given = _input_of(recipe.network) if recipe else None
    return [(one, given or counting_input(one, root)) for one in listed if one.name in chosen]
