# Configuration: each phase of each run has one file, rewritten only if its content differs.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))

from dimr.runtime.errors import DimrError
from dimr.config.project import Project
from dimr.config.runs import BASELINES, write_run_config
from dimr.config.recipes import write_data_config, write_source_config
from dimr.paper.results import at_hand, metrics_file, provenance_file
from dimr.paper.tables.definitions import find_definitions, kind_of, load_results_table
from dimr.planning.announcement import announcement
from dimr.runtime.snakemake_messages import install

# Messages of a line each; a job that runs elsewhere keeps Snakemake's own in its log.
say_how_to_resume = install(logger) if workflow.is_main_process else None

# Rules run this folder's code with this environment's programs, or with those of `--sdm`.
shell.prefix(
    f'. "{workflow.basedir}/workflow/environment.sh" "{SOURCE}" "{Path(sys.executable).parent}"; '
)


# Of `snakemake --sdm apptainer`; made by `make containers/dimr.sif`.
container: "containers/dimr.sif"


wildcard_constraints:
    dataset=r"[\w-]+",
    source=r"[\w-]+",
    weights=r"[\w.-]+\.pth",
    run=r"workspace|[\w-]+/[\w-]+/(\d+|published)",
    setting=r"\w+",
    table=r"table\d+|steps",


def one_line_errors(function):
    """Bad input as a message of one line, not a traceback."""

    def wrapped(*arguments):
        try:
            return function(*arguments)
        except DimrError as error:
            raise WorkflowError(str(error)) from None

    return wrapped


PROJECT = Project(Path(workflow.basedir))
RESOLVED, PREPARED = {}, {}


@one_line_errors
def prepare(dataset):
    """A dataset's recipe, with its steps' files written where they differ (contract A)."""
    if dataset not in PREPARED:
        root = Path(workflow.basedir)
        PREPARED[dataset] = PROJECT.recipe(dataset)
        if workflow.is_main_process:
            write_data_config(dataset, Path("data") / dataset / "config", root)
    return PREPARED[dataset]


@one_line_errors
def resolve(name):
    """The run, with its configuration files written where they differ (contract A)."""
    if name not in RESOLVED:
        RESOLVED[name] = run = PROJECT.run(name)
        if (
            workflow.is_main_process
        ):  # a job must not move the ground under its own feet
            write_run_config(run, Path("runs") / name / "config")
        prepare(run.dataset)
    return RESOLVED[name]


def run_config(phase):
    """Input function: the file of a run's phase; `{setting}` stands for the wildcard."""

    def find(wildcards):
        run, name = resolve(wildcards.run), phase.format(**wildcards)
        if name not in run.phases():
            raise WorkflowError(
                f"{wildcards.run}: no setting {wildcards.setting!r} "
                f"(allowed: {', '.join(run.settings)})"
            )
        return f"runs/{run.name}/config/{name}.yaml"

    return find


def data_config(step):
    """Input function: the file of a dataset's step."""

    def find(wildcards):
        if step not in prepare(wildcards.dataset).data.phases():
            raise WorkflowError(
                f"{wildcards.dataset}: has no {step} (recipes.yaml: data)"
            )
        return f"data/{wildcards.dataset}/config/{step}.yaml"

    return find


def image_folder(dataset):
    """Where a dataset's raw images are: its own, or those of the source that it is made of."""
    source = getattr(prepare(dataset).data, "source", None)
    return f"data/{source}/source" if source else f"data/{dataset}/images"


def images_to_train_on(wildcards):
    """The images that a dataset's own autoencoder is trained on; a published one needs none."""
    if "images" in prepare(wildcards.dataset).data.phases():
        return {"images": image_folder(wildcards.dataset)}
    return {}


@one_line_errors
def source_config(wildcards):
    """The file of a source, written where it differs (contract A)."""
    folder = Path("data") / wildcards.source / "config"
    if workflow.is_main_process:
        write_source_config(wildcards.source, folder, Path(workflow.basedir))
    return folder / "source.yaml"


def options(given, *names):
    """``--name path`` for each of the named inputs that a job has."""
    return " ".join(
        f"--{name.replace('_', '-')} {given[name]}"
        for name in names
        if name in given.keys()
    )


