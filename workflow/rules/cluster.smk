# What each job takes: cores, and with `--profile slurm` what it requests from the cluster, by the
# user's site file and the recipe's resources. No result depends on any of it.

from functools import cache, partial

from dimr.cluster import site as cluster
from dimr.cluster import slurm

# The profile names the site's file (dry runs see it too); without one, nothing is requested.
ON_CLUSTER = "site" in config
SITE_FILE = Path(workflow.basedir) / config.get("site", cluster.SITE)
# Stages that resume where a job was interrupted: all retries are theirs.
RESUMING = [stage.name for stage in STAGES.values() if stage.resumes]


@cache
@one_line_errors
def site():
    """The site that jobs are sent to."""
    return cluster.load_site(SITE_FILE)


def dataset_of(wildcards):
    """The dataset of a job."""
    if "dataset" in wildcards.keys():
        return wildcards.dataset
    return resolve(wildcards.run).dataset


def threads_of(dataset):
    """One for the digits, whose jobs run side by side; for all other sets 16, or all there are.

    With two, a training on digits would take 9/10 of its time with one.
    """
    return 16 if prepare(dataset).data.source_name else 1


@one_line_errors
def job_of(step, wildcards):
    """What a job requests from a cluster."""
    dataset = dataset_of(wildcards)
    threads = threads_of(dataset)
    resources = prepare(dataset).resources.get(step)
    return cluster.plan_job(site(), step, resources, threads, dataset)


def stage_threads(stage):
    """Threads of a stage's jobs; on a cluster those that go with the GPUs."""
    if stage.resource is None:
        return 1
    if ON_CLUSTER:
        return lambda wildcards: job_of(stage.resource, wildcards).cpus
    return lambda wildcards: threads_of(dataset_of(wildcards))


@cache
def gpus_here():
    """GPUs of this machine, asked for when a stage may need them."""
    return cluster.visible_gpus()


def gpus_given(step, wildcards):
    """GPUs of a machine that the recipe gives a stage, as far as they exist."""
    given = prepare(dataset_of(wildcards)).resources.get(step)
    return min(given.gpus, gpus_here()) if given and given.gpus else 0


def stage_resources(stage):
    """The resources of a stage's jobs: functions by name.

    On a cluster what they ask for; on one machine a job that uses its GPUs has them to itself
    (`gpu_jobs` in the default profile).
    """
    words = {"threads_option": partial(threads_option, stage)}
    if stage.is_short:
        return words
    step = stage.resource or stage.name
    if not ON_CLUSTER:
        return words | {
            "gpu_jobs": lambda wildcards: min(1, gpus_given(step, wildcards))
        }

    def value(name):
        return lambda wildcards: cluster.slurm_resources(
            site(), job_of(step, wildcards)
        )[name]

    return words | {name: value(name) for name in cluster.RESOURCES}


def threads_option(stage, wildcards, threads):
    """The option for a command's threads: no parameter, as results do not depend on it."""
    return f"--threads {threads}" if not stage.is_short else ""


def processes_to_train(wildcards):
    """Processes on each machine: one per GPU."""
    if ON_CLUSTER:
        return job_of("train", wildcards).processes
    return max(1, gpus_given("train", wildcards))


def launcher(wildcards):
    """The words that start a training's processes."""
    processes = processes_to_train(wildcards)
    if not ON_CLUSTER:
        return cluster.launcher(processes)
    job = job_of("train", wildcards)
    return cluster.launcher(processes, job.nodes, job.cpus)


def threads_a_process(wildcards, threads):
    """Threads of each of a training's processes."""
    given = job_of("train", wildcards).cpus if ON_CLUSTER else threads
    return max(1, given // processes_to_train(wildcards))


def seconds_to_train(wildcards, attempt):
    """When to save and leave; only a cluster ends a job."""
    if attempt > 1 and workflow.is_main_process:
        end_retries(wildcards.run)
    if not ON_CLUSTER:
        return "inf"
    return cluster.seconds_to_train(site(), job_of("train", wildcards))


def end_retries(run):
    """Make this attempt at a training the last, if no retry can fix what ended the one before."""
    left = Path("logs") / run / "train.exit"
    if left.is_file() and left.read_text().strip() in ("2", "3"):
        for job in workflow.dag.jobs:
            if job.rule.name == "train" and job.wildcards.run == run:
                job._attempt = job.restart_times + 1


onstart:
    # Before the first job: what sbatch would refuse, in one line. Jobs that start from scratch are
    # tried at most twice, whatever `retries` says; set here, as within a job a rule's own count.
    for one in workflow.rules:
        if one.name not in RESUMING:
            one.restart_times = min(one.restart_times, 1)
    if workflow.executor_plugin.name == "slurm":
        if not ON_CLUSTER:
            raise WorkflowError(
                f"--config took the place of the profile's: add site={cluster.SITE}"
            )
        one_line_errors(slurm.check_submission)(site(), SITE_FILE.name)
    # Every job that ends makes Snakemake's default limit (100/1s) wake the scheduler once more per
    # second, from then on: after 80 jobs that took a quarter of a core. Other limits stay.
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None
    if workflow.is_main_process:
        announce_trainings()
