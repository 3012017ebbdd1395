"""What the digits study is computed from: every run's numbers, and how they were made.

``seeds.csv`` has a line per run (a model with a seed) and setting, so that comparisons other than
ours can be made from it (``dimr.paper.results.recorded`` reads it). ``study.json`` has what the
runs share (settings, images compared) and what the study took. Both are small and committed: the
page is made from them without the runs.
"""

import csv
import io
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from dimr.config.project import Project
from dimr.config.runs import BASELINES
from dimr.config.schema import ConfigModel
from dimr.config.validation import validate
from dimr.paper.results import SETTING_KEYS, RunResult, RunSetting, read_frame
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("train", "sample", "evaluate")


class Shared(ConfigModel):
    """What all runs of a dataset have in common, which is what makes them comparable.

    Not the learning rate, which each network has of its own (see ``seeds.csv``).
    """

    training_images: int
    images: int | None = None  # measured, of each trained run and setting
    baseline_images: int | None = None  # measured, of real images and of reconstructions
    reference_images: int  # that they were compared with
    train: dict[str, Any] = Field(default={})  # settings of training


class Times(ConfigModel):
    """Jobs of a stage, and the seconds of those that left a record."""

    jobs: int
    recorded: int
    seconds: float


class Machine(ConfigModel):
    """Where the facts were collected."""

    cpu: str
    cores: int


class Making(ConfigModel):
    """How runs were made; ``times`` by stage, ``git_revisions`` of the code that ran some stage.

    Trials, which the learning rates were chosen by, are ``times["tuning"]``, all stages together.
    """

    times: dict[str, Times]
    git_revisions: list[str]
    uncommitted_changes: bool
    versions: dict[str, str]
    devices: list[str]
    machine: Machine


class Added(Making):
    """Runs that were added to the recorded ones, perhaps on another machine."""

    runs: list[str]


class StudyFacts(Making):
    """``study.json``.

    ``note`` is written by hand: what readers must know about numbers until they are regenerated.
    """

    datasets: dict[str, Shared]
    added: list[Added] = Field(default=[], exclude_if=lambda value: not value)
    note: str = Field(default="", exclude_if=lambda value: not value)

    @property
    def all_times(self) -> dict[str, Times]:
        """Times by stage, including those of added runs."""
        everything = [self.times, *(one.times for one in self.added)]
        stages = dict.fromkeys(stage for times in everything for stage in times)
        return {
            stage: _sum([times[stage] for times in everything if stage in times])
            for stage in stages
        }


def collect_study(
    made: Mapping[RunSetting, RunResult],
    project: Project,
    logs: Path,
    seeds: Path,
    facts: Path,
    add: bool = False,
) -> None:
    """Write ``seeds.csv`` and ``study.json``, or add runs to them.

    Args:
        made: the results, by run and setting.
        project: whose datasets these are.
        logs: the folder of logs, where the workflow leaves ``<run>/<stage>.tsv`` (seconds of jobs).
        seeds: where the CSV goes.
        facts: where the JSON goes.
        add: keep what both have: the runs of the study itself need not exist here.

    Raises:
        DimrError: no results, damaged ones, or runs of one dataset that differ in training (except
            for the learning rate) or in the images they are compared with: they must not be
            compared. Trials share nothing with results. When adding: a run already recorded.
    """
    import pandas as pd

    if not made:
        raise DimrError("--metrics: no results given: nothing to study")
    made = dict(sorted(made.items()))
    lines = pd.DataFrame([_line(*cell, one) for cell, one in made.items()])
    content = _facts(made, project, logs)
    if add:
        known = validate(StudyFacts, read_json(facts), str(facts))
        lines = _added_to(seeds, lines)
        content = _facts_added(known, content, list(made), facts)
    write_json(facts, content.model_dump(mode="json"))
    with atomic_file(seeds) as temporary:  # last: if killed before, the runs are added again
        lines.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def _added_to(seeds: Path, lines: "pd.DataFrame") -> "pd.DataFrame":
    """The lines of the file and new ones, in the order that they have when written together."""
    import pandas as pd

    text = io.StringIO(lines.to_csv(index=False, float_format="%.6g"))
    new = pd.read_csv(text, dtype=str, keep_default_na=False)
    old = read_frame(seeds, dtype=str, keep_default_na=False)
    both = pd.concat([old, new]).fillna("")
    run = both["dataset"] + "/" + both["model"] + "/" + both["seed"]
    both = both.assign(run=run).sort_values(["run", "setting"], kind="stable")
    twice = both.loc[both.duplicated(["run", "setting"]), "run"]
    if not twice.empty:
        raise DimrError(f"{seeds}: {twice.iloc[0]} is recorded already: only others can be added")
    return both.drop(columns="run")


