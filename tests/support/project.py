"""A copy of the project in a temporary folder, as a git repository of its own."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from dimr.config.project import ROOT

STUBS = Path(__file__).with_name("stub_stages.py")

# What make tells the programs under it: `make test` runs these tests.
MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "MAKE_TERMOUT", "MAKE_TERMERR")

# Every step takes a second or two, and the metrics are still defined.
TINY = {
    "data": {
        "autoencoder": {"channels": [8, 8, 8], "steps": 3, "batch": 8},
        "classifier": {"steps": 5, "batch": 20},
        "images": {"train_per_class": 10},
    },
    "train": {"steps": 12, "batch": 8, "log_every": 4, "warmup_steps": 2, "compile": False},
    "sample": {"count": 80, "steps": 3},
    "evaluate": {"isc_splits": 2},
}


def _merge(into, changes):
    for key, value in changes.items():
        if isinstance(value, dict):
            _merge(into[key], value)
        else:
            into[key] = value


class Project:
    """The copy, and the commands that a user would type in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str, check: bool = True, **environment: str):
        """Run a program of this environment in the copy."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            capture_output=True,
            text=True,
            env=self.environment(**environment),
        )
        if check and done.returncode:
            raise AssertionError(
                f"{' '.join(command)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done

    def environment(self, **more: str) -> dict[str, str]:
        """What its programs run with: that of a person, who starts make from a shell."""
        inherited = {key: value for key, value in os.environ.items() if key not in MAKE}
        return {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            **more,
        }

    def snakemake(self, *arguments: str, **options):
        """``snakemake`` on two cores."""
        return self.run("snakemake", "--cores", "2", *arguments, **options)

    def planned(self, *targets: str) -> set[str]:
        """Rules that a dry run would run."""
        output = self.snakemake("-n", "--quiet", "host", "progress", "--", *targets).stdout
        return {
            line.split()[1].rstrip(":")
            for line in output.splitlines()
            if line.startswith(("rule ", "localrule "))
        }

    def edit(self, file: str, path: str, value) -> None:
        """Set one value of a YAML file."""
        target = self.folder / file
        content = yaml.safe_load(target.read_text())
        *parents, last = path.split(".")
        section = content
        for key in parents:
            section = section[key]
        section[last] = value
        target.write_text(yaml.safe_dump(content, sort_keys=False))

    def calls(self) -> list[str]:
        """Steps that the stubs recorded since the last question."""
        file = self.folder / "calls.txt"
        lines = file.read_text().split() if file.exists() else []
        file.unlink(missing_ok=True)
        return lines

    def commit(self, message: str = "change") -> None:
        """Commit everything that git does not ignore."""
        self.run("git", "add", "-A")
        self.run("git", "commit", "-qm", message)


def copy_project(folder: Path) -> Project:
    """The project as git knows it, with the tiny recipe, not yet committed."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard", "-z"],
        capture_output=True, text=True, check=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, listed):
        source, target = ROOT / name, folder / name
        # checked in, made anew by the tests
        made = name.startswith(("tests/", "results/digits/")) or name.endswith("dvc.lock")
        if made or not (source.exists() or source.is_symlink()):
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target, follow_symlinks=False)
    recipes = folder / "experiments/recipes.yaml"
    content = yaml.safe_load(recipes.read_text())
    for dataset in ("digits", "digits-pixel"):
        tiny = copy.deepcopy(TINY)
        if dataset == "digits-pixel":
            del tiny["data"]["autoencoder"]
        _merge(content[dataset], tiny)
    recipes.write_text(yaml.safe_dump(content, sort_keys=False))
    (folder / "results/recorded.yaml").write_text("recorded: {}\n")
    project = Project(folder)
    project.run("git", "init", "-q", "-b", "main")
    project.run("git", "config", "user.name", "test")
    project.run("git", "config", "user.email", "test@example.com")
    return project


def replace_stages(folder: Path) -> None:
    """Put stages of a few lines in place of the real ones, in a copy of the project."""
    shutil.copy(STUBS, folder / "src/dimr/stages/stub_stages.py")
    for module, line in (
        (
            "stages/pipeline.py",
            "from dimr.stages import stub_stages\n\nstub_stages.install(STAGES)",
        ),
        ("cli/paper.py", "from dimr.stages.stub_stages import table"),
    ):
        with open(folder / "src/dimr" / module, "a") as file:
            file.write(f"\n\n{line}\n")


def stub(folder: Path) -> Project:
    """The project whose stages are a few lines each: graph, files and keys are the real ones."""
    project = copy_project(folder)
    replace_stages(project.folder)
    with open(project.folder / ".gitignore", "a") as ignored:
        ignored.write("calls.txt\n")
    project.commit("stubbed")
    return project
