"""What no shape tells of weights, written into their files, which stay readable for everybody.

It is metadata of safetensors, or a member of the zip that ``torch.save`` writes.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dimr.config.schema import ConfigModel, NetworkConfig, Schedule
from dimr.config.schema.base import Depth, Width
from dimr.config.validation import validate
from dimr.models.sizes import UViTSizes, ends_in_convolution

RECORDED = "recorded in the file"
"""Who says so, for messages."""
EXPORTED = {"written_by": "dimr export"}
"""What marks a file of ``dimr export``."""
ZIP_MARK = b"PK\x03\x04"
"""What files of ``torch.save`` begin with, since 2020."""
MEMBER = "dimr.json"
LARGEST_MEMBER = 1 << 20


class Recorded(ConfigModel):
    """Of a network's sizes those that tensors do not tell, and what it has learned to predict.

    ``objective``: the noise, or with it its variance (``hybrid``, DiT's own loss).
    """

    family: str | None = None
    objective: Literal["noise", "hybrid"] | None = None
    schedule: Schedule | None = None
    time_map: Literal["latent", "pixel"] | None = None
    has_null_label: bool | None = None
    final_conv: bool | None = None
    heads: Width | None = None
    layers: tuple[Depth, ...] | None = None

    def known(self) -> dict[str, Any]:
        """What is recorded, plain JSON."""
        return self.model_dump(mode="json", exclude_none=True)


def record_of(network: NetworkConfig, objective: str | None) -> dict[str, Any]:
    """What is recorded of a network; objective None: not known."""
    known = {**network.model_dump(mode="json"), "objective": objective}
    if isinstance(sizes := network.sizes, UViTSizes):
        known["final_conv"] = ends_in_convolution(sizes.time_map, sizes.final_conv)
    return {name: known[name] for name in Recorded.model_fields if known.get(name) is not None}


def check_record(found: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What is recorded among all that a file says of itself.

    Raises:
        DimrError: a value that no network here has.
    """
    ours = {name: found[name] for name in Recorded.model_fields if name in found}
    if ours.get("family") != "dimr":
        ours.pop("layers", None)  # other programs' word
    return validate(Recorded, ours, f"{file}: {RECORDED}").known()


# --- reading and writing --------------------------------------------------------------------------


def is_zip(file: Path) -> bool:
    """Whether it is a zip, as ``torch.save`` writes."""
    with open(file, "rb") as opened:
        return opened.read(len(ZIP_MARK)) == ZIP_MARK


def read_notes(file: Path) -> dict[str, Any]:
    """All that a zip of ``torch.save`` or a safetensors file says of itself; empty: nothing.

    Damaged files make the readers raise almost anything.
    """
    if is_zip(file):
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                folder, _, name = member.filename.partition("/")
                if folder and name == MEMBER and member.file_size <= LARGEST_MEMBER:
                    value = json.loads(archive.read(member))
                    return value if isinstance(value, dict) else {}
        return {}
    with safe_open(file, framework="pt") as tensors:
        return {name: _value(name, text) for name, text in (tensors.metadata() or {}).items()}


def _value(name: str, text: str) -> Any:
    """Metadata are texts; ours that are not, JSON."""
    try:
        return json.loads(text) if name in Recorded.model_fields else text
    except (ValueError, RecursionError):
        return text


def save_safetensors(tensors: dict[str, Tensor], path: Path, notes: Mapping[str, Any]) -> None:
    """Write tensors with notes as metadata; equal ones give equal files."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in notes.items()}
    save_file(tensors, path, metadata={"format": "pt", **texts})
    with open(path, "r+b") as file:  # the writer orders metadata by chance
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, path
        file.seek(8)
        file.write(text.ljust(length))


def add_notes(path: Path, notes: Mapping[str, Any]) -> None:
    """Add notes to a file of ``torch.save``, in the folder where its own members lie."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        member = zipfile.ZipInfo(f"{folder}/{MEMBER}")  # with a fixed date: equal files
        archive.writestr(member, json.dumps(notes, indent=2) + "\n")
