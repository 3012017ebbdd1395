"""Checkpoints written by others: PyTorch files, safetensors, folders of trainers and diffusers.

Nothing in a file is ever run: PyTorch files are read with ``weights_only=True``, and compared with
their checksums.
"""

import os
import re
import warnings
import zipfile
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from dimr.checkpoints.find_network import DEPTH, find_network, listing, shown
from dimr.checkpoints.recorded import check_record
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, require_file, single_line
from dimr.runtime.tensors import first_unsound
from dimr.runtime.weight_notes import is_zip, read_notes

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
WEIGHTS_ONLY = (
    "in the program that wrote it save only the weights: torch.save(model.state_dict(), 'w.pth')"
)
FOLDER_FILES = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.bin")
DIT_CLASSES = ["DiTTransformer2DModel", "Transformer2DModel"]  # its name today and at first
TRAINER_FILES = ("nnet_ema.pth", "nnet.pth")
"""Weights in a checkpoint folder of U-ViT's and DiMR's trainers; the averaged ones first."""
SETTINGS = ("args", "hyper_parameters", "config", "cfg")
"""Where trainers keep their settings beside the weights."""
MOST_SETTINGS = 10_000
"""How many are looked at: a mapping that contains itself has no end."""


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint is, besides its tensors.

    Attributes:
        path: as the user gave it.
        file: the file that holds the tensors.
        kind: what was read, in words.
        taken: the name under which the file holds the tensors; None: they are at its top.
        passed_over: what else there was, in the file and beside it.
        prefix: what was removed before every tensor's name; empty: nothing.
        config: config.json of a diffusers folder; empty elsewhere.
        recorded: what ``dimr export`` wrote beside the tensors (``recorded.Recorded``).
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

    def record(self) -> dict[str, Any]:
        """What was read, plain JSON."""
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
    if path.is_dir():
        file, config, beside = _choose_file(path)
    elif path.name in FOLDER_FILES and (path.parent / "config.json").exists():
        file, config = path, _diffusers_config(path.parent)
    else:
        file = path
    content, recorded = open_file(file)
    network = find_network(content, file)
    if problem := first_unsound(network.tensors):
        raise DimrError(f"{file}: {problem}")
    folder = "diffusers folder, " if config else "training folder, " if beside else ""
    info = CheckpointInfo(
        path,
        file,
        kind=folder + ("PyTorch file" if file.suffix in TORCH_SUFFIXES else "safetensors"),
        taken=network.taken,
        passed_over=(*network.passed_over, *beside),
        prefix=network.prefix,
        config=config,
        recorded=recorded,
        settings=_settings(content),
    )
    return network.tensors, info


def _settings(content: Mapping[Any, Any]) -> dict[str, Any]:
    """A trainer's settings by name, nested ones as ``model.depth``; empty: there are none."""
    found: dict[str, Any] = {}
    waiting = [("", content[name], 0) for name in SETTINGS if name in content]
    for before, value, depth in waiting:  # grows during the loop
        inner = vars(value) if isinstance(value, Namespace) else value
        if not isinstance(inner, Mapping) or len(found) > MOST_SETTINGS:
            continue
        for key, entry in inner.items():
            found.setdefault(f"{before}{key}", entry)
            if depth < DEPTH:
                waiting.append((f"{before}{key}.", entry, depth + 1))
    return found


# --- a file ---------------------------------------------------------------------------------------


def open_file(file: Path) -> tuple[Any, dict[str, Any]]:
    """What a file of weights holds, and what ``dimr export`` has recorded in it.

    Besides tensors and plain values a PyTorch file may hold ``argparse.Namespace``, the arguments
    of DiT's trainer and of others.

    Raises:
        DimrError: no such file, a damaged one, one of another kind, or one with code in it.
    """
    require_file(file)
    if file.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DimrError(f"{file}: {file.suffix or 'no suffix'!r} is not of weights ({known})")
    try:
        if file.suffix == ".safetensors":
            content, notes = load_file(file), read_notes(file)
        else:
            content, notes = _open_torch(file)
    except DimrError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise DimrError(f"{file}: {_reason(error, file)}") from None
    return content, check_record(notes, file)


