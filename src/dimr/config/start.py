"""What a training starts from in place of fresh weights: ``train.from``, a run or a file."""

import contextlib
import re
from typing import TYPE_CHECKING, Any

from dimr.config.schema import NetworkConfig
from dimr.models.sizes import UViTSizes, blocks_built, ends_in_convolution
from dimr.runtime.errors import DimrError

if TYPE_CHECKING:
    from dimr.config.project import Project
    from dimr.config.runs import Run

# a seed is written in one way: 01 would be another run with the same images as 1
RUN_NAME = re.compile(r"([\w-]+)/([\w-]+)/(0|[1-9][0-9]{0,17}|published)")
"""The name of a run: dataset, model, and seed or ``published``."""
OF_DATA = ("num_classes", "has_null_label", "input_size")
"""Sizes in which networks may differ: rows of the label embedding, and where positions are."""
OF_RECIPE = ("channels", "time_map", "text_dim", "text_tokens")
"""Sizes that the recipe says, not the variant."""


def is_run(start: str) -> bool:
    """Whether ``train.from`` names a run, not the path of a model folder or of weights."""
    return start == "workspace" or RUN_NAME.fullmatch(start) is not None


def start_run(
    start: str | None, network: NetworkConfig, project: "Project", source: str
) -> "Run | None":
    """The run that a training starts from, whose network must match the training's.

    Args:
        start: ``train.from``.
        network: of the training.
        project: that holds the runs.
        source: the file that says so, for messages.

    Returns:
        None: it starts from fresh weights, or from a file's.

    Raises:
        DimrError: no such run, one without a network or with another, or one that starts from this
            one; the message is one line.
    """
    if start is None or not is_run(start):
        return None
    where = f"{source}: train.from: {start}"
    if start == "workspace":
        raise DimrError(f"{where} changes with params.yaml: name another run")
    if start in project.resolving:
        raise DimrError(f"{where} starts from this run itself")
    try:
        run = project.run(start)
    except DimrError as error:
        is_path = start.split("/")[0] not in project.recipes
        hint = " (the path of a folder begins with / or ./)" if is_path else ""
        raise DimrError(f"{where}: {error}{hint}") from None
    if run.network is None:
        raise DimrError(f"{where} has no network: its images are those of the dataset")
    if problem := misfit(run.network, network, project):
        raise DimrError(f"{where} {problem}")
    return run


def misfit(start: NetworkConfig, network: NetworkConfig, project: "Project") -> str | None:
    """The first size in which a network cannot start from another's weights; None: it can.

    Args:
        start: the network of these weights.
        network: that of the training.
        project: whose variants the advice names.

    Returns:
        ``is a DiMR of dims [128, 64]; this run's has [960, 480]: choose ...``.
    """
    theirs, ours = _built(start), _built(network)
    # positions of text tokens lie among those of the image, and are not interpolated
    same_side = {"input_size"} if network.sizes.counts_tokens and network.text_dim else set()
    keys = (key for key in {**theirs, **ours} if key not in {*OF_DATA} - same_side)
    key = next((key for key in keys if theirs.get(key) != ours.get(key)), None)
    if key is None:
        return None
    advice = "choose model.family and model.variant"
    if key in OF_RECIPE:
        advice = f"both datasets need the same network.{key} (recipes.yaml)"
    elif model := _variant_of(start, project):
        advice = f"choose the model {model}"
    if key == "family":
        return f"is a {start.sizes.title}; this run trains a {network.sizes.title}: {advice}"
    had, has = (
        one.sizes.arguments().get(key, built.get(key))
        for one, built in ((start, theirs), (network, ours))
    )
    return f"is a {start.sizes.title} of {key} {had}; this run's has {has}: {advice}"


def _variant_of(network: NetworkConfig, project: "Project") -> str | None:
    """The name of the variant that a network is; None: none that is listed."""
    known = network.model_dump(include={*OF_DATA, *OF_RECIPE, "final_conv"})
    for one in project.variants.values():
        if one.family == network.family:
            with contextlib.suppress(ValueError):  # a patch that does not divide this input
                if one.complete(**known) == network.sizes:
                    return one.name
    return None


def _built(network: NetworkConfig) -> dict[str, Any]:
    """Sizes as tensors have them, the family first."""
    sizes = network.sizes
    found = {"family": network.family, **sizes.arguments()}
    if "layers" in found:
        found["layers"] = [blocks_built(layers) for layers in found["layers"]]
    if not sizes.counts_tokens:
        found.pop("text_tokens", None)  # any number
    if isinstance(sizes, UViTSizes):
        found["final_conv"] = ends_in_convolution(sizes.time_map, sizes.final_conv)
    return found
