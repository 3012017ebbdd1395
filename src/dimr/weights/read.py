"""Checkpoints as others write them: PyTorch files, safetensors, diffusers folders.

Nothing of a file is ever run: PyTorch files are read with ``weights_only=True``.
"""

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dimr.errors import DimrError
from dimr.experiment import nearest
from dimr.files import one_line, read_json

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
FOLDER_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DIT_CLASSES = ["DiTTransformer2DModel", "Transformer2DModel"]  # its name today and at first
NESTED = ("ema", "nnet_ema", "model", "state_dict")
"""Where checkpoints of a whole training keep weights; the averaged ones are what is sampled."""
PREFIXES = ("module.", "_orig_mod.")
"""What torch's wrappers (data parallel, compiled) put before every name."""


@dataclass(frozen=True)
class Facts:
    """What a checkpoint is, besides its tensors.

    Attributes:
        path: as the user gave it.
        file: the file that holds the tensors.
        kind: what was read, in words.
        taken: under which name the tensors lay in the file; None: they lay in it directly.
        passed_over: other names with weights in the file.
        prefix: what was removed before every tensor's name; empty: nothing.
        config: config.json of a diffusers folder; empty elsewhere.
    """

    path: Path
    file: Path
    kind: str
    taken: str | None
    passed_over: tuple[str, ...]
    prefix: str
    config: dict[str, Any]

    @property
    def heads(self) -> int | None:
        """Attention heads, where the file says so."""
        return self.config.get("num_attention_heads")

    @property
    def input_size(self) -> int | None:
        """H = W of the input, where the file says so."""
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


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Facts]:
    """Tensors by name, as they are in the file, and what was read.

    Args:
        path: a ``.pth``, ``.pt``, ``.bin`` or ``.ckpt`` that holds tensors by name, or one level
            below (``NESTED``); a ``.safetensors``; or a folder of diffusers' (also the whole
            pipeline's, whose ``transformer`` is read).

    Raises:
        DimrError: names the file and what is wrong with it.
    """
    config: dict[str, Any] = {}
    if path.is_dir():
        file, config = _open_folder(path)
    elif path.name in FOLDER_FILES and (path.parent / "config.json").exists():
        file, config = path, _diffusers_config(path.parent)
    else:
        file = path
    taken: str | None = None
    passed_over: tuple[str, ...] = ()
    value: Any = _load(file)
    if not _is_weights(value):
        taken, passed_over = _nested(value, file)
        value = value[taken]
    prefix = _common_prefix(value)
    kind = "PyTorch file" if file.suffix in TORCH_SUFFIXES else "safetensors"
    if config:
        kind = f"diffusers folder, {kind}"
    weights = {name.removeprefix(prefix): tensor for name, tensor in value.items()}
    return weights, Facts(path, file, kind, taken, passed_over, prefix, config)


def _open_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """The weights and the configuration of a diffusers folder."""
    if not (folder / "config.json").exists() and (folder / "transformer").is_dir():
        folder = folder / "transformer"
    config = _diffusers_config(folder)
    files = [folder / name for name in FOLDER_FILES if (folder / name).exists()]
    if not files:
        raise DimrError(f"{folder}: holds none of {', '.join(FOLDER_FILES)}")
    return files[0], config


def _diffusers_config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise DimrError(f"{folder}: no config.json, so no diffusers folder")
    config = read_json(path)
    if not isinstance(config, dict):
        raise DimrError(f"{path}: {config!r} should be a mapping of names")
    if "family" in config and "_class_name" not in config:
        raise DimrError(f"{folder}: is a run's model already (`dimr export` writes it for others)")
    name = config.get("_class_name")
    if name not in DIT_CLASSES:
        raise DimrError(f"{path}: _class_name: {name!r} {nearest(str(name), DIT_CLASSES)}")
    for key in ("num_attention_heads", "sample_size"):
        value = config.get(key)
        if value is not None and (type(value) is not int or value < 1):
            raise DimrError(f"{path}: {key}: {value!r} should be a whole number of 1 or more")
    return config


def _load(file: Path) -> Any:
    """What a file holds; nothing in it is run."""
    if not file.is_file():
        raise DimrError(f"{file}: no such file")
    if file.suffix not in (*TORCH_SUFFIXES, ".safetensors"):
        known = ", ".join((*TORCH_SUFFIXES, ".safetensors"))
        raise DimrError(f"{file}: {file.suffix or 'no suffix'!r} is not of weights ({known})")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old pickles; what matters is an error
            mapped = zipfile.is_zipfile(file)  # files from before 2020 cannot be
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise DimrError(f"{file}: {_reason(error, file)}") from None


def _reason(error: Exception, file: Path) -> str:
    """Why a file cannot be read, in few words."""
    text = one_line(error)
    if code := re.search(r"\bGLOBAL (\S+)", text):
        return f"holds code or objects ({code[1]}), not weights alone: not loaded"
    if re.search(r"central directory|unexpected EOF|[Ii]ncomplete|file size", text) or not text:
        return "truncated or damaged: fetch it again"
    kind = "safetensors" if file.suffix == ".safetensors" else "a PyTorch file of weights"
    if "Unsupported operand" in text or isinstance(error, KeyError):
        return f"not readable as {kind}"
    return f"not readable as {kind} ({text[:200]})"


def _is_weights(value: Any) -> bool:
    """Whether it is tensors by name and nothing else."""
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )


def _nested(value: Any, file: Path) -> tuple[str, tuple[str, ...]]:
    """Under which name the weights lie, and the others that would have done."""
    if not isinstance(value, Mapping):
        raise DimrError(f"{file}: holds a {type(value).__name__}, not tensors by name")
    found = [name for name in NESTED if name in value and _is_weights(value[name])]
    if not found:
        there = ", ".join(list(map(str, value))[:6])
        raise DimrError(
            f"{file}: no tensors by name, nor under {', '.join(NESTED)} (it holds: {there})"
        )
    return found[0], tuple(found[1:])


def _common_prefix(weights: Mapping[str, Tensor]) -> str:
    """What wrappers put before all names, however many there were."""
    prefix = ""
    while weights:
        more = [p for p in PREFIXES if all(name.startswith(prefix + p) for name in weights)]
        if not more:
            break
        prefix += more[0]
    return prefix