def _open_torch(file: Path) -> tuple[Any, dict[str, Any]]:
    zipped = is_zip(file)
    if zipped:
        _check_zip(file)
    with warnings.catch_warnings(), torch.serialization.safe_globals([Namespace]):
        warnings.simplefilter("ignore")  # about old pickles; what matters raises an error
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    return content, read_notes(file) if zipped else {}


def _check_zip(file: Path) -> None:
    """Compare every member with its checksum, which torch does not.

    Raises:
        DimrError: a member that differs, is compressed (torch would read it raw), or is code.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {one.filename.partition("/")[2] for one in members}
        if "constants.pkl" in names:
            raise DimrError(f"{file}: is a TorchScript program, not weights: {WEIGHTS_ONLY}")
        if "data.pkl" not in names:
            raise DimrError(f"{file}: is a zip without data.pkl, so not a file of torch.save")
        for one in members:
            if one.compress_type != zipfile.ZIP_STORED:
                name = shown(one.filename)
                raise DimrError(f"{file}: {name} in it is compressed: not as torch.save writes it")
        has_checksums = any(one.CRC for one in members)  # torch can be told to write none
        damaged = archive.testzip() if has_checksums else None
    if damaged is not None:
        raise DimrError(
            f"{file}: damaged: the checksum of {shown(damaged)} in it differs: download it again"
        )


def _reason(error: Exception, file: Path) -> str:
    """Why a file cannot be read, in few words."""
    text = single_line(error)
    if code := re.search(r"\bGLOBAL (\S+)", text):
        found = f"holds code or objects ({shown(code[1])}), not only weights"
        return f"{found}: not loaded; {WEIGHTS_ONLY}"
    cut = r"central directory|unexpected EOF|[Ii]ncomplete|file size|not a zip file|Bad magic"
    if re.search(cut, text) or isinstance(error, EOFError):
        return "truncated or damaged: download it again"
    kind = "safetensors" if file.suffix == ".safetensors" else "a PyTorch file of weights"
    if "Unsupported operand" in text or isinstance(error, KeyError):
        return f"not readable as {kind}"
    return f"not readable as {kind} ({shown(text, 200)})"


# --- folders --------------------------------------------------------------------------------------


def _choose_file(folder: Path) -> tuple[Path, dict[str, Any], tuple[str, ...]]:
    """The file of weights in a folder, diffusers' configuration, and what else a trainer left."""
    if not (folder / "config.json").exists() and (folder / "transformer").is_dir():
        folder = folder / "transformer"
    if not (folder / "config.json").exists():
        file, beside = _trainer_file(folder)
        return file, {}, beside
    config = _diffusers_config(folder)
    files = [folder / name for name in FOLDER_FILES if os.path.lexists(folder / name)]
    if not files:
        raise DimrError(f"{folder}: holds none of {', '.join(FOLDER_FILES)}")
    return files[0], config, ()


def _trainer_file(folder: Path) -> tuple[Path, tuple[str, ...]]:
    """The weights in a folder that U-ViT's or DiMR's trainer has written, and the other files."""
    there = sorted(path.name for path in folder.iterdir() if path.is_file())
    for name in TRAINER_FILES:
        if os.path.lexists(folder / name):  # if unreadable, the next is no substitute
            return folder / name, tuple(other for other in there if other != name)
    inside = folder / "ckpts" if (folder / "ckpts").is_dir() else folder
    checkpoints = sorted((p for p in inside.glob("*.ckpt") if p.is_dir()), key=_steps)
    if len(checkpoints) == 1:
        return _trainer_file(checkpoints[0])
    if checkpoints:
        names = [str(path.relative_to(folder)) for path in checkpoints]
        raise DimrError(f"{folder}: holds several checkpoints: name one of {listing(names)}")
    message = (
        f"{folder}: no config.json (a diffusers folder) and no {TRAINER_FILES[0]} (a trainer's)"
    )
    if files := [name for name in there if name.endswith(SUFFIXES)]:
        raise DimrError(f"{message}: name one of its files ({listing(files)})")
    raise DimrError(f"{message}: no weights")


def _steps(checkpoint: Path) -> tuple[int, str]:
    """Sorts by the number in ``500000.ckpt``, the largest first."""
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
