"""A real cluster for the session, and the project as its user runs it there."""

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
import yaml
from tests.support.project import Project, copy_project, replace_stages

from .cluster import Cluster, missing

QUICK = Path(__file__).parent / "quick"
"""A folder whose sitecustomize.py makes Snakemake ask SLURM every second."""
SITE = {
    "partition": "cpu",
    "gpus_per_node": 0,
    "margin_minutes": 0.1,
    "small": {"hours": 0.5, "memory_gb": 2},
}
STEPS = 3
RUN = "runs/digits/dimr-xs-2r/0"
PATIENCE = 300.0
"""Seconds for what takes a few on an idle machine."""


@pytest.fixture(scope="session")
def cluster():
    """The cluster; without SLURM tests are skipped, which in CI is a failure."""
    absent = missing()
    if absent:
        message = f"no cluster can be started here ({', '.join(absent)}): .ci/run installs SLURM"
        pytest.fail(message) if os.environ.get("CI") == "true" else pytest.skip(message)
    # SLURM's sockets are below it, whose names may have 107 letters
    with tempfile.TemporaryDirectory(prefix="dimr-slurm-") as folder:
        cluster = Cluster(Path(folder) / "slurm")
        yield cluster
        cluster.stop()


class OnCluster:
    """A project's folder and the commands that its user types on the login node."""

    def __init__(self, project: Project, cluster: Cluster) -> None:
        self.project, self.cluster = project, cluster
        self.folder = project.folder
        self.site(**SITE)

    def site(self, **keys) -> None:
        """Write site.yaml."""
        file = self.folder / "workflow/profiles/slurm/site.yaml"
        file.write_text(yaml.safe_dump(keys, sort_keys=False))

    @property
    def environment(self) -> dict[str, str]:
        # Every job starts Snakemake twice: 3 s more where its modules are compiled each time.
        return {
            **self.cluster.environment,
            "PYTHONPATH": str(QUICK),
            "PYTHONDONTWRITEBYTECODE": "",
        }

    def snakemake(self, *arguments: str, check: bool = True, **environment: str) -> str:
        """``snakemake --profile slurm TARGET``; what it says, on both streams."""
        done = self.project.run(
            *self.command(*arguments), check=check, **{**self.environment, **environment}
        )
        self.code = done.returncode
        return done.stdout + done.stderr

    def command(self, *arguments: str) -> list[str]:
        quick = (
            "--latency-wait", "10", "--slurm-init-seconds-before-status-checks", "1",
            "--max-status-checks-per-second", "10", "--slurm-status-attempts", "5",
        )  # fmt: skip
        return ["snakemake", "--profile", "slurm", *quick, *arguments]

    def start(self, *arguments: str, **environment: str) -> "Started":
        """The same in the background."""
        return Started(self, arguments, environment)

    def copy(self, folder: Path) -> "OnCluster":
        """All of the folder, its results and Snakemake's records included, elsewhere."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return OnCluster(type(self.project)(folder), self.cluster)


class Started:
    """A snakemake that runs; ``text`` is what it has said."""

    def __init__(self, on: OnCluster, arguments, environment) -> None:
        self.file = on.folder / "said.txt"
        with open(self.file, "w") as said:
            self.process = subprocess.Popen(
                on.command(*arguments), cwd=on.folder, stdout=said, stderr=said,
                env=on.project.environment(**{**on.environment, **environment}),
                # which background jobs of a shell ignore
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )  # fmt: skip

    @property
    def text(self) -> str:
        return self.file.read_text()

    def wait_for(self, condition, seconds: float = PATIENCE) -> None:
        """Return once the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < deadline, self.text
            time.sleep(0.1)


def submitted(text: str) -> list[str]:
    """The ids of the jobs that snakemake submitted."""
    return re.findall(r"submitted with SLURM jobid (\d+)", text)


def few_steps(folder: Path) -> None:
    """The tiny recipe with fewer steps still, and a table of two rows."""
    recipes = folder / "experiments/recipes.yaml"
    content = yaml.safe_load(recipes.read_text())
    content["digits"]["train"].update(steps=STEPS, log_every=1)
    recipes.write_text(yaml.safe_dump(content, sort_keys=False))
    file = folder / "experiments/tables/digits/table1.yaml"
    table = yaml.safe_load(file.read_text())
    table["rows"] = [table["rows"][0], {**table["rows"][2], "settings": ["guided"]}]
    file.write_text(yaml.safe_dump(table, sort_keys=False))


@pytest.fixture(scope="session")
def finished(cluster, tmp_path_factory):
    """The digits, tiny, from nothing to a table on the cluster; and what snakemake said."""
    project = copy_project(tmp_path_factory.mktemp("finished") / "project")
    few_steps(project.folder)
    on = OnCluster(project, cluster)
    return on, on.snakemake("results/digits/table1.csv")


@pytest.fixture
def again(finished, tmp_path):
    """A copy of it in which the network is to be trained again; its data are there."""
    on = finished[0].copy(tmp_path / "project")
    for part in ("model", "state", "log.csv"):
        path = on.folder / RUN / part
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return on


@pytest.fixture(scope="session")
def stub_data(cluster, tmp_path_factory):
    """A project whose steps are a few lines each, with the data made, by the same command here."""
    project = copy_project(tmp_path_factory.mktemp("stubbed") / "project")
    replace_stages(project.folder)
    project.snakemake("data/digits/latents", PYTHONDONTWRITEBYTECODE="")
    return OnCluster(project, cluster)


@pytest.fixture
def stubbed(stub_data, tmp_path):
    """A copy of it."""
    return stub_data.copy(tmp_path / "project")
