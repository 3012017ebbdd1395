"""What all stages of the pipeline share.

A stage is one file of this package: a subclass of ``Stage`` that names its configuration, what it
reads and what it writes, and does its ``work``. Everything else derives from that definition: the
command (``dimr.cli.stages``), the Snakemake rule and the key that a result should have
(``dimr.stages.pipeline``), the DVC stage and its code (``dimr.sharing.dvc_stages``), the code
fingerprint, the costs of a plan, and the stub that tests use.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.project import Project
from dimr.config.runs import Run
from dimr.config.schema import ConfigModel, ImagesData, Recipe, Step
from dimr.config.validation import load_section
from dimr.runtime.code import work_fingerprint
from dimr.runtime.errors import DimrError
from dimr.runtime.output_kinds import FOLDERS, GROWING
from dimr.runtime.record import RECORD, recorded_key
from dimr.stages.job import Job

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

WILDCARDS = {
    "dataset": r"[\w-]+",
    "source": r"[\w-]+",
    "weights": r"[\w.-]+\.pth",
    "name": r"[\w.-]+",
    "run": r"workspace|[\w-]+/[\w-]+/(?:0|[1-9]\d*|published)",
    "setting": r"\w+",
}
"""What the parts in braces of places stand for."""


@dataclass(frozen=True)
class Input:
    """A result that a stage reads, named by an option of its command.

    Attributes:
        name: of the option, with underscores.
        about: its help.
        required: whether the command needs it.
        keyed: whether the key of the stage's own result depends on it.
        group: heading in the help, for inputs that only some configurations take.
    """

    name: str
    about: str = ""
    required: bool = True
    keyed: bool = True
    group: str = ""


@dataclass(frozen=True)
class Output:
    """A file or folder that a stage writes, named by an option of its command.

    Attributes:
        kind: as in ``dimr.runtime.outputs``.
        place: where the workflow has it, with wildcards; folders also get a record.
        about: help of the option.
        required: whether the command needs it.
    """

    kind: str
    place: str
    about: str = ""
    required: bool = True

    @property
    def is_folder(self) -> bool:
        """Whether it is a result with a record."""
        return self.kind in FOLDERS

    @property
    def is_declared(self) -> bool:
        """Whether rules declare it: what they declare is deleted when a job fails (contract C)."""
        return self.kind not in GROWING

    @property
    def handed_on(self) -> str:
        """What other rules take instead: for a folder, its record (contract B)."""
        return f"{self.place}/{RECORD}" if self.is_folder else self.place


@dataclass(frozen=True)
class Target:
    """What a place of the workflow stands for: the values of its wildcards in a project."""

    project: Project
    wildcards: Mapping[str, str]

    @property
    def run(self) -> Run:
        """The run that it belongs to."""
        return self.project.run(self.wildcards["run"])

    @property
    def dataset(self) -> str:
        """The dataset that it belongs to; for a source, its name."""
        given = self.wildcards.get("dataset") or self.wildcards.get("source")
        return given or self.run.dataset

    @property
    def setting(self) -> str:
        """Name of the way of sampling."""
        return self.wildcards["setting"]

    @property
    def recipe(self) -> Recipe:
        """The recipe of its dataset."""
        return self.run.recipe if "run" in self.wildcards else self.project.recipe(self.dataset)

    @property
    def is_digits(self) -> bool:
        """Whether it is on the digits, whose short stages take known times."""
        known = "run" in self.wildcards or "dataset" in self.wildcards
        return known and self.recipe.data.source_name is None

    @property
    def data(self) -> str:
        """Folder of the dataset."""
        return f"data/{self.dataset}"

    @property
    def images(self) -> str:
        """What the dataset is made from: its images, or those of a source of ImageNet's size."""
        data = self.recipe.data
        is_array = isinstance(data, ImagesData)
        return f"{self.data}/images" if is_array else f"data/{data.source_name}/source"

    @property
    def name(self) -> str:
        """Name of the run, dataset or file."""
        return self.wildcards.get("run") or next(iter(self.wildcards.values()))

    @property
    def kind(self) -> str:
        """``imagenet256/dimr-xl-2r`` for all seeds and milestones; for a dataset, its name."""
        name = self.run.training if "run" in self.wildcards else self.name
        return "/".join(name.split("/")[:2])


