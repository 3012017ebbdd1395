"""From a published checkpoint to a run's network and tensors; nothing is taken halfway."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dimr.checkpoints.formats import (
    ConversionError,
    from_published,
    recognise,
    to_published,
)
from dimr.checkpoints.groups import listing
from dimr.checkpoints.match_variant import (
    Fit,
    differences,
    explain,
    find_listed,
    nearest_fit,
    wanted_sizes,
)
from dimr.checkpoints.read import CheckpointInfo, read_checkpoint
from dimr.checkpoints.recorded import ALLOWED
from dimr.checkpoints.told import (
    PUBLISHED_CHANNELS,
    RECORDED,
    ImportOptions,
    Noise,
    classes_of,
    heads_of,
    noise_of,
    refuse_other_objectives,
    schedule_of,
    time_map_of,
)
from dimr.config import schema
from dimr.config.schema import NetworkConfig
from dimr.config.validation import validate
from dimr.config.variants import Variant
from dimr.models import Network
from dimr.models.complexity import count_parameters
from dimr.models.sizes import ends_in_convolution
from dimr.runtime.errors import DimrError

DIFFUSERS_SIZES = {
    "num_layers": "depth",
    "patch_size": "patch",
    "in_channels": "channels",
    "num_embeds_ada_norm": "num_classes",
}
"""Keys of diffusers' config.json, and what they are here."""


@dataclass(frozen=True)
class Imported:
    """Weights that were read, matched and found whole.

    Attributes:
        network: complete, as config.json of a run's model says it.
        tensors: by our names, in the file's precision.
        facts: what the file is.
        format: whose names it has (a key of ``FORMATS``).
        in_file: number of tensors in the file.
        parameters: number of learned values.
        listed: the variant of variants.yaml; None: none.
        nearest: the nearest variant if none is it.
        heads_from: who says the number of heads.
        noise: how they were trained, or what must be told of it.
    """

    network: NetworkConfig
    tensors: dict[str, Tensor]
    facts: CheckpointInfo
    format: str
    in_file: int
    parameters: int
    listed: Variant | None
    nearest: Fit | None
    heads_from: str
    noise: Noise

    def record(self) -> dict[str, Any]:
        """What matched, plain JSON."""
        precisions = Counter(str(t.dtype).removeprefix("torch.") for t in self.tensors.values())
        return {
            "format": self.format,
            "variant": self.listed.name if self.listed else None,
            "nearest": self.nearest.listed.name if self.nearest else None,
            "tensors": self.in_file,
            "parameters": self.parameters,
            "precision": dict(precisions),
            "heads_from": self.heads_from,
            "schedule_from": self.noise.schedule_from,
            "objective": self.noise.objective,
        }

    def report(self) -> list[str]:
        """The same for people, a few lines."""
        network, facts, noise = self.network, self.facts, self.noise
        under = f", tensors under {facts.taken!r}" if facts.taken else ""
        if facts.passed_over:
            under += f" (passed over: {listing(facts.passed_over)})"
        prefix = f", prefix {facts.prefix!r} removed" if facts.prefix else ""
        name = self.listed.name if self.listed else "no listed variant"
        null = "" if getattr(network, "has_null_label", True) else ', no label for "no class"'
        more = ", learns its variance" if getattr(network, "learn_sigma", False) else ""
        more += ", ends in a convolution" if _ends_in_convolution(network.model_dump()) else ""
        size = f"{self.parameters / 1e6:.1f}M parameters, {self.in_file} tensors, all matched"
        told = f"{network.heads} heads ({self.heads_from})"  # type: ignore[attr-defined]
        if not noise.untold:
            told += f", time map {network.time_map}, noise schedule {network.schedule} "
            told += f"({noise.schedule_from}), objective {noise.objective or 'unknown'}"
        lines = [
            f"read     {facts.path} ({facts.kind}{under}{prefix})",
            f"network  {name} ({size}; names: {self.format}{more})",
            f"input    {network.channels} x {network.input_size} x {network.input_size}, "
            f"{network.num_classes} classes{null}",
            f"told     {told}",
            f"values   {', '.join(self.record()['precision'])}, kept as they are",
        ]
        if noise.untold:
            lines.append(f"untold   {noise.untold}")
        if self.nearest:
            near, whole = self.nearest, len(self.nearest.expected)
            heads = near.listed.variant.sizes()["heads"]
            fit = f"{near.agreeing} of {whole} tensors fit, {heads} heads"
            million = f"{near.parameters / 1e6:.1f}M parameters"
            lines.insert(2, f"nearest  {near.listed.name} ({million}; {fit})")
        return lines


