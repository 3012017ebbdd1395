"""Weights that another network starts from: of other classes, or for inputs of another size.

All sizes but these two must be the same (``dimr.config.start.misfit``). Rows of the label embedding
are taken class by class. Positions are interpolated over the image, bicubically and with smoothing,
as timm's ``resample_abs_pos_embed`` does; those of tokens that are no patches stay. A DiT's
positions are a formula: there is nothing to do.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from dimr.checkpoints.formats import ConversionError, recognise
from dimr.checkpoints.import_options import ImportOptions
from dimr.checkpoints.import_published import match_published
from dimr.checkpoints.model_folder import CONFIG, WEIGHTS, read_class_names, read_model
from dimr.checkpoints.read import read_checkpoint
from dimr.config.project import PROJECT
from dimr.config.schema import NetworkConfig
from dimr.config.start import misfit
from dimr.config.variants import check_network
from dimr.models.complexity import on_meta
from dimr.models.sizes import FAMILIES
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.tensors import first_difference, first_unsound

LABEL, POSITION = "label.weight", "position"
"""Endings of the names of the label embedding and of positions."""


@dataclass(frozen=True)
class StartWeights:
    """Weights, and what they belong to.

    Attributes:
        tensors: by our names, on the CPU.
        network: that they belong to.
        class_names: by label; None: not known.
    """

    tensors: Mapping[str, Tensor]
    network: NetworkConfig
    class_names: list[str] | None = None

    def label_rows(self, network: NetworkConfig, same: Iterable[int | None]) -> list[int | None]:
        """For each row of another network's label embedding, the row here; None: there is none.

        Args:
            network: the other one.
            same: for each of its classes the label of the same class here.
        """
        null = self.network.num_classes if _has_null(self.network) else None
        return [*same, *[null] * _has_null(network)]

    def value(self, name: str, fresh: Tensor, rows: Sequence[int | None]) -> Tensor:
        """What a parameter of the other network starts as, on the CPU.

        Args:
            name: of the parameter.
            fresh: as it was initialised; its values matter only for the label embedding.
            rows: from ``label_rows``.
        """
        own = self.tensors[name]
        if name.endswith(LABEL):
            value = fresh.detach().to("cpu", copy=True)
            for row, label in enumerate(rows):
                if label is not None:
                    value[row] = own[label]
            return value
        if name.endswith(POSITION) and own.shape != fresh.shape:
            return resize_positions(own, side_of(fresh))
        return own

    def resized(self, parameters: Mapping[str, Tensor]) -> list[str]:
        """Which positions are interpolated for another network: ``8x8 -> 16x16`` of each branch."""
        sides = [
            (side_of(self.tensors[name]), side_of(like))
            for name, like in parameters.items()
            if name.endswith(POSITION)
        ]
        return [f"{old}x{old} -> {new}x{new}" for old, new in sides if old != new]


def resize_positions(positions: Tensor, side: int) -> Tensor:
    """Positions of the same kind for an image of ``side`` patches per side, in float32.

    Args:
        positions: (h, w, D), or (E + h w, D) with h = w, where E belong to no patch and stay.
        side: of the new grid.
    """
    values, old = positions.float(), side_of(positions)
    extras = 0 if values.ndim == 3 else len(values) - old**2
    grid = values[extras:].reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, D, h, w)
    grid = functional.interpolate(grid, size=(side, side), mode="bicubic", antialias=True)
    grid = grid[0].permute(1, 2, 0)
    if values.ndim == 3:
        return grid.contiguous()
    return torch.cat([values[:extras], grid.flatten(0, 1)])


def side_of(positions: Tensor) -> int:
    """h = w of positions (h, w, D) or (E + h w, D), where E is 2 at most."""
    return positions.shape[0] if positions.ndim == 3 else isqrt(positions.shape[0])


def _has_null(network: NetworkConfig) -> bool:
    """Whether there is a label for "no class"."""
    return bool(getattr(network, "has_null_label", True))


# --- reading --------------------------------------------------------------------------------------


def read_start(path: Path, network: NetworkConfig) -> StartWeights:
    """Read weights that a network can start from.

    Args:
        path: a model folder of ours, the weights in it, or what ``read_checkpoint`` takes.
        network: the one that starts.

    Raises:
        DimrError: a missing or damaged file, values that are not finite, or weights of a network
            that differs in more than classes and the input's size; one line.
    """
    if not path.exists():
        raise DimrError(f"train.from: {path}: no such file")
    folder = path.parent if path.name == WEIGHTS else path
    found = _read_folder(folder) if _is_ours(folder) else _read_file(path, network)
    if problem := misfit(found.network, network, PROJECT):
        raise DimrError(f"train.from: {path} {problem}")
    return found


def _is_ours(folder: Path) -> bool:
    """Whether it is the model folder of a run, not diffusers'."""
    if not (folder / CONFIG).is_file():
        return False
    config = read_json(folder / CONFIG)
    return isinstance(config, dict) and "family" in config and "_class_name" not in config


def _read_folder(folder: Path) -> StartWeights:
    network, config = read_model(folder)
    tensors, names = network.state_dict(), read_class_names(folder)
    if problem := first_unsound(tensors):
        raise DimrError(f"{folder / WEIGHTS}: {problem}")
    if names is not None and len(names) != config.num_classes:
        raise DimrError(f"{folder}: {len(names)} names of {config.num_classes} classes")
    return StartWeights(tensors, config, names)


def _read_file(path: Path, network: NetworkConfig) -> StartWeights:
    """A file in published names; or in ours, without its folder."""
    tensors, info = read_checkpoint(path)
    try:
        recognise(tensors)
    except ConversionError as error:
        expected = on_meta(network.sizes).state_dict()
        if not expected.keys() & tensors.keys():
            raise DimrError(f"{info.file}: {error}") from None
        own = _network_of(tensors, info.recorded, network, info.file)
        if difference := first_difference(tensors, on_meta(own.sizes).state_dict()):
            what = f"weights of another network than this run's ({difference})"
            raise DimrError(f"train.from: {info.file}: {what}") from None
        return StartWeights(tensors, own)
    imported = match_published(tensors, info, ImportOptions(like=network))
    return StartWeights(imported.tensors, imported.network, list(imported.class_names) or None)


def _network_of(
    tensors: Mapping[str, Tensor], recorded: Mapping[str, Any], network: NetworkConfig, file: Path
) -> NetworkConfig:
    """The network of tensors in our names: what nothing tells is as in the one that starts."""
    if (family := recorded.get("family", network.family)) != network.family:
        kind = FAMILIES[family].title if family in FAMILIES else family
        raise DimrError(f"train.from: {file} is a {kind}; this run trains a {network.sizes.title}")
    said = {key: value for key, value in recorded.items() if key in type(network).model_fields}
    told = network.model_dump(mode="json") | said
    positions = [tensor for name, tensor in tensors.items() if name.endswith(POSITION)]
    labels = next((tensor for name, tensor in tensors.items() if name.endswith(LABEL)), None)
    if labels is not None:
        told["num_classes"] = len(labels) - told.get("has_null_label", True)
    if positions:
        told["input_size"] = max(map(side_of, positions)) * told.get("patch", 1)
    return check_network(told, str(file))
