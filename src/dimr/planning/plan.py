"""A plan before the bill: GPU-hours, wall time and disk of what a target still needs (estimates).

What would run is Snakemake's answer (``plan_jobs``), what it computes follows from the
configuration (``plan_costs``), and how fast from hardware.yaml or a measurement (``plan_machine``).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dimr.config.runs import ROOT, load_run
from dimr.planning.costs import Work, work_of
from dimr.planning.hardware import Machine, Measured, Rate, choose_gpu
from dimr.planning.jobs import Job, planned_jobs
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar

ORDER = ("source", "images", "autoencoder", "classifier", "latents", "reference", "extractor",
         "train", "import", "baseline", "sample", "evaluate", "table")  # fmt: skip
MODEL = ORDER.index("train")


@dataclass(frozen=True)
class Line:
    """A job with its estimate.

    Attributes:
        work: what it computes and stores.
        rate: of one device; None: the time is known of such a step, or is not estimated.
        seconds: on the devices of the recipe; None: not estimated.
    """

    work: Work
    rate: Rate | None
    seconds: float | None

    @property
    def gpu_hours(self) -> float:
        """Of all GPUs together; 0 for steps on a CPU."""
        return (self.seconds or 0.0) * self.work.gpus / 3600


@dataclass(frozen=True)
class Plan:
    """What targets still need.

    Attributes:
        lines: one a job, in an order in which they can run.
        chain: seconds if all that can run at once does.
        machine: what it was estimated for.
    """

    lines: list[Line]
    chain: float
    machine: Machine

    @property
    def gpu_hours(self) -> float:
        """Of all steps."""
        return sum(line.gpu_hours for line in self.lines)

    @property
    def seconds(self) -> float:
        """One step after another, without those that are not estimated."""
        return sum(line.seconds or 0.0 for line in self.lines)

    @property
    def disk(self) -> int:
        """Bytes of all steps."""
        return sum(line.work.disk for line in self.lines)


def make_plan(targets: Sequence[str], machine: Machine, root: Path = ROOT) -> Plan:
    """Estimate what ``snakemake TARGET...`` would run in ``root``."""
    jobs = planned_jobs(targets, root)
    bar = progress_bar(jobs, description="counting", unit="step")
    lines = [estimate(work_of(job, root), machine) for job in bar]
    return Plan(sorted(lines, key=_place), chain_seconds(jobs, lines), machine)


def _place(line: Line) -> tuple[int, str, str, int]:
    """Sources, datasets, runs one by one with their settings, tables: all can run in this order."""
    work = line.work
    order = ORDER.index(work.step) if work.step in ORDER else len(ORDER)
    if order < MODEL:
        return 0, "" if work.step == "source" else work.of, "", order
    return 2 if work.step == "table" else 1, work.of, work.setting, order


def estimate(work: Work, machine: Machine) -> Line:
    """The time of a step: FLOP by rate, or the known time of a short step of the digits."""
    known = machine.hardware.cpu.seconds.get(work.step) if work.digits else None
    known = 0.0 if work.nothing else known
    if not work.resource or not work.flops:
        return Line(work, None, known)
    if work.gpus:
        rate = machine.gpu_rate(work.resource, work.kind)
        return Line(work, rate, work.flops / rate.flops / work.gpus)
    slow = machine.cpu_rate(work.resource)
    return Line(work, slow, work.flops / slow.flops if slow else None)


def chain_seconds(jobs: Sequence[Job], lines: Sequence[Line]) -> float:
    """The longest chain of jobs that wait for each other."""
    maker = {file: number for number, job in enumerate(jobs) for file in job.outputs}
    ends: dict[int, float] = {}

    def end(number: int) -> float:
        if number not in ends:
            before = {maker[file] for file in jobs[number].inputs if file in maker}
            ends[number] = max(map(end, before), default=0.0) + (lines[number].seconds or 0.0)
        return ends[number]

    return max(map(end, range(len(jobs))), default=0.0)


def measured_rates(measured: Measured | None, root: Path = ROOT) -> dict[Any, dict[str, float]]:
    """FLOP/s of one GPU, from a benchmark's images per second."""
    rates: dict[Any, dict[str, float]] = {}
    for step, speeds in (measured.images_per_second if measured else {}).items():
        for of, speed in speeds.items():
            work = _work_like(step, of, root)
            rates.setdefault(step, {})[of] = work.flops / work.images * speed
    return rates


def _work_like(step: str, of: str, root: Path) -> Work:
    """The step of a recipe that a benchmark ran; samples are of the recipe's first setting."""
    if step == "encode":
        output = f"data/{of}/latents"
    else:
        setting = load_run(f"{of}/0", root).settings[0]
        output = f"runs/{of}/0/" + {
            "train": "model", "sample": f"samples/{setting}", "evaluate": f"metrics/{setting}.json",
        }[step]  # fmt: skip
    work = work_of(Job(step, (), (output,)), root)
    if not work.flops:
        raise DimrError(f"images_per_second.{step}: nothing of {of} can be counted")
    return work


def make_machine(
    hardware: Any,
    gpu: str | None = None,
    given: dict[Any, float] | None = None,
    measured: Measured | None = None,
    root: Path = ROOT,
) -> Machine:
    """The machine of a plan: a GPU by name (else the measured one, else an H100), and its rates."""
    if measured and gpu not in (None, measured.gpu):
        raise DimrError(f"--gpu {gpu}: the measurements are of {measured.gpu}")
    name = gpu or (measured.gpu if measured else "h100")
    return Machine(
        hardware, choose_gpu(name, hardware), given or {}, measured_rates(measured, root)
    )
