"""From a published checkpoint to a run's network and tensors; nothing is taken halfway."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dimr import settings
from dimr.errors import DimrError
from dimr.experiment import Listed, validate
from dimr.models import Network
from dimr.models.complexity import count_parameters
from dimr.models.convert import (
    FORMATS,
    ConversionError,
    from_published,
    recognise,
    to_published,
)
from dimr.weights.read import Facts, read_checkpoint
from dimr.weights.recognise import (
    Fit,
    differences,
    explain,
    find_listed,
    nearest_fit,
    wanted_sizes,
)

DIFFUSERS_SIZES = {
    "num_layers": "depth",
    "patch_size": "patch",
    "in_channels": "channels",
    "num_embeds_ada_norm": "num_classes",
}
"""Keys of diffusers' config.json, and what they are here."""
LABELS = ("num_classes", "has_null_label")


@dataclass(frozen=True)
class Asked:
    """What the user says of the weights; None: as they are, else as it is published.

    Attributes:
        variant: the listed variant that they should be.
        network: the network that they should be, input included.
        where: who says so, for messages.
        heads: attention heads, which no tensor tells.
        time_map: ``latent`` or ``pixel``.
        input_size: H = W of the input, which diffusers' tensors do not tell.
        schedule: of the noise.
    """

    variant: Listed | None = None
    network: settings.Network | None = None
    where: str = "--variant"
    heads: int | None = None
    time_map: str | None = None
    input_size: int | None = None
    schedule: str | None = None


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
    """

    network: settings.Network
    tensors: dict[str, Tensor]
    facts: Facts
    format: str
    in_file: int
    parameters: int
    listed: Listed | None
    nearest: Fit | None
    heads_from: str

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
        }

    def report(self) -> list[str]:
        """The same for people, a few lines."""
        network, facts, record = self.network, self.facts, self.record()
        under = f", tensors under {facts.taken!r}" if facts.taken else ""
        if facts.passed_over:
            under += f" (passed over: {', '.join(facts.passed_over)})"
        prefix = f", prefix {facts.prefix!r} removed" if facts.prefix else ""
        name = self.listed.name if self.listed else "no listed variant"
        null = "" if getattr(network, "has_null_label", True) else ', no label for "no class"'
        learns = ", learns its variance" if getattr(network, "learn_sigma", False) else ""
        size = f"{self.parameters / 1e6:.1f}M parameters, {self.in_file} tensors, all matched"
        lines = [
            f"read     {facts.path} ({facts.kind}{under}{prefix})",
            f"network  {name} ({size}; names: {self.format}{learns})",
            f"input    {network.channels} x {network.input_size} x {network.input_size}, "
            f"{network.num_classes} classes{null}",
            f"told     {network.heads} heads ({self.heads_from}), "  # type: ignore[attr-defined]
            f"time map {network.time_map}, noise schedule {network.schedule}",
            f"values   {', '.join(record['precision'])}, kept as they are",
        ]
        if self.nearest:
            near, whole = self.nearest, len(self.nearest.expected)
            heads = near.listed.variant.sizes()["heads"]
            fit = f"{near.agreeing} of {whole} tensors fit, {heads} heads"
            million = f"{near.parameters / 1e6:.1f}M parameters"
            lines.insert(2, f"nearest  {near.listed.name} ({million}; {fit})")
        return lines


def read_published(path: Path, asked: Asked) -> Imported:
    """Read weights of others, recognise the network and check every tensor's name and shape.

    Raises:
        DimrError: one line that names the file, what does not fit, and what would.
    """
    weights, facts = read_checkpoint(path)
    form, module = _convert(weights, facts, asked)
    sizes: dict[str, Any] = {"family": module.family, **module.sizes}
    _check_config(facts, sizes)
    listed = find_listed(sizes, heads=False)
    if listed:
        sizes.update(wanted_sizes(listed, sizes, heads=False))
    _check_asked(facts.file, sizes, asked, listed)
    sizes["heads"], heads_from = _heads(facts, sizes, asked, listed)
    own = "linear" if module.family == "dit" else sizes["time_map"]
    sizes["schedule"] = asked.schedule or (asked.network.schedule if asked.network else own)
    network = validate(settings.NETWORKS[module.family], sizes, str(facts.file))
    listed, nearest = find_listed(sizes), None
    if listed is None:
        names = to_published(module)
        nearest = nearest_fit(names, sizes, family=module.family, published=True)
    parameters = count_parameters(module)
    tensors = module.state_dict()
    return Imported(
        network, tensors, facts, form, len(weights), parameters, listed, nearest, heads_from
    )


def _convert(weights: Mapping[str, Tensor], facts: Facts, asked: Asked) -> tuple[str, Network]:
    """Format, and the network as if it had one head: no tensor depends on their number."""
    wanted = asked.network
    time_map = asked.time_map
    if time_map is None and wanted and wanted.family != "uvit":  # whose tensors tell it
        time_map = wanted.time_map
    input_size = facts.input_size or asked.input_size or (wanted.input_size if wanted else None)
    try:
        form = recognise(weights)
    except ConversionError as error:
        raise DimrError(f"{facts.file}: {error}") from None
    try:
        return form, from_published(weights, 1, time_map, input_size)
    except ConversionError as error:
        raise DimrError(f"{facts.file}: {explain(weights, form, error)}") from None


def _check_config(facts: Facts, sizes: Mapping[str, Any]) -> None:
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


def _check_asked(file: Path, sizes: dict[str, Any], asked: Asked, listed: Listed | None) -> None:
    """What the user says must agree with the weights, heads aside.

    Where tensors leave a choice (an even number of layers, what the last label of a U-ViT means),
    ``sizes`` becomes what was asked for.
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
        if _labels(sizes) == _labels(wanted):
            sizes.update({key: wanted[key] for key in LABELS if key in wanted})
    else:
        return
    if difference := differences(sizes, wanted):
        found = listed.name if listed else "a network of no listed variant"
        other = "but not as in" if found == name else f"not {name} of"
        raise DimrError(f"{file}: holds {found}, {other} {asked.where}: {difference}")
    sizes.update(wanted)


def _labels(sizes: Mapping[str, Any]) -> int:
    """Labels that a network has, "no class" included."""
    return sizes["num_classes"] + sizes.get("has_null_label", True)


def _heads(
    facts: Facts, sizes: Mapping[str, Any], asked: Asked, listed: Listed | None
) -> tuple[int, str]:
    """The number of heads, which no tensor tells, and who says it."""
    wanted = asked.network or (asked.variant.variant if asked.variant else None)
    stated = {
        "--heads": asked.heads,
        "config.json": facts.heads,
        asked.where: getattr(wanted, "heads", None),
    }
    said: dict[str, int] = {who: heads for who, heads in stated.items() if heads is not None}
    if len(set(said.values())) > 1:
        each = ", ".join(f"{heads} ({who})" for who, heads in said.items())
        raise DimrError(f"{facts.file}: number of heads: {each}: which?")
    width = sizes["dims"][0] if "dims" in sizes else sizes["dim"]
    published = FORMATS[sizes["family"]].HEADS
    if not said and listed:
        said = {f"as {listed.name} has": listed.variant.sizes()["heads"]}
    if not said and (isinstance(published, int) or width in published):
        known = published if isinstance(published, int) else published[width]
        said = {f"as published for width {width}; --heads N if not": known}
    if not said:
        raise DimrError(f"{facts.file}: no tensor tells the heads of width {width}: give --heads")
    who, heads = next(iter(said.items()))
    if width % heads:
        raise DimrError(f"{facts.file}: width {width} cannot be split into {heads} heads ({who})")
    return heads, who
