"""From a published checkpoint to a run's network and tensors; nothing is taken halfway."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dimr.checkpoints.find_network import listing
from dimr.checkpoints.formats import from_published, recognise, to_published
from dimr.checkpoints.formats.base import ConversionError, Format
from dimr.checkpoints.import_options import (
    PUBLISHED_CHANNELS,
    ImportOptions,
    Noise,
    Told,
    as_built,
)
from dimr.checkpoints.match_variant import Fit, explain, find_listed, listed_sizes, nearest_fit
from dimr.checkpoints.model_folder import write_class_names, write_model
from dimr.checkpoints.read import CheckpointInfo, read_checkpoint
from dimr.checkpoints.recorded import RECORDED
from dimr.config.schema import NetworkConfig
from dimr.config.variants import Variant, check_network
from dimr.models import Network
from dimr.models.complexity import count_parameters
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256


@dataclass(frozen=True)
class Imported:
    """Weights that were read, matched and found whole.

    Attributes:
        network: complete, as config.json of a run's model says it.
        tensors: by our names, in the file's precision.
        info: what the file is.
        format: that of the file's tensor names (a key of ``FORMATS``).
        in_file: number of tensors in the file.
        parameters: number of learned values.
        listed: the variant of variants.yaml; None: none.
        nearest: the nearest variant if it is none of them.
        heads_from: who states the number of heads.
        noise: how they were trained, or what must be stated about it.
        class_names: by label, as the file has them; empty: it has none.
    """

    network: NetworkConfig
    tensors: dict[str, Tensor]
    info: CheckpointInfo
    format: str
    in_file: int
    parameters: int
    listed: Variant | None
    nearest: Fit | None
    heads_from: str
    noise: Noise
    class_names: Sequence[str] = ()

    def require_told(self) -> None:
        """Refuse weights about which something must be stated before they can be used."""
        if self.noise.untold:
            raise DimrError(f"{self.info.file}: {self.noise.untold}")

    def write(self, folder: Path, class_names: Sequence[str] = ()) -> None:
        """Write the model into an existing folder; raises as ``write_model``.

        ``class_names`` are by label; empty: those that the file says, if it does.
        """
        write_model(folder, self.network, self.tensors, objective=self.noise.objective)
        if names := class_names or self.class_names:
            write_class_names(folder, names)

    def source(self) -> dict[str, Any]:
        """What was read, and the file's checksum; plain JSON."""
        return {**self.info.record(), "sha256": sha256(self.info.file)}

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
        """What was read and matched, for people, a few lines."""
        network, info, noise, near = self.network.model_dump(), self.info, self.noise, self.nearest
        source = info.kind + (f", tensors under {info.taken!r}" if info.taken else "")
        source += f" (passed over: {listing(info.passed_over)})" if info.passed_over else ""
        source += f", prefix {info.prefix!r} removed" if info.prefix else ""
        name = self.listed.name if self.listed else "no listed variant"
        more = ", learns its variance" if self.network.sizes.learns_variance else ""
        more += ", ends in a convolution" if as_built(network).get("final_conv") else ""
        side, told_of = network["input_size"], f"{network['num_classes']} classes"
        if not network.get("has_null_label", True):
            told_of += ', no label for "no class"'
        if width := network.get("text_dim"):
            told_of = f"text: {network.get('text_tokens', 'any number of')} tokens of width {width}"
        told = f"{network['heads']} heads ({self.heads_from})"
        if not noise.untold:
            told += f", time map {network['time_map']}, noise schedule {network['schedule']} "
            told += f"({noise.schedule_from}), objective {noise.objective or 'unknown'}"
        lines = [
            ("read", f"{info.path} ({source})"),
            ("network", f"{name} ({_millions(self.parameters)} parameters, {self.in_file} tensors, "
                        f"all matched; names: {self.format}{more})"),
            ("nearest", f"{near.listed.name} ({_millions(near.parameters)} parameters; {near} fit, "
                        f"{near.listed.sizes['heads']} heads)" if near else ""),
            ("input", f"{network['channels']} x {side} x {side}, {told_of}"),
            ("told", told),
            ("values", f"{', '.join(self.record()['precision'])}, kept as they are"),
            ("untold", noise.untold),
        ]  # fmt: skip
        return [f"{label:8} {text}" for label, text in lines if text]


def _millions(parameters: int) -> str:
    return f"{parameters / 1e6:.1f}M"


def read_published(path: Path, options: ImportOptions) -> Imported:
    """Read others' weights, recognise the network and check every tensor's name and shape.

    Args:
        path: what ``read_checkpoint`` takes.
        options: what is stated about the weights; it must agree with them.

    Raises:
        DimrError: one line that names the file, what does not fit, and what would.
    """
    return match_published(*read_checkpoint(path), options)


def match_published(
    weights: Mapping[str, Tensor], info: CheckpointInfo, options: ImportOptions
) -> Imported:
    """As ``read_published``, for what ``read_checkpoint`` has read."""
    told = Told(info, options)
    form, module = _convert(weights, told)
    sizes: dict[str, Any] = {"family": module.family, **module.sizes.arguments()}
    sizes.pop("heads")  # not known yet
    listed = find_listed(sizes)
    if listed:  # an even number of layers, which tensors leave open
        sizes |= {k: v for k, v in listed_sizes(listed).items() if k in sizes}
    sizes |= told.labels(sizes, listed)
    sizes = told.check(sizes, listed)
    sizes["heads"], heads_from = told.heads(sizes, listed)
    noise = told.noise(form, sizes)
    network = check_network({**sizes, "schedule": noise.schedule}, str(info.file))
    class_names = info.recorded.get("class_names", ())
    if class_names and len(class_names) != network.num_classes:
        found = f"{len(class_names)} names for {network.num_classes} classes"
        raise DimrError(f"{info.file}: {RECORDED}: class_names: {found}")
    listed, nearest = find_listed(sizes), None
    if listed is None:
        names = to_published(module)
        nearest = nearest_fit(names, sizes, family=module.family, published=True)
    return Imported(
        network, module.state_dict(), info, form.name, len(weights), count_parameters(module),
        listed, nearest, heads_from, noise, class_names,
    )  # fmt: skip


def _convert(weights: Mapping[str, Tensor], told: Told) -> tuple[Format, Network]:
    """Format, and the network as if it had one head: no tensor depends on their number."""
    try:
        form = recognise(weights)
    except ConversionError as error:
        raise DimrError(f"{told.info.file}: {error}") from None
    told.refuse_other_objectives(form)
    time_map, schedule, input_size = (
        found[0] if (found := told.agreed(key)) else None
        for key in ("time_map", "schedule", "input_size")
    )
    try:
        module = from_published(weights, 1, time_map, input_size)
        is_usual = module.sizes.channels in PUBLISHED_CHANNELS
        if time_map is None and not is_usual and schedule in ("latent", "pixel"):
            module = from_published(weights, 1, schedule, input_size)  # the two go together
        return form, module
    except ConversionError as error:
        raise DimrError(f"{told.info.file}: {explain(weights, form, error)}") from None
