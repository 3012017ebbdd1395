"""Notes within files of weights: metadata of safetensors, a member of the zip of ``torch.save``.

The files stay readable for everybody. Importing this imports no torch.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

EXPORTED = {"written_by": "dimr export"}
"""The note that marks a file of ``dimr export``."""
ZIP_MARK = b"PK\x03\x04"
"""Beginning of files of ``torch.save``, since 2020."""
MEMBER = "dimr.json"
LARGEST_MEMBER = 1 << 20


def is_zip(file: Path) -> bool:
    """Whether it is a zip, as written by ``torch.save``."""
    with open(file, "rb") as opened:
        return opened.read(len(ZIP_MARK)) == ZIP_MARK


def read_notes(file: Path) -> dict[str, Any]:
    """The notes of a file; safetensors' are all texts; empty: there are none.

    Damaged files make the readers raise almost anything.
    """
    if not is_zip(file):
        from safetensors import safe_open

        with safe_open(file, framework="numpy") as tensors:
            return tensors.metadata() or {}
    with zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            folder, _, name = member.filename.partition("/")
            if folder and name == MEMBER and member.file_size <= LARGEST_MEMBER:
                value = json.loads(archive.read(member))
                return value if isinstance(value, dict) else {}
    return {}


def is_dimr_export(file: Path) -> bool:
    """Whether ``dimr export`` has written a file, of either kind."""
    try:
        return read_notes(file).items() >= EXPORTED.items()
    except Exception:  # the file may hold anything, and readers raise almost anything
        return False


def save_safetensors(tensors: "dict[str, Tensor]", path: Path, notes: Mapping[str, Any]) -> None:
    """Write tensors with notes as metadata; equal ones give equal files."""
    from safetensors.torch import save_file

    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in notes.items()}
    save_file(tensors, path, metadata={"format": "pt", **texts})
    with open(path, "r+b") as file:  # the writer orders metadata randomly
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, path
        file.seek(8)
        file.write(text.ljust(length))


def add_notes(path: Path, notes: Mapping[str, Any]) -> None:
    """Add notes to a file of ``torch.save``, in the folder that has its own members."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        member = zipfile.ZipInfo(f"{folder}/{MEMBER}")  # with a fixed date: equal files
        archive.writestr(member, json.dumps(notes, indent=2) + "\n")
