"""Every number that exists, in one tidy frame: a line is one number, and says where it came from.

    frame = results(project, runs, cells)                # all of these (run, setting), or DimrError
    frame = results(project, runs, cells, partial=True)  # those of them that exist
    frame = results(project, runs)                       # all that exist
    frame = recorded(results_digits / "seeds.csv")       # the same form, without the runs
    published(project)                                   # what papers print, in the same form

Tables, bars, curves, the cost figure, claims and the study are group-bys of it
(``dimr.paper.statistics``: ``summarise``, ``by_seed``, ``change_of``). Its columns:

    dataset, model    ``digits``, ``dimr-xs-2r``; of a printed number the model's printed name
    seed              "0", "1", ..., or "published" (the authors' weights); "" of a printed number
    run               dataset/model/seed; "" of a printed number
    setting           of guidance: "guided", "reference", ...
    metric            a key of ``metrics/<setting>.json``; its costs (parameters_m, gmacs,
                      train_seconds); evaluations (of the network, per image); epochs (images drawn
                      in training by images of the dataset); lr (learning rate). Published:
                      epochs, gmacs, parameters (a count) and the metrics
    value             float
    origin            "run", "recorded" (``seeds.csv``) or "published"
    source            the file, or the entry of published.yaml
    key               of the configuration that a run's metrics were made with; "" of others

Reading refuses what was changed by hand, is of another configuration, or has no checksums. Use
``read_results`` where more than numbers is needed (the records of how they were made).
"""

import contextlib
import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dimr.config.project import Project
from dimr.config.validation import did_you_mean
from dimr.paper.published import load_published
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, read_text, single_line
from dimr.stages.provenance import fault_of

if TYPE_CHECKING:
    import pandas as pd

RunSetting = tuple[str, str]
"""Names of a run and of a setting that it is sampled with: one file of metrics each."""
COLUMNS = (
    "dataset", "model", "seed", "run", "setting", "metric", "value", "origin", "source", "key",
)  # fmt: skip
COSTS = ("parameters_m", "gmacs", "train_seconds")
"""A network's costs, in the record of its metrics."""
SETTING_KEYS = ("dataset", "model", "seed", "setting", "kind", "scale", "solver")
"""Columns of ``seeds.csv`` that are not numbers of the frame."""


def metrics_file(run: str, setting: str) -> str:
    """Where a run's metrics are, below the folder of runs."""
    return f"{run}/metrics/{setting}.json"


def provenance_file(run: str, setting: str) -> str:
    """The file with the record of what made them."""
    return f"{run}/provenance/{setting}.json"


# --- the frame ------------------------------------------------------------------------------------


def results(
    project: Project, runs: Path, cells: Iterable[RunSetting] | None = None, partial: bool = False
) -> "pd.DataFrame":
    """The numbers of runs.

    Args:
        project: whose configuration the results must be of.
        runs: the folder of runs.
        cells: of these (run, setting); None: of all that exist.
        partial: leave out what does not exist or is of another configuration, instead of refusing
            it.

    Raises:
        DimrError: metrics that are missing, damaged, changed after they were made or of another
            configuration.
    """
    if cells is None:
        return numbers(read_results(project, runs, existing(project, runs), True), project)
    return numbers(read_results(project, runs, cells, partial), project)


def numbers(made: Mapping[RunSetting, "RunResult"], project: Project) -> "pd.DataFrame":
    """The frame of results that were read."""
    return _frame(
        (*_split(run), run, setting, metric, value, "run", str(one.file), one.key)
        for (run, setting), one in made.items()
        for images in [project.training_images(project.run(run).dataset)]
        for metric, value in one.numbers(images).items()
    )


def published(project: Project, only: str | None = None) -> "pd.DataFrame":
    """Results that papers print (in one list of published.yaml, if named); blanks are left out.

    Several of the paper's tables may print the same model, with different numbers.
    """
    return _frame(
        (listed.dataset, model, "", "", *number, "published",
         f"published.yaml: results.{name}.{model} ({row.source})", "")
        for name, listed in load_published(project).results.items()
        if only in (None, name)
        for model, row in listed.rows.items()
        for number in row.numbers(listed.setting)
    )  # fmt: skip


