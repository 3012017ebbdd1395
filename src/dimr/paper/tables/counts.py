"""Variants counted, beside what is known about them: from the authors' networks, and from print.

Numbers of our networks come from ``dimr.models.complexity``; nothing is trained or computed.
"""

import fnmatch
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dimr.config.project import Project
from dimr.config.schema import Recipe
from dimr.config.validation import did_you_mean
from dimr.config.variants import Variant, names_of
from dimr.paper.published import UNITS, as_number, load_published
from dimr.runtime.errors import DimrError

OWN_SIZE = "xs"
"""The size that is ours, made for digits (``xs``, ``xs-last``, ...). Other sizes are papers'."""


@dataclass(frozen=True)
class Number:
    """A number of a variant.

    Attributes:
        ours: counted here; None: not asked for.
        counted: for the authors' network, exact (GMACs: two decimals).
        printed: in papers: ``505M``, or whole GMACs.
    """

    ours: float | None
    counted: float | None = None
    printed: str | float | None = None

    @property
    def difference(self) -> float | None:
        """Ours minus the most exact number that is known."""
        reference = self.counted if self.counted is not None else as_number(self.printed)
        return None if self.ours is None or reference is None else self.ours - reference

    @property
    def agrees(self) -> bool | None:
        """Whether ours equals every known number, to its last digit; None if none is known.

        Whole GMACs may be rounded either way: U-ViT-L/2 is printed as 77 and has 76.46.
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
        source: where the published numbers were seen.
        appendix: the parameters in the paper's own table of variants, where they are others.
    """

    listed: Variant
    input: tuple[int, int, int]
    parameters: Number
    gmacs: Number
    memory_mb: float | None
    source: str | None
    appendix: str | None = None

    @property
    def shape(self) -> str:
        """32x32x4."""
        return "x".join(map(str, self.input))


def counting_input(one: Variant, project: Project) -> dict[str, Any]:
    """The input for which a variant is counted.

    A variant with published numbers: theirs. A size of our own (``xs``): that of the first dataset
    in recipes.yaml that takes it. Any other: that of the published variant nearest in name, of the
    same family; so ``m-last`` has the input of ``m``, and DiT-S/4 that of the published DiTs.
    """
    if one.variant.published:
        return one.published_input
    base = one.size.split("-")[0]
    if base != OWN_SIZE:
        kin = [other for other in project.variants.values() if other.family == one.family]
        kin = [other for other in kin if other.variant.published]
        kin.sort(key=lambda other: (other.size != base, other.number != one.number))
        if kin:
            return kin[0].published_input
    for dataset in project.datasets:
        if one in project.fitting(dataset):
            return _input_of(project.recipe(dataset))
    raise DimrError(f"variants.yaml: {one.name}: no dataset of recipes.yaml takes it")


def _input_of(recipe: Recipe) -> dict[str, Any]:
    return {key: value for key, value in recipe.network_input.items() if key != "schedule"}


def count(
    one: Variant, project: Project, inputs: dict[str, Any], parameters_only: bool = False
) -> Counted:
    """Count a variant on an input (see ``counting_input``).

    Published numbers hold for the input that they were published for: for another they are left
    out. ``parameters_only`` takes 20 ms instead of 300.
    """
    from dimr.models.complexity import complexity, count_parameters, on_meta

    sizes = one.complete(**inputs)
    if parameters_only:
        parameters, gmacs, memory = count_parameters(on_meta(sizes)), None, None
    else:
        counted = complexity(sizes)
        parameters, gmacs = counted.parameters, counted.macs / 1e9
        memory = counted.activation_bytes / 1e6
    side, channels = inputs["input_size"], inputs["channels"]
    figures = one.variant.published if inputs == one.published_input else None
    exact: tuple[Any, Any] = (None, None)
    printed: tuple[Any, Any] = (None, None)
    size = load_published(project).variants.get(one.name) if figures else None
    if figures is not None and isinstance(figures.parameters, str):
        printed = (figures.parameters, figures.gmacs)
    elif figures is not None:  # the authors' DiMR, whose printed numbers are in published.yaml
        exact = (figures.parameters, figures.gmacs)
        printed = (size.parameters, size.gmacs) if size else (None, None)
    return Counted(
        listed=one,
        input=(side, side, channels),
        parameters=Number(parameters, exact[0], printed[0]),
        gmacs=Number(gmacs, exact[1], printed[1]),
        memory_mb=memory,
        source=figures.source if figures else None,
        appendix=size.appendix if size else None,
    )


def check_names(project: Project) -> None:
    """Refuse published sizes of unlisted variants, and published settings of unknown datasets."""
    published = load_published(project)
    for section, named, allowed in (
        ("variants", published.variants, list(project.variants)),
        ("settings", published.settings, project.datasets),
    ):
        for name in named:
            if name not in allowed:
                hint = did_you_mean(name, allowed)
                raise DimrError(f"published.yaml: {section}: unknown name {name!r} {hint}")


def chosen_variants(
    project: Project,
    patterns: Sequence[str] = (),
    family: str | None = None,
    dataset: str | None = None,
) -> list[tuple[Variant, dict[str, Any]]]:
    """Variants, and the input for which each is counted.

    Args:
        project: whose variants they are.
        patterns: names or patterns (``dimr-*-2r``), one of which must match; empty: all that
            variants.yaml lists. A pattern that matches no listed one may match others: ``*-rms-*``.
        family: only of this family.
        dataset: only those that this dataset accepts, for its input; None: see ``counting_input``.

    Raises:
        DimrError: a family or dataset that is not listed, or a pattern that matches nothing.
    """
    listed = list(project.variants.values()) if dataset is None else project.fitting(dataset)
    families = list(dict.fromkeys(one.family for one in project.variants.values()))
    if family is not None and family not in families:
        raise DimrError(f"variants.yaml: no family {family!r} {did_you_mean(family, families)}")
    listed = [one for one in listed if family in (None, one.family)]
    every, names, chosen = [one.name for one in listed], names_of(listed), set[str]()
    for pattern in patterns or ["*"]:
        matching = fnmatch.filter(names, pattern) or fnmatch.filter(every, pattern)
        if not matching and patterns:
            raise DimrError(
                f"variants.yaml: no variant matches {pattern!r} {did_you_mean(pattern, names)}"
            )
        chosen.update(matching)
    given = None if dataset is None else _input_of(project.recipe(dataset))
    return [(one, given or counting_input(one, project)) for one in listed if one.name in chosen]
