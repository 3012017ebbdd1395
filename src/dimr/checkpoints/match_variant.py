"""Which listed variant a network is, and which one its tensors come nearest to."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from dimr.checkpoints.formats import (
    FORMATS,
    ConversionError,
    check_tensors,
    names_in_file,
    to_published,
)
from dimr.config.project import PROJECT
from dimr.config.variants import Variant
from dimr.models import FAMILIES, Network
from dimr.models.complexity import count_parameters, on_meta
from dimr.models.sizes import blocks_built

INPUTS = ("input_size", "channels", "num_classes", "time_map")


def plain(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes as JSON has them: lists, not tuples."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in sizes.items()}


def wanted_sizes(one: Variant, sizes: Mapping[str, Any], *, heads: bool = True) -> dict[str, Any]:
    """The sizes that make a network the listed variant (``heads``: among them its heads).

    Published weights may have sizes that are not listed: a DiT learns its variance.
    """
    wanted, own = plain(one.sizes), FAMILIES[one.family].of_published
    if one.variant.published and all(sizes.get(key) == value for key, value in own.items()):
        wanted |= own
    if not heads:
        wanted.pop("heads", None)
    return {"family": one.family, **wanted}


def find_listed(sizes: Mapping[str, Any], *, heads: bool = True) -> Variant | None:
    """The listed variant of these sizes, one with published numbers first; None: not listed.

    Args:
        sizes: the network's, with ``family``.
        heads: whether its heads must agree.
    """
    same = [
        one
        for one in PROJECT.variants.values()
        if not differences(sizes, wanted_sizes(one, sizes, heads=heads))
    ]
    return min(same, key=lambda one: one.variant.published is None, default=None)


def differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """``layers [57, 29], not [39, 20]; ...`` for every key of ``wanted`` that differs.

    Networks of two families differ in that alone: their sizes cannot be compared. Branches of N
    and, N even, of N + 1 layers are the same network, which tensors cannot tell apart.
    """
    keys = ["family"] if found["family"] != wanted["family"] else list(wanted)
    return "; ".join(
        f"{key} {found.get(key)}, not {wanted[key]}"
        for key in keys
        if _as_built(key, found.get(key)) != _as_built(key, wanted[key])
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
        agreeing: how many of them are there with the right shape.
        wrong: how many are missing, misshapen, or one too many.
    """

    listed: Variant
    parameters: int
    expected: dict[str, Tensor]
    agreeing: int
    wrong: int


def nearest_fit(
    tensors: Mapping[str, Tensor],
    inputs: Mapping[str, Any],
    *,
    family: str | None,
    published: bool,
) -> Fit | None:
    """The listed variant that most of the tensors fit; of several, the nearest in parameters.

    Args:
        tensors: by name.
        inputs: what the network is told of its input (``INPUTS``); the paper's is tried as well.
        family: of the variants that are tried; None: all.
        published: whether names are the authors' or ours.

    Returns:
        None if no variant can be built for such inputs.
    """
    there = sum(tensor.numel() for tensor in tensors.values()) or 1
    best: Fit | None = None

    def closeness(fit: Fit) -> tuple[int, float, bool]:
        distance = abs(math.log(fit.parameters / there))
        return fit.agreeing - fit.wrong, -distance, fit.listed.variant.published is not None

    for one in PROJECT.variants.values():
        for network in _candidates(one, inputs) if family in (None, one.family) else ():
            try:
                expected = to_published(network) if published else network.state_dict()
            except ConversionError:  # an ablation, which has no published form
                continue
            agreeing, wrong = compare(tensors, expected)
            fit = Fit(one, count_parameters(network), dict(expected), agreeing, wrong)
            best = fit if best is None else max(best, fit, key=closeness)
    return best


def _candidates(one: Variant, inputs: Mapping[str, Any]) -> Iterator[Network]:
    """The variant without memory, for the inputs given and for those of the paper."""
    given = {key: inputs[key] for key in INPUTS if key in inputs}
    if one.family == "uvit" and given and "final_conv" in inputs:
        given["final_conv"] = inputs["final_conv"]
    published = FAMILIES[one.family].of_published if one.variant.published else {}
    tried: list[dict[str, Any]] = []
    for values in (given, one.published_input):
        for own in ({}, published):
            sizes = {**one.sizes, **own, **values}
            if len(values) < len(INPUTS) or sizes in tried:
                continue
            tried.append(sizes)
            with contextlib.suppress(ValueError, RuntimeError):  # an input that cannot be cut so
                yield on_meta(FAMILIES[one.family](**sizes))


def compare(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> tuple[int, int]:
    """How many tensors agree in name and shape, and how many names do not."""
    names = expected.keys() | tensors.keys()
    common = expected.keys() & tensors.keys()
    agreeing = sum(expected[name].shape == tensors[name].shape for name in common)
    return agreeing, len(names) - agreeing


def explain(weights: Mapping[str, Tensor], form: str, error: ConversionError) -> str:
    """Why a file's tensors are no network, in one line.

    The sizes are read from tensors that may be the wrong ones. So where a listed variant is as
    near, what is told is how they differ from that.

    Args:
        weights: by the file's names.
        form: their format.
        error: what is wrong by the sizes as they were read.
    """
    module = FORMATS[form]
    sizes: dict[str, Any] = {}
    try:
        tensors = module.to_ours(dict(weights))
    except ConversionError:
        return str(error)
    wrong = len(tensors)
    try:
        sizes = module.read_sizes(tensors, 1, None, None)
        wrong = compare(tensors, to_published(on_meta(module.SIZES(**sizes))))[1]
    except (KeyError, ValueError, RuntimeError):  # ``error`` says which
        pass
    fit = nearest_fit(tensors, sizes, family=module.SIZES.family, published=True)
    if fit is None or fit.wrong > wrong or 2 * fit.agreeing < len(fit.expected):
        return str(error)
    if form == "diffusers-dit":  # whose position embedding is a formula
        tensors.setdefault("pos_embed", fit.expected["pos_embed"])
    try:
        check_tensors(tensors, fit.expected, names_in_file(module))
    except ConversionError as other:
        of = f"{fit.agreeing} of {len(fit.expected)} tensors are those of {fit.listed.name}"
        return f"{other}; {of}"
    return str(error)