def recorded(file: Path) -> "pd.DataFrame":
    """The numbers of a study's runs, six digits of each, where the runs themselves are not.

    Args:
        file: ``seeds.csv`` as ``dimr study-results`` writes it.

    Raises:
        DimrError: it is missing, or is another kind of file.
    """
    table, named = read_frame(file, remedy="make study makes it"), ["dataset", "model", "setting"]
    missing = [key for key in (*SETTING_KEYS, *COSTS[:2]) if key not in table]
    try:
        if missing:
            raise ValueError(f"no column {missing[0]!r}")
        runs = table[named].astype(str).assign(seed=table["seed"].astype(int).astype(str))
        values = table.drop(columns=list(SETTING_KEYS)).astype(float)
    except (TypeError, ValueError) as error:
        what = single_line(error)
        raise DimrError(f"{file}: not written by dimr study-results ({what})") from None
    wide = runs.assign(run=runs["dataset"] + "/" + runs["model"] + "/" + runs["seed"]).join(values)
    tidy = wide.melt([*runs, "run"], list(values), "metric", "value").dropna(subset=["value"])
    return tidy.assign(origin="recorded", source=str(file), key="")[list(COLUMNS)]


def not_recorded(file: Path, cells: Iterable[RunSetting]) -> list[RunSetting]:
    """The cells for which ``seeds.csv`` has no line: all, if it does not exist."""
    if not file.is_file():
        return list(cells)
    lines = csv.DictReader(read_text(file).splitlines())  # pandas: too slow for every snakemake
    try:
        known = {(f"{one['dataset']}/{one['model']}/{one['seed']}", one["setting"])
                 for one in lines}  # fmt: skip
    except KeyError as error:
        raise DimrError(f"{file}: not written by dimr study-results (no column {error})") from None
    return [cell for cell in cells if cell not in known]


