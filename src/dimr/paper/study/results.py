"""What the study on digits is computed from: every run's numbers, and how they were made.

``seeds.csv`` has one line a run (a model with a seed) and setting, so that other comparisons than
ours can be made from it. ``study.json`` has what the runs share (settings, images compared) and
what the study took. Both are small and committed: the page is made from them without the runs.
"""

import csv
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from dimr.config.recipes import ROOT, load_recipe, training_images
from dimr.config.schema import ConfigModel
from dimr.config.validation import validate
from dimr.paper.results import RunResult, RunSetting, read_made
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_file, write_json

KEYS = ("dataset", "model", "seed", "setting", "kind", "scale", "solver", "evaluations")
COSTS = ("parameters_m", "gmacs")  # seconds are in study.json: they are no property of the model
STEPS = ("train", "sample", "evaluate")


class Shared(ConfigModel):
    """What all runs of a dataset have in common, which is what makes them comparable."""

    training_images: int
    images: int  # that were measured, of each run and setting
    reference_images: int  # that they were compared with
    train: dict[str, Any] = Field(default={})  # settings of training


class Times(ConfigModel):
    """Jobs of a step, and the seconds of those that left a record."""

    jobs: int
    recorded: int
    seconds: float


class Machine(ConfigModel):
    """Where the facts were collected."""

    cpu: str
    cores: int


class StudyFacts(ConfigModel):
    """``study.json``. ``times`` is by step, ```git_revisions`` made some step of it."""

    datasets: dict[str, Shared]
    times: dict[str, Times]
    git_revisions: list[str]
    uncommitted_changes: bool
    versions: dict[str, str]
    devices: list[str]
    machine: Machine


def collect_study(
    runs: Path, metrics: Iterable[Path], logs: Path, seeds: Path, facts: Path
) -> None:
    """Write ``seeds.csv`` and ``study.json``.

    Args:
        runs: the folder of runs.
        metrics: files ``<runs>/<run>/metrics/<setting>.json``, each with its provenance.
        logs: the folder of logs, where the workflow leaves ``<run>/<step>.tsv`` (seconds of jobs).
        seeds: where the CSV goes.
        facts: where the JSON goes.

    Raises:
        DimrError: metrics that are missing or damaged, or runs of one dataset that differ in
            training or in the images they are compared with: they must not be compared.
    """
    made = dict(sorted(read_made(runs, metrics, ROOT).items()))
    if not made:
        raise DimrError(f"{runs}: no metrics given: nothing to study")
    lines = [_line(*cell, one) for cell, one in made.items()]
    _write_csv(seeds, lines)
    write_json(facts, _facts(made, logs).model_dump(mode="json"))


def _line(run: str, setting: str, made: RunResult) -> dict[str, Any]:
    """One line of the CSV."""
    dataset, model, seed = run.split("/")
    asked = made.record.get("samples", {}).get("config", {})
    guidance = asked.get("guidance") or {}
    unguided = guidance.get("kind") in (None, "none", "unconditional")
    return {
        "dataset": dataset,
        "model": model,
        "seed": int(seed),
        "setting": setting,
        "kind": guidance.get("kind"),
        "scale": None if unguided else guidance.get("scale"),
        "solver": asked.get("solver"),
        "evaluations": asked.get("steps"),
        **{key: made.cost(key) for key in COSTS},
        **{key: made.number(key) for key in made.metrics},
    }


def _write_csv(path: Path, lines: list[dict[str, Any]]) -> None:
    """The lines, with the columns of all of them in the order in which they are met."""
    columns = list(dict.fromkeys([*KEYS, *COSTS, *(key for line in lines for key in line)]))
    lines = [
        {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in line.items()}
        for line in lines
    ]
    with atomic_file(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _facts(made: Mapping[RunSetting, RunResult], logs: Path) -> StudyFacts:
    datasets = dict.fromkeys(run.split("/")[0] for run, _ in made)
    records = [one.record for one in made.values()]
    steps = [step for record in records for step in _made_by(record)]
    return StudyFacts(
        datasets={name: _shared(name, made) for name in datasets},
        times={step: _times(step, made, logs) for step in STEPS},
        git_revisions=sorted({str(step.get("git_revision")) for step in steps}),
        uncommitted_changes=any(step.get("git_dirty") for step in steps),
        versions=records[-1].get("versions", {}),
        devices=sorted({str(record.get("device")) for record in records}),
        machine=Machine(cpu=_cpu_name(), cores=os.cpu_count() or 1),
    )


def _made_by(record: dict[str, Any]) -> list[dict[str, Any]]:
    """What says its code: the records of metrics and samples, and the sessions of training."""
    samples = record.get("samples", {})
    return [record, samples, *samples.get("model", {}).get("sessions", [])]


def _shared(dataset: str, made: Mapping[RunSetting, RunResult]) -> Shared:
    """What a dataset's runs share; ``DimrError`` names two that do not."""
    shared: dict[str, Any] = {"training_images": training_images(load_recipe(dataset))}
    first: dict[str, str] = {}
    for (run, _), one in made.items():
        if run.split("/")[0] != dataset:
            continue
        model = one.record.get("samples", {}).get("model", {})
        found = {
            "images": one.record.get("images"),
            "reference_images": one.record.get("reference", {}).get("images"),
            **({"train": model["config"]["train"]} if "config" in model else {}),
        }
        for key, value in found.items():
            if shared.setdefault(key, value) != value:
                raise DimrError(
                    f"{one.file}: {key} {value} differs from {shared[key]} of {first[key]}: "
                    "runs of one study must share it"
                )
            first.setdefault(key, run)
    return validate(Shared, shared, f"records of {dataset}")


def _times(step: str, made: Mapping[RunSetting, RunResult], logs: Path) -> Times:
    seconds: dict[str, float | None] = {}
    for (run, setting), one in made.items():
        model = one.record.get("samples", {}).get("model", {})
        if step == "train" and "seconds" not in model:
            continue  # real images and reconstructions
        name = f"{run}/train" if step == "train" else f"{run}/{step}-{setting}"
        # Of a training that was stopped and went on, the job knows its last session alone.
        known = [_job_seconds(logs / f"{name}.tsv"), model["seconds"] if step == "train" else None]
        seconds[name] = max((s for s in known if s is not None), default=None)
    recorded = [value for value in seconds.values() if value is not None]
    return Times(jobs=len(seconds), recorded=len(recorded), seconds=round(sum(recorded), 1))


def _job_seconds(benchmark: Path) -> float | None:
    """Wall time of a job from Snakemake's benchmark file; None if there is none."""
    try:
        with open(benchmark) as file:
            first = next(csv.DictReader(file, delimiter="\t"), {})
        return float(first["s"])
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        raise DimrError(f"{benchmark}: not a benchmark of Snakemake (no seconds)") from None


def _cpu_name() -> str:
    """The processor of this machine, as its system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