def read_published(path: Path, asked: ImportOptions) -> Imported:
    """Read weights of others, recognise the network and check every tensor's name and shape.

    Raises:
        DimrError: one line that names the file, what does not fit, and what would.
    """
    weights, facts = read_checkpoint(path)
    form, module = _convert(weights, facts, asked)
    sizes: dict[str, Any] = {"family": module.family, **module.sizes.arguments()}
    _check_config(facts, sizes)
    listed = find_listed(sizes, heads=False)
    if listed:
        sizes.update(wanted_sizes(listed, sizes, heads=False))
    sizes.update(classes_of(facts, sizes, asked, listed))
    _check_recorded(facts, sizes)
    _check_asked(facts.file, sizes, asked, listed)
    sizes["heads"], heads_from = heads_of(facts, sizes, asked, listed)
    noise = noise_of(facts, form, sizes, asked)
    sizes["schedule"] = noise.schedule
    network = validate(schema.NETWORKS[module.family], sizes, str(facts.file))
    listed, nearest = find_listed(sizes), None
    if listed is None:
        names = to_published(module)
        nearest = nearest_fit(names, sizes, family=module.family, published=True)
    parameters = count_parameters(module)
    tensors = module.state_dict()
    return Imported(
        network, tensors, facts, form, len(weights), parameters, listed, nearest, heads_from, noise
    )


def _convert(
    weights: Mapping[str, Tensor], facts: CheckpointInfo, asked: ImportOptions
) -> tuple[str, Network]:
    """Format, and the network as if it had one head: no tensor depends on their number."""
    try:
        form = recognise(weights)
    except ConversionError as error:
        raise DimrError(f"{facts.file}: {error}") from None
    refuse_other_objectives(facts, form)
    wanted, time_map = asked.network, time_map_of(facts, asked)
    input_size = facts.input_size or asked.input_size or (wanted.input_size if wanted else None)
    try:
        module = from_published(weights, 1, time_map, input_size)
        schedule = schedule_of(facts, asked)
        unusual = module.sizes.channels not in PUBLISHED_CHANNELS
        if schedule and schedule[0] in ALLOWED["time_map"] and time_map is None and unusual:
            module = from_published(weights, 1, schedule[0], input_size)  # the two go together
        return form, module
    except ConversionError as error:
        raise DimrError(f"{facts.file}: {explain(weights, form, error)}") from None


def _check_config(facts: CheckpointInfo, sizes: Mapping[str, Any]) -> None:
    """Weights and config.json of a diffusers folder must agree."""
    for key, size in DIFFUSERS_SIZES.items():
        said = facts.config.get(key)
        if said is not None and said != sizes[size]:
            raise DimrError(f"{facts.file}: has {size} {sizes[size]}; config.json: {key} {said!r}")
    width = facts.config.get("attention_head_dim")
    if facts.heads and width and facts.heads * width != sizes["dim"]:
        raise DimrError(
            f"{facts.file}: is {sizes['dim']} wide; config.json: {facts.heads} heads of {width}"
        )


def _check_recorded(facts: CheckpointInfo, sizes: dict[str, Any]) -> None:
    """What the file says of itself must agree with its tensors.

    Where they leave a choice (an even number of layers), ``sizes`` becomes what it says.
    """
    said = {key: value for key, value in facts.recorded.items() if key in ("family", "layers")}
    wanted = {"family": sizes["family"], **said}
    has_conv = _ends_in_convolution(sizes)
    if sizes["family"] == "uvit" and facts.recorded.get("final_conv", has_conv) != has_conv:
        raise DimrError(f"{facts.file}: final_conv {has_conv}, not {not has_conv} ({RECORDED})")
    if difference := differences(sizes, wanted):
        raise DimrError(f"{facts.file}: {difference} ({RECORDED})")
    sizes.update(wanted)


def _ends_in_convolution(sizes: Mapping[str, Any]) -> bool:
    """Whether sizes are of a U-ViT that ends in a convolution, as they say it or as published."""
    final_conv = sizes.get("final_conv")
    return sizes["family"] == "uvit" and ends_in_convolution(sizes["time_map"], final_conv)


def _check_asked(
    file: Path, sizes: dict[str, Any], asked: ImportOptions, listed: Variant | None
) -> None:
    """What the user says must agree with the weights, heads aside.

    Where tensors leave a choice (an even number of layers), ``sizes`` becomes what was asked for.
    """
    if asked.input_size and asked.input_size != sizes["input_size"]:
        raise DimrError(
            f"{file}: input size {sizes['input_size']}, not {asked.input_size} (--input-size)"
        )
    if asked.variant is not None:
        wanted, name = wanted_sizes(asked.variant, sizes, heads=False), asked.variant.name
    elif asked.network is not None:
        wanted = asked.network.model_dump(mode="json", exclude={"heads", "schedule"})
        there = find_listed(wanted, heads=False)
        name = there.name if there else "its network"
    else:
        return
    has_conv = {"final_conv": _ends_in_convolution(sizes)}
    expected = {**wanted, "final_conv": _ends_in_convolution(wanted)} if asked.network else wanted
    if difference := differences({**sizes, **has_conv}, expected):
        found = listed.name if listed else "a network of no listed variant"
        other = "but not as in" if found == name else f"not {name} of"
        raise DimrError(f"{file}: holds {found}, {other} {asked.where}: {difference}")
    sizes.update(wanted)
