"""Results of runs as ``dimr evaluate`` leaves them, with made-up numbers."""

from pathlib import Path
from typing import Any

from dimr.runtime.files import write_json
from dimr.stages.provenance import sealed


def leave_result(runs: Path, run: str, setting: str, metrics: Any, **record: Any) -> Path:
    """Write metrics and their record under the folder of runs; return the metrics' file."""
    file = runs / run / "metrics" / f"{setting}.json"
    write_json(file, metrics)
    provenance = runs / run / "provenance" / f"{setting}.json"
    write_json(provenance, sealed({"cost": {}, **record}, file))
    return file
