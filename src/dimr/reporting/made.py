"""Results of our runs that are at hand, for tables: metrics, and what made them."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.errors import DimrError
from dimr.experiment import load_run
from dimr.files import read_json
from dimr.recipes import ROOT, load_recipe, training_images
from dimr.reporting.adoption import expected_results

RunSetting = tuple[str, str]
"""Name of a run, and of a setting that it is sampled with."""


def metrics_file(run: str, setting: str) -> str:
    """Where a run's metrics are, below the folder of runs."""
    return f"{run}/metrics/{setting}.json"


def provenance_file(run: str, setting: str) -> str:
    """Where it stands what made them."""
    return f"{run}/provenance/{setting}.json"


@dataclass(frozen=True)
class Made:
    """A run's result at one setting.

    Attributes:
        file: of the metrics.
        metrics: numbers by name.
        record: the content of the provenance file.
    """

    file: Path
    metrics: dict[str, Any]
    record: dict[str, Any]

    def number(self, key: str) -> float:
        """A metric; ``DimrError`` names the file if it is not there or is no finite number."""
        if key not in self.metrics:
            raise DimrError(f"{self.file}: no {key} (there are: {', '.join(self.metrics)})")
        value = self.metrics[key]
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not good or not math.isfinite(value):
            raise DimrError(f"{self.file}: {key}: {value!r} should be a finite number")
        return value

    def cost(self, key: str) -> float | None:
        """``parameters_m`` or ``gmacs`` of the network."""
        return self.record.get("cost", {}).get(key)

    def epochs(self, dataset: str, root: Path = ROOT) -> float | None:
        """Images drawn in training by images of the dataset; None: trained elsewhere."""
        model = self.record.get("samples", {}).get("model", {})
        if "images" not in model:
            return None
        return model["images"] / training_images(load_recipe(dataset, root), root)


def read_made(runs: Path, metrics: Iterable[Path]) -> dict[RunSetting, Made]:
    """Results by run and setting.

    Args:
        runs: the folder of runs.
        metrics: files ``<runs>/<run>/metrics/<setting>.json``; each has its provenance in
            ``<runs>/<run>/provenance``.

    Raises:
        DimrError: a file of another name, or one that is missing or damaged.
    """
    made = {}
    for file in metrics:
        inside = file.relative_to(runs).as_posix() if file.is_relative_to(runs) else ""
        found = re.fullmatch(r"(.+)/metrics/(\w+)\.json", inside)
        if found is None:
            raise DimrError(f"{file}: not a run's metrics ({runs}/<run>/metrics/<setting>.json)")
        run, setting = found[1], found[2]
        record = runs / provenance_file(run, setting)
        made[run, setting] = Made(file, _mapping(file), _mapping(record))
    return made


def _mapping(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise DimrError(f"{file}: should hold names and values, not {type(value).__name__}")
    return value


def at_hand(cells: Iterable[RunSetting], runs: Path, root: Path = ROOT) -> list[RunSetting]:
    """Those of the cells whose metrics are there, of the configuration that is asked for now."""
    return [cell for cell in cells if _is_at_hand(*cell, runs, root)]


def _is_at_hand(run: str, setting: str, runs: Path, root: Path) -> bool:
    record, metrics = runs / provenance_file(run, setting), runs / metrics_file(run, setting)
    if not (metrics.is_file() and record.is_file()):
        return False
    wanted = f"runs/{metrics_file(run, setting)}"
    expected = {one.target: one.expected for one in expected_results(load_run(run, root), root)}
    return _mapping(record).get("key") == expected[wanted]
