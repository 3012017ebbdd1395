"""What belongs to a model: its run, as its record has it, and its dataset's results beside it."""

from pathlib import Path
from typing import Any

from dimr.runtime.files import read_json
from dimr.runtime.record import RECORD


def recorded_config(model: Path) -> dict[str, Any]:
    """The configuration in a model's record; empty if it has none."""
    path = model / RECORD
    record = read_json(path) if path.is_file() else {}
    config = record.get("config") if isinstance(record, dict) else None
    return config if isinstance(config, dict) else {}


def result_beside(model: Path, name: str) -> Path | None:
    """``data/<dataset>/<name>`` of a model's dataset in the nearest folder above that has it."""
    dataset = recorded_config(model).get("dataset")
    if not isinstance(dataset, str):
        return None
    places = [parent / "data" / dataset / name for parent in model.absolute().parents]
    return next((place for place in places if place.is_dir()), None)