def _facts_added(
    known: StudyFacts, new: StudyFacts, cells: list[RunSetting], file: Path
) -> StudyFacts:
    """The facts of both; ``DimrError`` if they share less than runs of one study must."""
    for name, shared in new.datasets.items():
        before = known.datasets.get(name)
        for key, value in shared.model_dump(exclude_none=True).items():
            if before is not None and getattr(before, key) not in (None, value):
                raise DimrError(
                    f"{file}: datasets.{name}.{key}: {getattr(before, key)} is recorded; runs with "
                    f"{value} cannot be added"
                )
    other = [name for name in new.datasets if name not in known.datasets]
    making = new.model_dump(include=set(Making.model_fields))
    runs = list(dict.fromkeys(run for run, _ in cells))
    before_these = [one for one in known.added if one.runs != runs]  # equal: from a killed attempt
    return known.model_copy(
        update={
            "datasets": known.datasets | {name: new.datasets[name] for name in other},
            "added": [*before_these, Added(runs=runs, **making)],
        }
    )


def _line(run: str, setting: str, made: RunResult) -> dict[str, Any]:
    """One line of the CSV."""
    asked = made.samples.get("config", {})
    guidance = asked.get("guidance") or {}
    unguided = guidance.get("kind") in (None, "none", "unconditional")
    values = (
        *run.split("/"),
        setting,
        guidance.get("kind"),
        None if unguided else guidance.get("scale"),
        asked.get("solver"),
    )
    numbers = dict.fromkeys(("evaluations", "parameters_m", "gmacs", "lr")) | made.numbers()
    numbers.pop("train_seconds", None)  # in study.json: they differ from machine to machine
    return {**dict(zip(SETTING_KEYS, values, strict=True)), **numbers}


def _facts(made: Mapping[RunSetting, RunResult], project: Project, logs: Path) -> StudyFacts:
    trials = {cell: one for cell, one in made.items() if project.run(cell[0]).trial}
    studied = {cell: one for cell, one in made.items() if cell not in trials}
    datasets = dict.fromkeys(run.split("/")[0] for run, _ in studied)
    longer = {cell: one for cell, one in studied.items() if project.run(cell[0]).milestone}
    own = {cell: one for cell, one in studied.items() if cell not in longer}
    times = {stage: _times(stage, own, logs) for stage in STAGES}
    for name, others in (("tuning", trials), ("longer", longer)):
        if others:
            times[name] = _sum([_times(stage, others, logs) for stage in STAGES])
    records = [one.record for one in made.values()]
    origins = [origin for one in made.values() for origin in _origins(one)]
    return StudyFacts(
        datasets={name: _shared(name, studied, project) for name in datasets},
        times=times,
        git_revisions=sorted({str(origin.get("git_revision")) for origin in origins}),
        uncommitted_changes=any(origin.get("git_dirty") for origin in origins),
        versions=records[-1].get("versions", {}),
        devices=sorted({str(record.get("device")) for record in records}),
        machine=Machine(cpu=_cpu_name(), cores=os.cpu_count() or 1),
    )


def _origins(made: RunResult) -> list[dict[str, Any]]:
    """The records that state their code: of metrics, samples and the sessions of training."""
    return [made.record, made.samples, *made.model.get("sessions", [])]


def _shared(dataset: str, made: Mapping[RunSetting, RunResult], project: Project) -> Shared:
    """What a dataset's runs share; ``DimrError`` names two that differ."""
    shared: dict[str, Any] = {"training_images": project.training_images(dataset)}
    first: dict[str, str] = {}
    for (run, _), one in made.items():
        if run.split("/")[0] != dataset or project.run(run).milestone:
            continue
        of = "baseline_images" if run.split("/")[1] in BASELINES else "images"
        found = {
            of: one.record.get("images"),
            "reference_images": one.record.get("reference", {}).get("images"),
        }
        if "config" in one.model:
            train = one.model["config"]["train"]
            found["train"] = {key: value for key, value in train.items() if key != "lr"}
        for key, value in found.items():
            if shared.setdefault(key, value) != value:
                raise DimrError(
                    f"{one.file}: {key} {value} differs from {shared[key]} of {first[key]}: "
                    "runs of one study must share it"
                )
            first.setdefault(key, run)
    return validate(Shared, shared, f"records of {dataset}")


def _times(stage: str, made: Mapping[RunSetting, RunResult], logs: Path) -> Times:
    seconds: dict[str, float | None] = {}
    for (run, setting), one in made.items():
        if stage == "train" and "seconds" not in one.model:
            continue  # real images and reconstructions
        name = f"{run}/train" if stage == "train" else f"{run}/{stage}-{setting}"
        # For a training that was interrupted and resumed, the job knows only its last session.
        trained = one.model["seconds"] if stage == "train" else None
        known = [_job_seconds(logs / f"{name}.tsv"), trained]
        seconds[name] = max((s for s in known if s is not None), default=None)
    recorded = [value for value in seconds.values() if value is not None]
    return Times(jobs=len(seconds), recorded=len(recorded), seconds=round(sum(recorded), 1))


def _sum(times: list[Times]) -> Times:
    return Times(
        jobs=sum(one.jobs for one in times),
        recorded=sum(one.recorded for one in times),
        seconds=round(sum(one.seconds for one in times), 1),
    )


def _job_seconds(benchmark: Path) -> float | None:
    """Wall time of a job from Snakemake's benchmark file; None without one."""
    try:
        with open(benchmark, encoding="utf-8") as file:
            first = next(csv.DictReader(file, delimiter="\t"), {})
        return float(first["s"])
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        raise DimrError(f"{benchmark}: not a benchmark of Snakemake (no seconds)") from None


def _cpu_name() -> str:
    """This machine's processor, as the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
