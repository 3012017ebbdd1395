"""What jobs request from a SLURM cluster: the user's site file, and recipes' resources fitted in.

The site file (``workflow/profiles/slurm/site.yaml``) describes the cluster; recipes.yaml says how
many GPUs a stage takes. Neither changes a result. This module imports no torch: the Snakefile reads
it.
"""

import math
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from dimr.config.schema import ConfigModel, Positive, PositiveFloat, Resources
from dimr.config.validation import load_section
from dimr.runtime.errors import DimrError

SITE = Path("workflow/profiles/slurm/site.yaml")
EXAMPLE = SITE.with_name("site.example.yaml")

Rule = Literal["autoencoder", "encode", "classifier", "train", "sample", "baseline", "evaluate"]
"""Rules whose jobs are submitted; the others run where Snakemake does."""
Name = Annotated[str, Field(pattern=r"^[\w.-]+$")]  # goes to sbatch as it is

HOURS: dict[Rule, float] = {"train": 24.0, "encode": 12.0, "sample": 12.0, "evaluate": 4.0}


class RuleOptions(ConfigModel):
    """What the jobs of a rule request on each node; null: as the site says.

    ``nodes`` and ``gpus`` replace the recipe's.
    """

    hours: PositiveFloat | None = None
    memory_gb: PositiveFloat | None = None
    cpus: Positive | None = None
    nodes: Positive | None = None
    gpus: Positive | None = None
    partition: Name | None = None
    constraint: str | None = None


class SmallJobs(ConfigModel):
    """Jobs that the recipe gives no resources: those on digits, and short ones on other sets."""

    hours: PositiveFloat = 1.0
    memory_gb: PositiveFloat = 8.0


class Site(ConfigModel):
    """site.yaml. Names are SLURM's; what is null is the cluster's default."""

    partition: Name | None = None  # of jobs without GPUs
    gpu_partition: Name | None = None
    account: Name | None = None
    qos: Name | None = None
    constraint: str | None = None  # features of nodes, for jobs with GPUs
    gpus_per_node: Annotated[int, Field(ge=0)] = 8
    gpu_type: Name | None = None  # as in --gres=gpu:TYPE:8
    cpus_per_gpu: Positive = 8
    memory_gb_per_gpu: PositiveFloat = 64.0
    margin_minutes: PositiveFloat = 10.0  # before the end of its time, training saves and leaves
    sbatch: str | None = None  # further options, as they are
    small: SmallJobs = SmallJobs()
    rules: dict[Rule, RuleOptions] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _leaves_time_to_train(self) -> Self:
        for where, hours in (
            ("small.hours", self.small.hours),
            ("rules.train.hours", self.hours("train")),
        ):
            if hours * 60 <= self.margin_minutes:
                raise ValueError(
                    f"margin_minutes {self.margin_minutes:g} leaves no time of {where} {hours:g} "
                    "to train in"
                )
        return self

    def hours(self, rule: Rule) -> float:
        """The time of a rule's jobs that are not small."""
        given = self.rules[rule].hours if rule in self.rules else None
        return given or HOURS.get(rule, self.small.hours)

    @property
    def partitions(self) -> dict[str, str]:
        """The partitions that are named, by the key that names them."""
        named = {"partition": self.partition, "gpu_partition": self.gpu_partition}
        named |= {f"rules.{rule}.partition": one.partition for rule, one in self.rules.items()}
        return {key: name for key, name in named.items() if name}


def load_site(path: Path) -> Site:
    """Read a site file; without one, everything is the cluster's default.

    Raises:
        DimrError: one line with the file, the key, the value and what is allowed.
    """
    return load_section(Site, path) if path.is_file() else Site()


@dataclass(frozen=True)
class SlurmJob:
    """What one job asks for.

    Attributes:
        nodes: how many machines.
        gpus: on each of them; 0: it runs on a CPU.
        cpus: on each of them.
        memory_mb: on each of them.
        minutes: that it may run.
        partition: of the cluster; None: its default.
        constraint: features of nodes.
    """

    nodes: int
    gpus: int
    cpus: int
    memory_mb: int
    minutes: int
    partition: str | None = None
    constraint: str | None = None

    @property
    def processes(self) -> int:
        """Processes of a training on each node."""
        return max(1, self.gpus)