class Stage:
    """A stage of the pipeline; subclasses fill in the attributes and ``work``."""

    name: ClassVar[str]
    """Name of the Snakemake rule, and of the subcommand unless ``command`` gives another."""
    about: ClassVar[str]
    """What the command does, for its help."""
    config_is_required: ClassVar[bool] = True
    """Whether the command needs ``--config``; rules always have one."""
    phase: ClassVar[str]
    """Which configuration file it depends on (contract A), with wildcards."""
    config: ClassVar[type[ConfigModel]]
    """What that file holds."""
    inputs: ClassVar[tuple[Input, ...]] = ()
    outputs: ClassVar[dict[str, Output]]
    """By option; the first one is the result."""
    command: ClassVar[str] = ""
    """Words of the command, with wildcards."""
    wildcards: ClassVar[dict[str, str]] = {}
    """Wildcards that are narrower than ``WILDCARDS``."""
    resource: ClassVar[Step | None] = None
    """The step of the recipe whose resources it takes; None: a single core."""
    is_short: ClassVar[bool] = False
    """Whether it only waits for disk or network: it runs where Snakemake does, without threads."""
    resumes: ClassVar[bool] = False
    """Whether an interrupted command resumes where it stopped."""
    priority: ClassVar[int] = 0
    """The highest starts first: long jobs started last would be left alone, each on one core."""

    # --- the workflow -----------------------------------------------------------------------------

    @property
    def result(self) -> Output:
        """The output that it makes."""
        return next(iter(self.outputs.values()))

    @property
    def record(self) -> str | None:
        """The file with the key of its result, with wildcards; None: it has no key."""
        return self.result.handed_on if self.result.is_folder else None

    @property
    def log(self) -> str:
        """Name of its logs below ``logs/``, with wildcards."""
        suffix = "-{setting}" if "{setting}" in self.result.place else ""
        folder = self.folder.removeprefix("runs/")
        return f"{folder}/{self.name}{suffix}"

    @property
    def folder(self) -> str:
        """The folder that the result's dataset or run has, with wildcards."""
        return self.result.place[: self.result.place.index("}") + 1]

    def config_of(self, target: Target) -> ConfigModel:
        """The configuration that a target of the stage depends on.

        Raises:
            DimrError: the run or dataset has no such phase.
        """
        if "source" in target.wildcards:
            return target.project.source(target.wildcards["source"])
        phase = self.phase.format(**target.wildcards)
        if "run" not in target.wildcards:
            phases = target.recipe.data.phases()
            if phase not in phases:
                raise DimrError(f"{target.dataset}: has no {phase} (recipes.yaml: data)")
            return phases[phase]
        run = target.run
        if phase in (phases := run.phases()):
            return phases[phase]
        if "setting" in target.wildcards and target.setting not in run.settings:
            allowed = ", ".join(run.settings)
            raise DimrError(f"{run.name}: no setting {target.setting!r} (allowed: {allowed})")
        raise DimrError(f"{run.name}: has no {phase} phase (recipes.yaml)")

    def config_file(self, target: Target) -> str:
        """Where the workflow keeps that configuration."""
        self.config_of(target)
        return f"{self.folder}/config/{self.phase}.yaml".format(**target.wildcards)

    def sources(self, target: Target) -> dict[str, str]:  # noqa: ARG002 most read something
        """Places of a target's inputs in the workflow, by name."""
        return {}

    def files(self, target: Target) -> dict[str, str]:  # noqa: ARG002 most take none
        """A target's inputs that no stage makes: paths, absolute or in the repository, by name."""
        return {}

    def input_key(self, name: str, path: Path, config: Any) -> str:  # noqa: ARG002 of all inputs
        """What identifies the content of an input, by its option's name: the key in its record."""
        return recorded_key(path)

    def places(self, target: Target) -> dict[str, str]:
        """Places of a target's outputs in the workflow, by option."""
        return {name: one.place.format(**target.wildcards) for name, one in self.outputs.items()}

    def cost(self, target: Target) -> "Cost":
        """What a target takes; by default the known time of such a stage."""
        from dimr.stages.costs import Cost

        setting = target.wildcards.get("setting", "")
        return Cost(self.name, target.name, setting, kind=target.kind, digits=target.is_digits)

    @classmethod
    def code(cls) -> str:
        """Fingerprint of the code that the result depends on: all that the work imports."""
        return work_fingerprint(cls.__module__)

    # --- the command ------------------------------------------------------------------------------

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Options besides configuration, inputs and outputs."""

    def load(self, path: Path) -> Any:
        """Read and check the configuration."""
        return load_section(self.config, path)

    def check(self, options: argparse.Namespace) -> None:
        """Refuse incompatible options, before anything is read."""

    def run(self, options: argparse.Namespace) -> None:
        """Run the command: places are checked already (``dimr.stages.options``)."""
        self.check(options)
        self.work(Job(self, options))

    def work(self, job: Job) -> None:
        """Make the result."""
        raise NotImplementedError