def of_dataset(part):
    """Input function: a folder of the dataset that a run is on."""
    return lambda wildcards: f"data/{resolve(wildcards.run).dataset}/{part}"


DEFINITIONS = one_line_errors(find_definitions)(Path(workflow.basedir))


def tables(*kinds):
    """Definitions of tables of these kinds by their path below experiments/tables."""
    return {name: one for name, one in DEFINITIONS.items() if kind_of(one) in kinds}


TABLES, ABSENT = tables("runs"), tables("absent")


@one_line_errors
def table_of_runs(wildcards):
    """A dataset's table of runs."""
    name = f"{wildcards.dataset}/{wildcards.table}"
    if name in ABSENT:
        raise DimrError(f"results/{name}: {ABSENT[name].reason}")
    if name not in TABLES:
        raise DimrError(
            f"experiments/tables/{name}.yaml: no such table of runs (there are: {', '.join(TABLES)})"
        )
    return TABLES[name]


def table_cells(pattern):
    """Input function: a file or folder of each (run, setting) of a table."""
    return lambda wildcards: [
        pattern.format(run=run, setting=setting)
        for run, setting in table_of_runs(wildcards).cells()
    ]


def table_cells_at_hand(file_of):
    """Input function: a file of those that are made, with the configuration as it is now."""
    return lambda wildcards: files_at_hand(table_of_runs(wildcards).cells(), file_of)


def of_kind(*kinds):
    """Constraint: names of the tables of these kinds."""
    return "|".join(tables(*kinds))


@one_line_errors
def files_at_hand(cells, file_of):
    """Of (run, setting) that are made, with the configuration as it is now."""
    made = at_hand(cells, Path("runs"), Path(workflow.basedir))
    return [f"runs/{file_of(*cell)}" for cell in made]


@one_line_errors
def result_cells(table):
    """Every (run, setting) of a table of results, whose rows are checked when it is asked for."""
    root = Path(workflow.basedir)
    return load_results_table(root / f"experiments/tables/{table}.yaml", root).cells()


def result_files(file_of):
    """Input function: a file of every (run, setting) of a table of results."""
    return lambda wildcards: [
        f"runs/{file_of(*cell)}" for cell in result_cells(wildcards.table)
    ]


def result_files_at_hand(file_of):
    """Input function: of those that are made."""
    return lambda wildcards: files_at_hand(result_cells(wildcards.table), file_of)


def cost_input(wildcards):
    """The model whose parameters, GMACs and training time are recorded; baselines have none."""
    return (
        {"model": f"runs/{wildcards.run}/model"}
        if resolve(wildcards.run).network
        else {}
    )


def compared_with(wildcards):
    """What metrics of a run's images need: held-out images and classifier, or ADM's and Inception."""
    run = resolve(wildcards.run)
    data, weights = f"data/{run.dataset}", run.recipe.evaluate.weights
    if weights:
        return {
            "reference": f"{data}/reference",
            "extractor_weights": f"data/extractors/{weights}",
        }
    return {"images": f"{data}/images", "classifier": f"{data}/classifier"}


def baseline_input(wildcards):
    """Reconstructions need the autoencoder, real images do not."""
    dataset, model, _ = wildcards.run.split("/")
    return (
        {"autoencoder": f"data/{dataset}/autoencoder"}
        if model == "reconstruction"
        else {}
    )


@one_line_errors
def check_tables():
    """A mistake in a table is met before any job."""
    for name, definition in TABLES.items():
        definition.check(f"experiments/tables/{name}.yaml", Path(workflow.basedir))


@one_line_errors
def announce_trainings():
    """How many networks are about to be trained, and about how long, before the first job."""
    needed = workflow.dag.needrun_jobs()
    runs = sorted(job.wildcards.run for job in needed if job.rule.name == "train")
    if runs:
        logger.warning(announcement(runs, Path(workflow.basedir)))


onerror:
    if say_how_to_resume:
        say_how_to_resume()


if workflow.is_main_process:
    check_tables()
resolve("workspace")
