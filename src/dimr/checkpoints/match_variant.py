"""Which listed variant a network is, and which one its tensors come nearest to."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from torch import Tensor

from dimr.checkpoints.formats import to_published
from dimr.checkpoints.formats.base import ConversionError, Format
from dimr.config.project import PROJECT
from dimr.config.variants import Variant
from dimr.models import FAMILIES, Network
from dimr.models.complexity import count_parameters, on_meta
from dimr.models.sizes import blocks_built
from dimr.runtime.tensors import first_difference

INPUT = {"input_size", "channels", "num_classes", "time_map"}
"""Sizes that describe a network's input."""


def listed_sizes(one: Variant) -> dict[str, Any]:
    """The sizes that make a network the listed variant, plain JSON, with ``family``.

    Published weights may have sizes that papers do not mention: a DiT learns its variance.
    """
    free = FAMILIES[one.family].of_published if one.variant.published else {}
    sizes = {key: value for key, value in one.sizes.items() if key not in free}
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}
    return {"family": one.family, **plain}


def find_listed(sizes: Mapping[str, Any]) -> Variant | None:
    """The listed variant of these sizes, one with published numbers first; None: not listed."""
    same = [one for one in PROJECT.variants.values() if not differences(sizes, listed_sizes(one))]
    return min(same, key=lambda one: one.variant.published is None, default=None)


def differences(sizes: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """``layers [57, 29], not [39, 20]; ...`` for every size that is known and not as wanted.

    Of networks of two families only the families are compared, as their sizes cannot be. For even
    N, branches of N and of N + 1 layers are the same network, which tensors cannot tell apart.
    """
    keys = [key for key in wanted if key in sizes]
    if "family" in wanted and sizes["family"] != wanted["family"]:
        keys = ["family"]
    return "; ".join(
        f"{key} {sizes[key]}, not {wanted[key]}"
        for key in keys
        if _as_built(key, sizes[key]) != _as_built(key, wanted[key])
    )


def _as_built(key: str, value: Any) -> Any:
    return [blocks_built(layers) for layers in value] if key == "layers" else value


@dataclass(frozen=True)
class Fit:
    """How well tensors fit a listed variant.

    Attributes:
        listed: the variant.
        parameters: how many it has.
        expected: its tensors by name, on the meta device.
        agreeing: how many of them exist with the right shape.
        wrong: how many are missing, misshapen, or one too many.
    """

    listed: Variant
    parameters: int
    expected: dict[str, Tensor]
    agreeing: int
    wrong: int

    def __str__(self) -> str:
        return f"{self.agreeing} of {len(self.expected)} tensors"


def nearest_fit(
    tensors: Mapping[str, Tensor],
    sizes: Mapping[str, Any],
    *,
    family: str | None,
    published: bool,
) -> Fit | None:
    """The listed variant that most of the tensors fit; of several, the nearest in parameters.

    Args:
        tensors: by name.
        sizes: what is known of the network; the paper's input is tried as well.
        family: of the variants that are tried; None: all.
        published: whether names are the authors' or ours.

    Returns:
        None if no variant can be built for such inputs.
    """
    there = sum(tensor.numel() for tensor in tensors.values()) or 1

    def fits() -> Iterator[Fit]:
        for one in PROJECT.variants.values():
            for network in _candidates(one, sizes) if family in (None, one.family) else ():
                with contextlib.suppress(ConversionError):  # an ablation, which is not published
                    expected = to_published(network) if published else network.state_dict()
                    agreeing, wrong = compare(tensors, expected)
                    yield Fit(one, count_parameters(network), dict(expected), agreeing, wrong)

    def closeness(fit: Fit) -> tuple[int, float, bool]:
        distance = abs(math.log(fit.parameters / there))
        return fit.agreeing - fit.wrong, -distance, fit.listed.variant.published is not None

    return max(fits(), key=closeness, default=None)


def _candidates(one: Variant, sizes: Mapping[str, Any]) -> Iterator[Network]:
    """The variant without allocated memory, for the input of ``sizes`` and for the paper's."""
    family = FAMILIES[one.family]
    tried: list[dict[str, Any]] = []
    allowed = {field.name for field in fields(family)}
    for known in (sizes, {**one.published_input, **family.of_published}):
        arguments = {**known, **listed_sizes(one)}
        arguments = {key: value for key, value in arguments.items() if key in allowed}
        if known.keys() >= INPUT and arguments not in tried:
            tried.append(arguments)
            with contextlib.suppress(ValueError, RuntimeError):  # patches do not divide the input
                yield on_meta(one.complete(**arguments))


def compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many tensors agree in name and shape, and how many names do not."""
    names = expected.keys() | tensors.keys()
    common = expected.keys() & tensors.keys()
    agreeing = sum(expected[name].shape == tensors[name].shape for name in common)
    return agreeing, len(names) - agreeing


def explain(weights: Mapping[str, Tensor], form: Format, error: ConversionError) -> str:
    """Why a file's tensors are not those of a network, in one line.

    The sizes are read from tensors that may be the wrong ones. So where a listed variant is as
    near, the line says how they differ from that.

    Args:
        weights: by the file's names.
        form: their format.
        error: what is wrong according to the sizes that were read.
    """
    sizes: dict[str, Any] = {}
    try:
        tensors = form.decode(dict(weights))
    except ConversionError:
        return str(error)
    wrong = len(tensors)
    with contextlib.suppress(ValueError, RuntimeError, OverflowError):  # ``error`` says which
        built = form.sizes_of(tensors, 1, None, None)
        sizes = built.arguments()
        wrong = compare(tensors, to_published(on_meta(built)))[1]
    fit = nearest_fit(tensors, sizes, family=form.sizes.family, published=True)
    if fit is None or fit.wrong > wrong or 2 * fit.agreeing < len(fit.expected):
        return str(error)
    form.add_computed(tensors, fit.expected)
    difference = first_difference(tensors, fit.expected, form.name_in_file)
    return f"{difference}; {fit} are those of {fit.listed.name}" if difference else str(error)
