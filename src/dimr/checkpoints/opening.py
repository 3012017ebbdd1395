"""Files of weights, opened without running anything in them, and compared with their checksums."""

import argparse
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from dimr.checkpoints.recorded import check_facts, read_metadata, read_record
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

TORCH_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (*TORCH_SUFFIXES, ".safetensors")
ZIP_MARK = b"PK\x03\x04"
"""What files of ``torch.save`` begin with, since 2020."""
WEIGHTS_ONLY = (
    "in the program that wrote it save only the weights: torch.save(model.state_dict(), 'w.pth')"
)


def open_file(file: Path) -> tuple[Any, dict[str, Any]]:
    """What a file of weights holds, and the facts that ``dimr export`` has written into it.

    Besides tensors and plain values a PyTorch file may hold ``argparse.Namespace``, the arguments
    of DiT's trainer and of others.

    Raises:
        DimrError: no such file, a damaged one, one of another kind, or one with code in it.
    """
    if not file.is_file():
        raise DimrError(f"{file}: {'not a file' if os.path.lexists(file) else 'no such file'}")
    if file.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise DimrError(f"{file}: {file.suffix or 'no suffix'!r} is not of weights ({known})")
    try:
        if file.suffix == ".safetensors":
            content, said = load_file(file), read_metadata(file)
        else:
            content, said = _open_torch(file)
    except DimrError:
        raise
    except Exception as error:  # a damaged file makes the readers raise almost anything
        raise DimrError(f"{file}: {_reason(error, file)}") from None
    return content, check_facts(said, file)


def shown(text: object, most: int = 80) -> str:
    """A name from a file, for a message: short, and on one line whatever is in it."""
    name = str(text)
    name = name if name.isprintable() else ascii(name)[1:-1]
    return name if len(name) <= most else f"{name[:most]}..."


def _open_torch(file: Path) -> tuple[Any, dict[str, Any]]:
    with open(file, "rb") as opened:
        zipped = opened.read(len(ZIP_MARK)) == ZIP_MARK
    if zipped:
        _check_zip(file)
    with warnings.catch_warnings(), torch.serialization.safe_globals([argparse.Namespace]):
        warnings.simplefilter("ignore")  # of old pickles; what matters is an error
        content = torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    return content, read_record(file) if zipped else {}


def _check_zip(file: Path) -> None:
    """Compare every member with its checksum, which torch does not.

    Raises:
        DimrError: a member that differs, is compressed (torch would take it as it is), or is code.
    """
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = {one.filename.partition("/")[2] for one in members}
        if "constants.pkl" in names:
            raise DimrError(f"{file}: is a TorchScript program, not weights: {WEIGHTS_ONLY}")
        if "data.pkl" not in names:
            raise DimrError(f"{file}: is a zip without data.pkl, so no file of torch.save")
        compressed = [one for one in members if one.compress_type != zipfile.ZIP_STORED]
        if compressed:
            name = shown(compressed[0].filename)
            raise DimrError(f"{file}: {name} in it is compressed: not as torch.save writes it")
        has_checksums = any(one.CRC for one in members)  # torch can be told to write none
        damaged = archive.testzip() if has_checksums else None
    if damaged is not None:
        raise DimrError(
            f"{file}: damaged: the checksum of {shown(damaged)} in it differs: fetch it again"
        )


def _reason(error: Exception, file: Path) -> str:
    """Why a file cannot be read, in few words."""
    text = single_line(error)
    if code := re.search(r"\bGLOBAL (\S+)", text):
        found = f"holds code or objects ({shown(code[1])}), not only weights"
        return f"{found}: not loaded; {WEIGHTS_ONLY}"
    cut = r"central directory|unexpected EOF|[Ii]ncomplete|file size|not a zip file|Bad magic"
    if re.search(cut, text) or isinstance(error, EOFError):
        return "truncated or damaged: fetch it again"
    kind = "safetensors" if file.suffix == ".safetensors" else "a PyTorch file of weights"
    if "Unsupported operand" in text or isinstance(error, KeyError):
        return f"not readable as {kind}"
    return f"not readable as {kind} ({shown(text, 200)})"
