"""What no shape tells of weights, written into their files: metadata of safetensors, and a record
in the zip that ``torch.save`` writes. The files stay readable for everybody.
"""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from dimr.config import schema
from dimr.config.schema import NetworkConfig
from dimr.models.sizes import UViTSizes, ends_in_convolution
from dimr.runtime.errors import DimrError

OBJECTIVES = ("noise", "hybrid")
"""What networks here learn to predict: the noise, or with it its variance (DiT's own loss)."""
ALLOWED: dict[str, tuple[Any, ...]] = {
    "family": tuple(schema.NETWORKS),
    "objective": OBJECTIVES,
    "schedule": get_args(schema.Schedule),
    "time_map": ("latent", "pixel"),
    "has_null_label": (True, False),
    "final_conv": (True, False),
}
FACTS = (*ALLOWED, "heads", "layers")
"""What is written: of the network's sizes those that tensors do not tell, and the objective."""
MARK = ("written_by", "dimr export")
"""What marks a file of ``dimr export``."""
RECORD = "dimr.json"
LARGEST_RECORD = 1 << 20


def facts_of(sizes: NetworkConfig, objective: str | None) -> dict[str, Any]:
    """The facts of a network, plain JSON; those that it does not have are left out."""
    known = {**sizes.model_dump(mode="json"), "objective": objective}
    if isinstance(own := sizes.sizes, UViTSizes):
        known["final_conv"] = ends_in_convolution(own.time_map, own.final_conv)
    return {name: known[name] for name in FACTS if known.get(name) is not None}


def check_facts(found: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The facts among what a file says of itself.

    Raises:
        DimrError: a fact with a value that no network here has.
    """
    facts = {name: found[name] for name in FACTS if name in found}
    if facts.get("family") != "dimr":
        facts.pop("layers", None)  # not of ours
    for name, value in facts.items():
        allowed = ALLOWED.get(name, ("whole numbers of 1 or more",))
        # of the same type: 1 == True in Python, and a number is no answer to yes or no
        listed = any(value == one and type(value) is type(one) for one in allowed)
        if not (listed if name in ALLOWED else _are_counts(name, value)):
            raise DimrError(
                f"{file}: says of itself {name} {str(value)[:80]!r} "
                f"(allowed: {', '.join(map(str, allowed))})"
            )
    return facts


def _are_counts(name: str, value: Any) -> bool:
    """Whether a value is a number of heads, or a list of numbers of layers."""
    counts = value if name == "layers" else [value]
    if not isinstance(counts, list):
        return False
    return all(type(count) is int and 0 < count < 1 << 31 for count in counts)


# --- safetensors ----------------------------------------------------------------------------------


def save_safetensors(tensors: dict[str, Tensor], path: Path, facts: Mapping[str, Any]) -> None:
    """Write tensors with facts as metadata; equal ones give equal files."""
    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}
    save_file(tensors, path, metadata={"format": "pt", **texts})
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """The writer puts metadata in an order of chance: files of equal models would differ."""
    with open(path, "r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= length, path
        file.seek(8)
        file.write(text.ljust(length))


def read_metadata(path: Path) -> dict[str, Any]:
    """Metadata of a safetensors file; what is JSON is read as such."""
    with safe_open(path, framework="pt") as file:
        return {name: _parsed(name, text) for name, text in (file.metadata() or {}).items()}


def _parsed(name: str, text: str) -> Any:
    if name not in FACTS:
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


# --- the zip of torch.save ------------------------------------------------------------------------


def add_record(path: Path, record: Mapping[str, Any]) -> None:
    """Add a record to a file of ``torch.save``, in the folder where its own records lie."""
    with zipfile.ZipFile(path, "a") as archive:
        folder = archive.namelist()[0].split("/")[0]
        member = zipfile.ZipInfo(f"{folder}/{RECORD}")  # with a fixed date: equal files
        archive.writestr(member, json.dumps(record, indent=2) + "\n")


def read_record(path: Path) -> dict[str, Any]:
    """The record that ``add_record`` added; empty if there is none.

    Raises:
        ValueError: it is no JSON.
    """
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            folder, _, name = member.filename.partition("/")
            if folder and name == RECORD and member.file_size <= LARGEST_RECORD:
                value = json.loads(archive.read(member))
                return value if isinstance(value, dict) else {}
    return {}