def plan_job(
    site: Site, rule: Rule, resources: Resources | None, threads: int, dataset: str = ""
) -> SlurmJob:
    """A rule's job at a site.

    Args:
        site: the cluster.
        rule: of the workflow.
        resources: of the recipe for this stage; None: a small job.
        threads: of a job without GPUs.
        dataset: for the message.

    Raises:
        DimrError: the recipe wants GPUs and the site has none.
    """
    small = resources is None
    asked = RuleOptions() if small else site.rules.get(rule, RuleOptions())
    nodes, gpus = (1, 0) if resources is None else _fitted(site, rule, resources, asked, dataset)
    memory = site.small.memory_gb if small else max(1, gpus) * site.memory_gb_per_gpu
    hours = site.small.hours if small else site.hours(rule)
    return SlurmJob(
        nodes,
        gpus,
        cpus=asked.cpus or (gpus * site.cpus_per_gpu if gpus else threads),
        memory_mb=math.ceil(1000 * (asked.memory_gb or memory)),
        minutes=math.ceil(60 * hours),
        partition=asked.partition or (site.gpu_partition if gpus else site.partition),
        constraint=asked.constraint or (site.constraint if gpus else None),
    )


def _fitted(
    site: Site, rule: Rule, resources: Resources, asked: RuleOptions, dataset: str
) -> tuple[int, int]:
    """Nodes, and GPUs on each: the recipe's total on nodes of this site.

    Training keeps the number of GPUs, as the batch is split into that many equal parts, and takes
    more nodes if they are smaller; other stages take what a node has.
    """
    nodes, gpus = asked.nodes or resources.nodes, asked.gpus or resources.gpus
    if gpus == 0:
        return nodes, 0
    if site.gpus_per_node == 0:
        raise DimrError(
            f"{SITE.name}: gpus_per_node: 0, but recipes.yaml: {dataset}.resources.{rule} takes "
            f"{gpus} GPUs per node: name a partition with GPUs, or lower what the recipe takes"
        )
    if gpus <= site.gpus_per_node:
        return nodes, gpus
    if asked.gpus:
        raise DimrError(
            f"{SITE.name}: rules.{rule}.gpus: {asked.gpus} is more than gpus_per_node "
            f"{site.gpus_per_node}"
        )
    if rule != "train" or asked.nodes:
        return nodes, site.gpus_per_node
    total = nodes * gpus
    gpus = max(n for n in range(1, site.gpus_per_node + 1) if total % n == 0)
    return total // gpus, gpus


# --- as Snakemake and its slurm plugin name things ------------------------------------------------


def slurm_resources(site: Site, job: SlurmJob) -> dict[str, int | str | None]:
    """The resources from which snakemake-executor-plugin-slurm makes sbatch's options.

    Several nodes are one job, within which the command itself calls srun (``mpi``): the plugin then
    runs it on the first node, outside of any step. ``tasks_per_gpu`` 0 keeps the plugin from taking
    ``tasks`` for a number of tasks per GPU.
    """
    kind = f":{site.gpu_type}" if site.gpu_type else ""
    several = job.nodes > 1
    return {
        "runtime": job.minutes,
        "mem_mb": job.memory_mb,
        "nodes": job.nodes,
        "tasks": job.nodes if several else None,
        "mpi": "srun" if several else None,
        "gres": f"gpu{kind}:{job.gpus}" if job.gpus else None,
        "tasks_per_gpu": 0 if job.gpus else None,
        "slurm_partition": job.partition,
        "slurm_account": site.account,
        "qos": site.qos,
        "constraint": job.constraint,
        "slurm_extra": site.sbatch,
    }


RESOURCES = tuple(slurm_resources(Site(), SlurmJob(1, 0, 1, 1, 1)))
"""Their names."""


def launcher(processes: int, nodes: int = 1, cpus: int = 1) -> str:
    """The words before a ``dimr`` subcommand that start a training.

    One process is plain ``dimr``; several on one machine, torchrun; on several machines, srun
    starts torchrun on each (none is killed when another exits: each saves for itself, then exits).
    """
    if nodes == 1 and processes == 1:
        return "dimr"
    torchrun = f"python -m dimr.cluster.launch --nproc-per-node {processes}"
    if nodes == 1:
        return f"{torchrun} --standalone"
    return (
        f"srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --cpus-per-task={cpus} "
        f"--kill-on-bad-exit=0 --wait=0 {torchrun} --slurm"
    )


def seconds_to_train(site: Site, job: SlurmJob) -> int:
    """After which training saves and leaves, to be submitted again (contract C)."""
    return math.floor(60 * (job.minutes - site.margin_minutes))


def visible_gpus() -> int:
    """GPUs of this machine that a process may use, without importing torch, which is slow."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([one for one in named.split(",") if one.strip() and not one.startswith("-")])
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in done.stdout.splitlines())
