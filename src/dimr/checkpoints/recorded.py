"""What no shape tells about weights, recorded in their files (``dimr.runtime.weight_notes``)."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dimr.config.schema import ConfigModel, NetworkConfig, Schedule
from dimr.config.schema.base import Depth, Width
from dimr.config.schema.data import ClassName
from dimr.config.validation import validate
from dimr.models.sizes import UViTSizes, ends_in_convolution
from dimr.runtime.weight_notes import EXPORTED

RECORDED = "recorded in the file"
"""The source of such a statement, for messages."""


OTHERS_WORDS = {"layers": ("dimr",), "input_size": ("uvit",), "text_tokens": ("uvit", "dimr")}
"""Keys that may be another program's unless the file names one of these families."""


class Recorded(ConfigModel):
    """Of a network's sizes those that tensors do not tell, and what it has learned to predict.

    ``objective``: the noise, or with it its variance (``hybrid``, DiT's own loss). ``class_names``
    are by label, and only in what ``dimr export`` has written: a model folder has a file of them.
    """

    family: str | None = None
    objective: Literal["noise", "hybrid"] | None = None
    schedule: Schedule | None = None
    time_map: Literal["latent", "pixel"] | None = None
    has_null_label: bool | None = None
    final_conv: bool | None = None
    heads: Width | None = None
    layers: tuple[Depth, ...] | None = None
    class_names: tuple[ClassName, ...] | None = None
    input_size: Width | None = None
    text_tokens: Width | None = None


def record_of(
    network: NetworkConfig, objective: str | None, class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """What is recorded of a network; objective or class names None: not known."""
    known = {**network.model_dump(mode="json"), "objective": objective, "class_names": class_names}
    if isinstance(sizes := network.sizes, UViTSizes):
        known["final_conv"] = ends_in_convolution(sizes.time_map, sizes.final_conv)
    if not sizes.counts_tokens or sizes.text_dim is None:
        del known["input_size"]  # tensors tell it
    return {name: known[name] for name in Recorded.model_fields if known.get(name) is not None}


def check_record(notes: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """What is recorded among a file's notes, plain JSON.

    Raises:
        DimrError: a value that no network here has.
    """
    ours = {name: _value(notes[name]) for name in Recorded.model_fields if name in notes}
    for name, families in OTHERS_WORDS.items():
        if ours.get("family") not in families:
            ours.pop(name, None)
    if not notes.items() >= EXPORTED.items():
        ours.pop("class_names", None)  # another program's, too
    recorded = validate(Recorded, ours, f"{file}: {RECORDED}")
    return recorded.model_dump(mode="json", exclude_none=True)


def _value(note: Any) -> Any:
    """Notes may all be texts: numbers and lists as JSON, words as they are."""
    try:
        return json.loads(note) if isinstance(note, str) else note
    except (ValueError, RecursionError):
        return note
