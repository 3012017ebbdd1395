"""A plan before the bill: estimated GPU-hours, wall time and disk that a target still needs.

Snakemake says what would run, each stage what it computes (``Stage.cost``), and hardware.yaml or a
measurement how fast (``dimr.planning.hardware``).
"""

import csv
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dimr.config.project import Project
from dimr.planning.hardware import Machine, Rate
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar
from dimr.runtime.snakemake_messages import complaint
from dimr.stages.costs import Cost
from dimr.stages.pipeline import STAGES, Pipeline

COMMAND = ("-m", "snakemake", "--detailed-summary", "--cores", "1", "--nocolor")
ORDER = [*STAGES]
MODEL = ORDER.index("train")


@dataclass(frozen=True)
class PlannedJob:
    """A job that would run.

    Attributes:
        rule: of the workflow.
        place: its first output, without suffix if no stage makes it.
        inputs: places of other jobs that it waits for; None: for all.
    """

    rule: str
    place: str
    inputs: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Estimate:
    """A job's cost and time.

    Attributes:
        cost: what it computes and stores.
        rate: of one device; None: the time of such a stage is known, or is not estimated.
        seconds: on the devices of the recipe; None: not estimated.
    """

    cost: Cost
    rate: Rate | None
    seconds: float | None

    @property
    def gpu_hours(self) -> float:
        """For all GPUs together; 0 for stages on a CPU."""
        return (self.seconds or 0.0) * self.cost.gpus / 3600


@dataclass(frozen=True)
class Plan:
    """What targets still need.

    Attributes:
        estimates: one per job, in an order in which they can run.
        chain: seconds if all that can run at once does.
        machine: what it was estimated for.
    """

    estimates: list[Estimate]
    chain: float
    machine: Machine

    @property
    def gpu_hours(self) -> float:
        """For all jobs."""
        return sum(one.gpu_hours for one in self.estimates)

    @property
    def seconds(self) -> float:
        """One job after another, without those that are not estimated."""
        return sum(one.seconds or 0.0 for one in self.estimates)

    @property
    def disk(self) -> int:
        """Bytes for all jobs."""
        return sum(one.cost.disk for one in self.estimates)


def make_plan(targets: Sequence[str], machine: Machine, project: Project) -> Plan:
    """Estimate what ``snakemake TARGET...`` would run in a project.

    Raises:
        DimrError: the workflow's own complaint, in one line (an unknown target, a mistake in a
            file).
    """
    pipeline = Pipeline(project)
    jobs = jobs_of(summary(targets, project.root), pipeline)
    bar = progress_bar(jobs, description="counting", unit="job")
    estimates = [estimate(cost_of(job, pipeline), machine) for job in bar]
    return Plan(sorted(estimates, key=_position), chain_seconds(jobs, estimates), machine)


def summary(targets: Sequence[str], root: Path) -> list[dict[str, str]]:
    """Snakemake's own table of the files that targets need: rule, plan, ... for each."""
    if unknown := [target for target in targets if target.startswith("-")]:
        raise DimrError(f"target {unknown[0]!r} should be a file or a rule of the workflow")
    # A user's profile (for a cluster) says how jobs run, not which.
    environment = {k: v for k, v in os.environ.items() if k != "SNAKEMAKE_PROFILE"}
    command = [sys.executable, *COMMAND, "--", *targets]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise DimrError(f"snakemake: {complaint(done.stdout + done.stderr)}")
    return list(csv.DictReader(done.stdout.splitlines(), delimiter="\t"))


def jobs_of(files: Iterable[dict[str, str]], pipeline: Pipeline) -> list[PlannedJob]:
    """The jobs whose files would be written, one per result."""
    jobs: dict[str, PlannedJob] = {}
    for file in files:
        if file["plan"] != "update pending":
            continue
        path = file["output_file"].removesuffix("/record.json")
        if one := pipeline.find(path):
            inputs = tuple(one.inputs.values())
            jobs[one.place] = PlannedJob(file["rule"], one.place, inputs)
        elif file["rule"] not in STAGES:
            place = str(Path(path).with_suffix(""))
            jobs.setdefault(place, PlannedJob(file["rule"], place))
    return list(jobs.values())


def cost_of(job: PlannedJob, pipeline: Pipeline) -> Cost:
    """What a job takes; if no stage makes it, the time that a table takes."""
    if one := pipeline.find(job.place):
        return one.stage.cost(one.target)
    if job.place.startswith("results/"):
        return Cost("table", job.place, digits=True)
    return Cost(job.rule, job.place)


def _position(one: Estimate) -> tuple[int, str, str, int]:
    """Sort key: sources, datasets, runs one by one with their settings, tables."""
    cost = one.cost
    stage = "published" if cost.stage == "import" else cost.stage
    order = ORDER.index(stage) if stage in ORDER else len(ORDER)
    if order < MODEL:
        return 0, "" if stage == "source" else cost.of, "", order
    return 1 + (order == len(ORDER)), cost.of, cost.setting, order


def estimate(cost: Cost, machine: Machine) -> Estimate:
    """The time of a job: FLOP by rate, or the known time of a short stage of the digits."""
    known = machine.hardware.cpu.seconds.get(cost.stage) if cost.digits else None
    known = 0.0 if cost.nothing else known
    if not cost.resource or not cost.flops:
        return Estimate(cost, None, known)
    if cost.gpus:
        rate = machine.gpu_rate(cost.resource, cost.kind)
        return Estimate(cost, rate, cost.flops / rate.flops / cost.gpus)
    slow = machine.cpu_rate(cost.resource)
    return Estimate(cost, slow, cost.flops / slow.flops if slow else None)


def chain_seconds(jobs: Sequence[PlannedJob], estimates: Sequence[Estimate]) -> float:
    """The longest chain of jobs that wait for each other."""
    ends: dict[str, float] = {}
    own = {job.place: one.seconds or 0.0 for job, one in zip(jobs, estimates, strict=True)}
    waits = {job.place: job.inputs for job in jobs}

    def end(place: str) -> float:
        if place not in ends:
            inputs = waits[place]
            before = [name for name in inputs or () if name in own]
            if inputs is None:  # a table: after all results
                before = [name for name in own if waits[name] is not None]
            ends[place] = max(map(end, before), default=0.0) + own[place]
        return ends[place]

    return max(map(end, own), default=0.0)