def _frame(lines: Iterable[tuple[Any, ...]]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(list(lines), columns=list(COLUMNS)).astype({"value": float})


def _split(run: str) -> tuple[str, str, str]:
    """Dataset, model and seed; the run of params.yaml has a name only."""
    parts = run.split("/")
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else ("", run, "")


def read_frame(path: Path, kind: str = "CSV", remedy: str = "", **how: Any) -> "pd.DataFrame":
    """Read a CSV file; ``DimrError`` if it is missing or damaged.

    Args:
        path: the file.
        kind: what it should be, for the message (``a log``).
        remedy: what makes it, for the message that it is missing.
        how: options of ``pandas.read_csv``.
    """
    import pandas as pd

    try:
        return pd.read_csv(path, **how)
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file{remedy and '; '}{remedy}") from None
    except (OSError, ValueError) as error:
        raise DimrError(f"{path}: not readable as {kind} ({single_line(error)})") from None


# --- reading --------------------------------------------------------------------------------------


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

    @property
    def key(self) -> str:
        """Key of the configuration that it was made with."""
        return str(self.record.get("key"))

    @property
    def samples(self) -> dict[str, Any]:
        """The record of the images that were measured."""
        return self.record.get("samples", {})

    @property
    def model(self) -> dict[str, Any]:
        """The record of the network that drew them; empty for a baseline."""
        return self.samples.get("model", {})

    def number(self, key: str) -> float:
        """A metric; ``DimrError`` names the file if the metric is missing or not finite."""
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

    def numbers(self, training_images: int | None = None) -> dict[str, float]:
        """Every number that the run has: metrics, costs, ``evaluations``, ``lr`` and ``epochs``.

        ``training_images`` are those of the dataset; without them epochs are left out.
        """
        costs = self.record.get("cost", {})
        found = {key: costs.get(key) for key in COSTS}
        found["evaluations"] = self.samples.get("config", {}).get("steps")
        found["lr"] = self.model.get("config", {}).get("train", {}).get("lr")
        if training_images and "images" in self.model:  # trained here
            found["epochs"] = self.model["images"] / training_images
        known = {key: value for key, value in found.items() if value is not None}
        return {**known, **{key: self.number(key) for key in self.metrics}}


def read_results(
    project: Project, runs: Path, cells: Iterable[RunSetting], partial: bool = False
) -> dict[RunSetting, RunResult]:
    """Results with their records, as ``results`` reads them."""
    from dimr.stages.pipeline import Pipeline

    pipeline, made, missing = Pipeline(project), {}, []
    for cell in dict.fromkeys(cells):
        file, record = runs / metrics_file(*cell), runs / provenance_file(*cell)
        check_setting("metrics", *cell, project)
        wanted = pipeline.key(f"runs/{metrics_file(*cell)}")
        if partial and not (file.is_file() and record.is_file()):
            continue
        if partial and _mapping(record).get("key") != wanted:
            continue
        if not file.is_file():
            missing.append(file)
            continue
        made[cell] = one = read_result(runs, *cell)
        if one.key != wanted:
            raise DimrError(
                f"{file}: of another configuration (key {one.key}, the present one has {wanted}): "
                f"regenerate it: snakemake -- runs/{metrics_file(*cell)}"
            )
    if missing:
        count = f"{len(missing)} of {len(missing) + len(made)} results are missing"
        target = missing[0].relative_to(runs).as_posix()
        raise DimrError(f"{missing[0]}: no such file ({count}): snakemake -- runs/{target}")
    return made


def read_result(runs: Path, run: str, setting: str) -> RunResult:
    """Metrics and their record, unchanged since they were made; ``DimrError`` names the file."""
    file, record = runs / metrics_file(run, setting), runs / provenance_file(run, setting)
    made = RunResult(file, _mapping(file), _mapping(record))
    if fault := fault_of(made.record, file):
        command = f"snakemake --force -- runs/{metrics_file(run, setting)}"
        raise DimrError(f"{file}: {fault}: regenerate it: {command}")
    return made


def _mapping(file: Path) -> dict[str, Any]:
    value = read_json(file)
    if not isinstance(value, dict):
        raise DimrError(f"{file}: should hold names and values, not {type(value).__name__}")
    return value


def existing(project: Project, runs: Path) -> Iterator[RunSetting]:
    """Every (run, setting) with metrics that the configuration knows."""
    # by depth: ** would skip linked folders (a dataset on another disk) but enter every state
    places = [*runs.glob("*/metrics/*.json"), *runs.glob("*/*/*/metrics/*.json")]
    for cell in cells_of(runs, sorted(places)):
        with contextlib.suppress(DimrError):
            check_setting("", *cell, project)
            yield cell


def available(project: Project, runs: Path, cells: Iterable[RunSetting]) -> list[RunSetting]:
    """The cells whose metrics exist and are of the present configuration.

    Raises:
        DimrError: such metrics that are damaged, or were changed after they were made.
    """
    return list(read_results(project, runs, cells, partial=True))


def check_setting(where: str, run: str, setting: str, project: Project) -> None:
    """Refuse names that are no run or setting; ``where`` says what names them."""
    try:
        allowed = project.run(run).settings
    except DimrError as error:
        raise DimrError(f"{where}: {error}") from None
    if setting not in allowed:
        hint = did_you_mean(setting, allowed)
        raise DimrError(f"{where}: {run}: no setting {setting!r} {hint}")


def cells_of(runs: Path, metrics: Iterable[Path]) -> list[RunSetting]:
    """The (run, setting) of ``<runs>/<run>/metrics/<setting>.json``; else ``DimrError``."""
    cells = []
    for file in metrics:
        inside = file.relative_to(runs).as_posix() if file.is_relative_to(runs) else ""
        found = re.fullmatch(r"(.+)/metrics/(\w+)\.json", inside)
        if found is None:
            raise DimrError(f"{file}: not a run's metrics ({runs}/<run>/metrics/<setting>.json)")
        cells.append((found[1], found[2]))
    return cells
