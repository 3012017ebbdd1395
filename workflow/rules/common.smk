# Configuration: each phase of each run has one file, rewritten only if its content differs.

import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

SOURCE = Path(workflow.basedir) / "src"
sys.path.insert(0, str(SOURCE))

from dimr.errors import DimrError
from dimr.experiment import BASELINES, load_run, write_run_config
from dimr.recipes import load_recipe, write_data_config, write_source_config
from dimr.reporting.made import at_hand, metrics_file, provenance_file
from dimr.reporting.paper_tables import load_results_table, tables_of_kind
from dimr.reporting.tables import load_table

# Rules run this folder's code (a queued experiment has its own) with this environment's programs.
shell.prefix(
    f'export PYTHONPATH="{SOURCE}" PATH="{Path(sys.executable).parent}:$PATH"; '
)


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


RESOLVED, PREPARED = {}, {}


@one_line_errors
def prepare(dataset):
    """A dataset's recipe, with its steps' files written where they differ (contract A)."""
    if dataset not in PREPARED:
        root = Path(workflow.basedir)
        PREPARED[dataset] = load_recipe(dataset, root)
        if workflow.is_main_process:
            write_data_config(dataset, Path("data") / dataset / "config", root)
    return PREPARED[dataset]


@one_line_errors
def resolve(name):
    """The run, with its configuration files written where they differ (contract A)."""
    if name not in RESOLVED:
        RESOLVED[name] = run = load_run(name, Path(workflow.basedir))
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


def threads_of(dataset):
    """One for the digits, whose jobs run beside each other; the machine's for a whole ImageNet."""
    return 16 if getattr(prepare(dataset).data, "source", None) else 1


def threads_to_train(wildcards):
    """Runs of a table come in numbers: one core each is the most work a minute."""
    alone = 2 if wildcards.run == "workspace" else 1
    return max(alone, threads_of(resolve(wildcards.run).dataset))


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


@one_line_errors
def tables():
    """The definitions of all tables of runs by their path below experiments/tables."""
    folder = Path(workflow.basedir) / "experiments/tables"
    return {
        str(path.relative_to(folder).with_suffix("")): load_table(path)
        for path in sorted(folder.glob("*/*.yaml"))
    }


TABLES = tables()


def table_cells(pattern):
    """Input function: a file or folder of each (run, setting) of a table."""

    def find(wildcards):
        name = f"{wildcards.dataset}/{wildcards.table}"
        if name not in TABLES:
            raise WorkflowError(
                f"experiments/tables/{name}.yaml: no such table (there are: {', '.join(TABLES)})"
            )
        return [
            pattern.format(run=run, setting=setting)
            for run, setting in TABLES[name].cells()
        ]

    return find


@one_line_errors
def of_kind(*kinds):
    """Constraint: names of the paper's own tables of these kinds."""
    return tables_of_kind(Path(workflow.basedir), *kinds)


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
    """Input function: of those that are made, with the configuration as it is now."""

    @one_line_errors
    def find(wildcards):
        cells = result_cells(wildcards.table)
        made = at_hand(cells, Path("runs"), Path(workflow.basedir))
        return [f"runs/{file_of(*cell)}" for cell in made]

    return find


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


# Everything that a target may name is resolved now, so that a mistake is met before any job.
resolve("workspace")
for table in TABLES.values():
    for run, setting in table.cells():
        if setting not in resolve(run).settings:
            raise WorkflowError(
                f"experiments/tables: {run}: no setting {setting!r} "
                f"(allowed: {', '.join(resolve(run).settings)})"
            )
