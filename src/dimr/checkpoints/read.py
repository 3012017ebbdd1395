"""Checkpoints as others write them: PyTorch files, safetensors, folders of trainers and diffusers.

Nothing of a file is ever run: PyTorch files are read with ``weights_only=True``.
"""

import os
import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from dimr.checkpoints.groups import DEPTH, find_group, listing
from dimr.checkpoints.opening import SUFFIXES, TORCH_SUFFIXES, open_file
from dimr.checkpoints.values import first_unsound
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json

FOLDER_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DIT_CLASSES = ["DiTTransformer2DModel", "Transformer2DModel"]  # its name today and at first
TRAINER_FILES = ("nnet_ema.pth", "nnet.pth")
"""Weights in a checkpoint folder of U-ViT's and DiMR's trainers; the averaged ones first."""
SETTINGS = ("args", "hyper_parameters", "config", "cfg")
"""Where trainers keep their settings beside the weights."""
MOST_SETTINGS = 10_000
"""That are looked at: mappings within themselves have no end."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint is, besides its tensors.

    Attributes:
        path: as the user gave it.
        file: the file that holds the tensors.
        kind: what was read, in words.
        taken: under which name the tensors lay in the file; None: they lay in it directly.
        passed_over: what else there was, in the file and beside it.
        prefix: what was removed before every tensor's name; empty: nothing.
        config: config.json of a diffusers folder; empty elsewhere.
        recorded: what ``dimr export`` wrote beside the tensors (``recorded.FACTS``).
        settings: the trainer's, where the file holds them.
    """

    path: Path
    file: Path
    kind: str
    taken: str | None
    passed_over: tuple[str, ...]
    prefix: str
    config: dict[str, Any] = field(default_factory=dict)
    recorded: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def heads(self) -> int | None:
        """Attention heads, where diffusers' config.json says so."""
        return self.config.get("num_attention_heads")

    @property
    def input_size(self) -> int | None:
        """H = W of the input, where diffusers' config.json says so."""
        return self.config.get("sample_size")

    def record(self) -> dict[str, Any]:
        """The same, plain JSON."""
        return {
            "path": str(self.path),
            "file": self.file.name,
            "kind": self.kind,
            "taken": self.taken,
            "prefix": self.prefix,
        }


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], CheckpointInfo]:
    """Tensors by name, as they are in the file, and what was read. Every import passes here.

    Args:
        path: a ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` that holds tensors by name, at the top or
            among what a trainer saves; a ``.safetensors``; a folder of diffusers' (also the whole
            pipeline's, whose ``transformer`` is read); or one of U-ViT's and DiMR's trainers.

    Raises:
        DimrError: names the file and what is wrong with it, or the tensor that is not dense or
            not finite.
    """
    config: dict[str, Any] = {}
    beside: tuple[str, ...] = ()
    kind = ""
    if path.is_dir():
        file, config, beside = _open_folder(path)
    elif path.name in FOLDER_FILES and (path.parent / "config.json").exists():
        file, config = path, _diffusers_config(path.parent)
    else:
        file = path
    content, recorded = open_file(file)
    group = find_group(content, file)
    if problem := first_unsound(group.tensors):
        raise DimrError(f"{file}: {problem}")
    if config or beside:
        kind = "diffusers folder, " if config else "training folder, "
    kind += "PyTorch file" if file.suffix in TORCH_SUFFIXES else "safetensors"
    taken, passed_over = ".".join(group.path) or None, (*group.passed_over, *beside)
    told = _settings(content)
    facts = CheckpointInfo(
        path, file, kind, taken, passed_over, group.prefix, config, recorded, told
    )
    return group.tensors, facts


def _settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """A trainer's settings by name, inner ones as ``model.depth``; empty: the file holds none."""
    found: dict[str, Any] = {}
    waiting = [("", content[name], 0) for name in SETTINGS if name in content]
    for before, value, depth in waiting:  # which grows meanwhile
        inner = vars(value) if isinstance(value, Namespace) else value
        if not isinstance(inner, Mapping) or len(found) > MOST_SETTINGS:
            continue
        for key, entry in inner.items():
            found.setdefault(f"{before}{key}", entry)
            if depth < DEPTH:
                waiting.append((f"{before}{key}.", entry, depth + 1))
    return found


# --- folders --------------------------------------------------------------------------------------


def _open_folder(folder: Path) -> tuple[Path, dict[str, Any], tuple[str, ...]]:
    """The file of weights in a folder, diffusers' configuration, and what else a trainer left."""
    if not (folder / "config.json").exists() and (folder / "transformer").is_dir():
        folder = folder / "transformer"
    if not (folder / "config.json").exists():
        return _trainer_files(folder)
    config = _diffusers_config(folder)
    files = [folder / name for name in FOLDER_FILES if os.path.lexists(folder / name)]
    if not files:
        raise DimrError(f"{folder}: holds none of {', '.join(FOLDER_FILES)}")
    return files[0], config, ()


def _trainer_files(folder: Path) -> tuple[Path, dict[str, Any], tuple[str, ...]]:
    """As ``_open_folder``, of a folder that U-ViT's or DiMR's trainer has written."""
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    for name in TRAINER_FILES:
        if os.path.lexists(folder / name):  # whatever it is: without it, others are not as good
            return folder / name, {}, tuple(other for other in there if other != name)
    inside = folder / "ckpts" if (folder / "ckpts").is_dir() else folder
    checkpoints = sorted((p for p in inside.glob("*.ckpt") if p.is_dir()), key=_steps)
    if len(checkpoints) == 1:
        return _trainer_files(checkpoints[0])
    if checkpoints:
        names = [str(path.relative_to(folder)) for path in checkpoints]
        raise DimrError(f"{folder}: holds several checkpoints: name one of {listing(names)}")
    if files := [name for name in there if name.endswith(SUFFIXES)]:
        raise DimrError(
            f"{folder}: no config.json and no {TRAINER_FILES[0]}: name one of its files "
            f"({listing(files)})"
        )
    raise DimrError(
        f"{folder}: no config.json, so no diffusers folder, and no {TRAINER_FILES[0]}, so none of "
        "a trainer: no weights"
    )


def _steps(checkpoint: Path) -> tuple[int, str]:
    """The number in ``500000.ckpt``, the largest first."""
    found = re.match(r"\d{1,18}", checkpoint.name)
    return -int(found[0]) if found else 1, checkpoint.name


def _diffusers_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    config = read_json(path)
    if not isinstance(config, dict):
        raise DimrError(f"{path}: {str(config)[:80]!r} should be a mapping of names")
    if "family" in config and "_class_name" not in config:
        raise DimrError(f"{folder}: is a run's model already (`dimr export` writes it for others)")
    name = config.get("_class_name")
    if name not in DIT_CLASSES:
        raise DimrError(f"{path}: _class_name: {name!r} {did_you_mean(str(name), DIT_CLASSES)}")
    for key in ("num_attention_heads", "sample_size", "attention_head_dim"):
        value = config.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise DimrError(f"{path}: {key}: {value!r} should be a whole number of 1 or more")
    return config
