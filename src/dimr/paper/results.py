"""Results of our runs that are at hand, for tables: metrics, and what made them.

Who reads metrics for a table reads them here: what was changed by hand, is of another
configuration, or has no checksums, is refused.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.recipes import ROOT, load_recipe, training_images
from dimr.config.runs import did_you_mean, load_run
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.sharing.adopt import expected_results
from dimr.stages.provenance import fault_of

RunSetting = tuple[str, str]
"""Name of a run, and of a setting that it is sampled with."""


def metrics_file(run: str, setting: str) -> str:
    """Where a run's metrics are, below the folder of runs."""
    return f"{run}/metrics/{setting}.json"


def provenance_file(run: str, setting: str) -> str:
    """Where it stands what made them."""
    return f"{run}/provenance/{setting}.json"


@dataclass(frozen=True)
class RunResult:
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
        """``parameters_m``, ``gmacs`` or ``train_seconds`` of the network."""
        return self.record.get("cost", {}).get(key)

    def value(self, key: str) -> float | None:
        """A metric, a cost or the network ``evaluations`` of an image; None: it has none."""
        if key in self.metrics:
            return self.number(key)
        if key == "evaluations":
            return self.record.get("samples", {}).get("config", {}).get("steps")
        return self.cost(key)

    def epochs(self, dataset: str, root: Path = ROOT) -> float | None:
        """Images drawn in training by images of the dataset; None: trained elsewhere."""
        model = self.record.get("samples", {}).get("model", {})
        if "images" not in model:
            return None
        return model["images"] / training_images(load_recipe(dataset, root), root)


# --- reading --------------------------------------------------------------------------------------


def read_made(
    runs: Path, metrics: Iterable[Path], root: Path | None = None
) -> dict[RunSetting, RunResult]:
    """Results by run and setting.

    Args:
        runs: the folder of runs.
        metrics: files ``<runs>/<run>/metrics/<setting>.json``; each has its provenance in
            ``<runs>/<run>/provenance``.
        root: the repository whose configuration they must be of; None: of any.

    Raises:
        DimrError: a file of another name, or one that is missing, damaged, changed after it was
            made, or of another configuration.
    """
    cells = []
    for file in metrics:
        inside = file.relative_to(runs).as_posix() if file.is_relative_to(runs) else ""
        found = re.fullmatch(r"(.+)/metrics/(\w+)\.json", inside)
        if found is None:
            raise DimrError(f"{file}: not a run's metrics ({runs}/<run>/metrics/<setting>.json)")
        cells.append((found[1], found[2]))
    return read_cells(runs, cells, root)


def read_cells(
    runs: Path, cells: Iterable[RunSetting], root: Path | None = None
) -> dict[RunSetting, RunResult]:
    """Results of the cells, as ``read_made`` reads them."""
    made = {cell: read_result(runs, *cell) for cell in cells}
    if root is not None:
        expected = _Expected(root)
        for (run, setting), one in made.items():
            found, wanted = one.record.get("key"), expected.key(run, setting)
            if found != wanted:
                raise DimrError(
                    f"{one.file}: of another configuration (key {found}, asked for is {wanted}): "
                    f"make it again: snakemake -- runs/{metrics_file(run, setting)}"
                )
    return made


def read_result(runs: Path, run: str, setting: str) -> RunResult:
    """Metrics and their record, as they were made; ``DimrError`` names the file that is not."""
    file, record = runs / metrics_file(run, setting), runs / provenance_file(run, setting)
    made = RunResult(file, _mapping(file), _mapping(record))
    fault = fault_of(made.record, file)
    if fault:
        again = f"snakemake --force -- runs/{metrics_file(run, setting)}"
        raise DimrError(f"{file}: {fault}: make it again: {again}")
    return made


def _mapping(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise DimrError(f"{file}: should hold names and values, not {type(value).__name__}")
    return value


class _Expected:
    """Keys that a repository's configuration asks for; a run is resolved once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys: dict[str, dict[str, str]] = {}

    def key(self, run: str, setting: str) -> str:
        """Of a run's metrics at a setting; ``DimrError`` if it has no such setting."""
        if run not in self.keys:
            results = expected_results(load_run(run, self.root), self.root)
            self.keys[run] = {one.target: one.expected for one in results}
        target = f"runs/{metrics_file(run, setting)}"
        if target not in self.keys[run]:
            check_settings("metrics", run, [setting], self.root)
        return self.keys[run][target]


# --- what is at hand ------------------------------------------------------------------------------


def at_hand(cells: Iterable[RunSetting], runs: Path, root: Path = ROOT) -> list[RunSetting]:
    """Those of the cells whose metrics are there, of the configuration that is asked for now.

    Raises:
        DimrError: metrics of it that are damaged, or changed after they were made.
    """
    return list(read_at_hand(runs, cells, root))


def read_at_hand(
    runs: Path, cells: Iterable[RunSetting], root: Path = ROOT
) -> dict[RunSetting, RunResult]:
    """Results of those cells."""
    expected, made = _Expected(root), {}
    for run, setting in cells:
        record, metrics = runs / provenance_file(run, setting), runs / metrics_file(run, setting)
        if not (metrics.is_file() and record.is_file()):
            continue
        if _mapping(record).get("key") == expected.key(run, setting):
            made[run, setting] = read_result(runs, run, setting)
    return made


def check_settings(where: str, run: str, settings: Iterable[str], root: Path = ROOT) -> None:
    """Refuse names of no run or setting; ``where`` says who names them."""
    try:
        allowed = load_run(run, root).settings
    except DimrError as error:
        raise DimrError(f"{where}: {error}") from None
    for setting in settings:
        if setting not in allowed:
            raise DimrError(
                f"{where}: {run}: no setting {setting!r} {did_you_mean(setting, allowed)}"
            )
