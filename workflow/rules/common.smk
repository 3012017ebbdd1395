# Configuration: each phase of each run has one file, rewritten only if its content differs.

import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import IOFile
from snakemake.logging import logger

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))

from dimr.config.phases import write_dataset, write_run, write_source
from dimr.config.project import Project
from dimr.planning.announcement import announcement
from dimr.runtime.errors import DimrError
from dimr.runtime.output_kinds import BESIDE
from dimr.runtime.record import RECORD
from dimr.runtime.snakemake_messages import install
from dimr.stages.pipeline import STAGES, Pipeline
from dimr.stages.stage import WILDCARDS, Target

# One-line messages; a job that runs elsewhere keeps Snakemake's own in its log.
say_how_to_resume = install(logger) if workflow.is_main_process else None

# Rules run this folder's code with this environment's programs, or with those of `--sdm`.
shell.prefix(
    f'. "{workflow.basedir}/workflow/environment.sh" "{SOURCE}" "{Path(sys.executable).parent}"; '
)


# For `snakemake --sdm apptainer`; made by `make containers/dimr.sif`.
container: "containers/dimr.sif"


wildcard_constraints:
    **WILDCARDS,


def one_line_errors(function):
    """Report bad input as a one-line message, not a traceback."""

    def wrapped(*arguments):
        try:
            return function(*arguments)
        except DimrError as error:
            raise WorkflowError(str(error)) from None

    return wrapped


PROJECT = Project(Path(workflow.basedir))
PIPELINE = Pipeline(PROJECT)
WRITTEN = set()


def once(name):
    """Whether the configuration of a run, dataset or source is still to be written (contract A)."""
    is_new = workflow.is_main_process and name not in WRITTEN
    WRITTEN.add(name)  # a job must not change the configuration that others depend on
    return is_new


@one_line_errors
def prepare(dataset):
    """A dataset's recipe, with its stages' files written where they differ."""
    recipe = PROJECT.recipe(dataset)
    if once(f"data/{dataset}"):
        write_dataset(PROJECT, dataset, Path())
    return recipe


@one_line_errors
def resolve(name):
    """The run, with its configuration files written where they differ."""
    run = PROJECT.run(name)
    if once(f"runs/{name}"):
        write_run(PROJECT, name, Path())
    return run


def configure(wildcards):
    """Write the configuration that a stage's job depends on."""
    if "run" in wildcards.keys():
        resolve(wildcards.run)
    elif "dataset" in wildcards.keys():
        prepare(wildcards.dataset)
    elif "source" in wildcards.keys() and once(f"source {wildcards.source}"):
        write_source(PROJECT, wildcards.source, Path())


@one_line_errors
def training_config(stage, wildcards):
    """Input function: the configuration of a run's training, and nothing that it waits for."""
    configure(wildcards)
    return stage.config_file(Target(PROJECT, dict(wildcards.items())))


def was_made_without(milestone, places):
    """Whether a model exists, as configured, that did not wait for a milestone (its record).

    As a new input, the milestone would make the same model be trained again.
    """
    if milestone is None or not PIPELINE.is_made(places["out"]):
        return False
    known = workflow.persistence.input(IOFile(f"{places['out']}/{RECORD}"))
    return milestone not in (known or [])


@one_line_errors
def stage_inputs(stage, wildcards):
    """Input function: a stage's configuration, and what other stages pass on to it."""
    configure(wildcards)
    target = Target(PROJECT, dict(wildcards.items()))
    config = {"config": stage.config_file(target)} if stage.phase else {}
    sources = {
        name: PIPELINE.result(place).handed_on
        for name, place in stage.sources(target).items()
    }
    if workflow.is_main_process:
        for record in PIPELINE.stand_in_for_stopped(stage, target):
            workflow.persistence.cleanup_metadata(IOFile(record))
    if was_made_without(sources.get("milestone"), stage.places(target)):
        del sources["milestone"]
    return config | sources | PIPELINE.files(stage, target)


def stage_outputs(stage):
    """A stage's outputs by option, and the record of a folder."""
    outputs = {}
    for name, output in stage.outputs.items():
        if output.is_folder:
            outputs |= {name: directory(output.place), "record": output.handed_on}
        elif output.is_declared:
            outputs[name] = output.place
        for suffix in BESIDE.get(output.kind, ()):
            outputs[suffix[1:]] = str(Path(output.place).with_suffix(suffix))
    return outputs


def stage_command(stage, wildcards, input, output):
    """The command of a stage's job, without threads."""
    words = [(stage.command or stage.name).format(**wildcards)]
    names = [
        name
        for name in ["config", *(one.name for one in stage.inputs)]
        if name in input.keys()
    ]
    paths = {name: Path(str(input[name])) for name in names}
    places = {
        name: path.parent if path.name == RECORD else path
        for name, path in paths.items()
    }
    places |= stage.places(Target(PROJECT, dict(wildcards.items())))
    for name, place in places.items():  # any path, if it is a user's file
        words += [f"--{name.replace('_', '-')}", shlex.quote(str(place))]
    return " ".join(words)


@one_line_errors
def announce_trainings():
    """Before the first job, say how many networks will be trained and roughly how long it takes."""
    needed = workflow.dag.needrun_jobs()
    runs = sorted(job.wildcards.run for job in needed if job.rule.name == "train")
    if runs:
        logger.warning(announcement(runs, PROJECT))


onerror:
    if say_how_to_resume:
        say_how_to_resume()


resolve("workspace")
