"""The Makefile's own decisions: which Python, which PyTorch, what is removed.

Programs of a few lines stand for Python and uv: nothing is downloaded.
"""

import os
import re
import shutil
import subprocess
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from tests.support.project import MAKE
from tests.unit.test_repository import pythons

from dimr.config.project import ROOT

PYTHON = """#!/bin/sh
# stands for Python {version}: makes a folder for an environment, and says what it is
case "$*" in
*version_info*) echo {version} ;;
*ensurepip*) ;;
"-m venv"*) echo "$*" >> made.txt
  mkdir -p .venv/bin
  cp programs/pip .venv/bin/python
  cp programs/uv .venv/bin/uv ;;
esac
"""
UV = """#!/bin/sh
# stands for uv: notes what it is asked for, with the lines of what it is to install
echo "$*" >> asked.txt
case "$*" in *"$FAILS"*) [ -z "$FAILS" ] || { echo "error: no answer" >&2; exit 2; } ;; esac
"""


@pytest.fixture
def folder(tmp_path):
    """What ``make setup`` reads, and stand-ins for all Pythons (first on the path) and uv."""
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "programs").mkdir()
    versions = {"3.9": "3.9", "3.14": "3.14", **{one: one for one in pythons()}}
    for name, version in versions.items():
        program(tmp_path, f"python{name}", PYTHON.format(version=version))
    program(tmp_path, "uv", UV)
    program(tmp_path, "pip", "#!/bin/sh\n")
    return tmp_path


def program(folder, name, text):
    (folder / "programs" / name).write_text(text)
    (folder / "programs" / name).chmod(0o755)


def make(folder, *arguments, **environment):
    clean = {key: value for key, value in os.environ.items() if key not in (*MAKE, "TORCH")}
    path = f"{folder}/programs:/usr/bin:/bin"
    return subprocess.run(
        ["make", *arguments],
        cwd=folder,
        env={**clean, "PATH": path, "FAILS": "", **environment},
        capture_output=True,
        text=True,
    )


def message(done):
    """The one line that a failed ``make`` says before its own."""
    assert done.returncode == 2, done.stderr
    first, last = done.stderr.splitlines()
    assert last.startswith("make: *** ")
    return first


def asked(folder):
    return (folder / "asked.txt").read_text().splitlines()


@pytest.mark.parametrize("version", ["3.9", "3.14"])
def test_another_python_is_refused_before_anything_is_made(folder, version):
    done = make(folder, "setup", f"PYTHON=python{version}")
    newest = pythons()[-1]
    assert message(done) == (
        f"make setup: python{version} is {version}, supported are {' '.join(pythons())}: "
        f"make setup PYTHON=python{newest}"
    )
    assert done.stdout == ""
    assert not (folder / ".venv").exists()


def test_a_python_is_suggested_that_is_available(folder):
    program(folder, "python3", PYTHON.format(version="3.14"))
    *others, newest = pythons()
    program(folder, f"python{newest}", "#!/bin/sh\nexit 127\n")  # a shim of pyenv for nothing
    assert message(make(folder, "setup")).endswith(f": make setup PYTHON=python{others[-1]}")


def test_without_any_one_is_to_be_installed(folder):
    for one in pythons():
        program(folder, f"python{one}", "#!/bin/sh\nexit 127\n")
    said = message(make(folder, "setup", "PYTHON=nowhere/python3"))
    assert said.startswith("make setup: nowhere/python3 is missing, supported are ")
    assert said.endswith(f": install one, then make setup PYTHON=python{pythons()[-1]}")


def test_an_environment_is_made_once(folder):
    python = f"PYTHON=python{pythons()[0]}"
    done = make(folder, "setup", python)
    assert done.returncode == 0, done.stderr
    assert (folder / ".venv/ready").is_file()
    assert [line for line in asked(folder) if "requirements.lock" in line]
    assert not [line for line in asked(folder) if "torch-backend" in line]
    before = len(asked(folder))
    assert make(folder, "setup", python).returncode == 0
    assert len(asked(folder)) == before


def test_an_environment_of_another_python_is_made_anew(folder):
    first, *_, last = pythons()
    for version in (first, first, last):
        assert make(folder, "setup", f"PYTHON=python{version}").returncode == 0
        (folder / f".venv/bin/python{version}").touch()  # as venv leaves it
        os.utime(folder / "pyproject.toml", (2e9, 2e9))  # is newer, from now on
    made = (folder / "made.txt").read_text().splitlines()
    assert made == ["-m venv --clear .venv", "-m venv .venv", "-m venv --clear .venv"]


def test_the_pythons_are_those_of_pyproject(folder):
    file = folder / "pyproject.toml"
    oldest = pythons()[0]
    file.write_text(
        file.read_text().replace(f'  "Programming Language :: Python :: {oldest}",', "")
    )
    assert f"is {oldest}, supported are " in message(
        make(folder, "setup", f"PYTHON=python{oldest}")
    )
    done = make(folder, "-W", "requirements.lock", "-n", "environment.yml")
    assert f"python={pythons()[1]}" in done.stdout


# --- PyTorch without CUDA -------------------------------------------------------------------------


def setup_cpu(folder, **environment):
    return make(folder, "setup", f"PYTHON=python{pythons()[0]}", "TORCH=cpu", **environment)


def test_a_cpu_installation_leaves_cuda_out_and_nothing_else(folder):
    done = setup_cpu(folder)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in asked(folder) if "--torch-backend cpu" in line]
    assert line.endswith("--requirement .venv/requirements.txt")
    needed = parents((folder / "requirements.lock").read_text())
    kept = parents((folder / ".venv/requirements.txt").read_text())
    left_out = needed.keys() - kept.keys()
    named = [one.name for one in map(Requirement, requires("torch")) if "inux" in str(one.marker)]
    assert {"triton", "cuda-toolkit", *named} <= left_out
    # by torch only, or by each other; what else is by torch only is on every system
    assert all(needed[name] <= {"torch"} | left_out for name in left_out)
    assert {"torch", "torchvision", "nvidia-ml-py"} <= kept.keys()  # DVCLive asks NVIDIA's driver


def parents(lock):
    """What asks for each package of a lock, as uv wrote it there."""
    found, name = {}, None
    for line in lock.splitlines():
        if line.startswith(" "):
            by = line.strip(" #").removeprefix("via").strip()
            found[name] |= {by} if by else set()
        else:
            name = re.match(r"[\w.-]+", line)[0]
            found[name] = set()
    return found


def test_a_place_that_does_not_answer_is_told_in_one_line(folder):
    done = setup_cpu(folder, FAILS="--torch-backend")
    assert done.returncode == 2
    error, told, _ = done.stderr.splitlines()
    assert error == "error: no answer"  # of uv
    assert told.startswith("make setup TORCH=cpu: ")
    assert not (folder / ".venv/ready").exists()


def test_the_kind_of_pytorch_is_kept(folder):
    assert setup_cpu(folder).returncode == 0
    os.utime(folder / "requirements.lock", (2e9, 2e9))  # a newer one
    assert make(folder, "setup", f"PYTHON=python{pythons()[0]}").returncode == 0
    assert sum("--torch-backend cpu" in line for line in asked(folder)) == 2
    done = make(folder, "setup", "TORCH=")
    assert done.returncode == 2
    assert "rm -rf .venv" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- wheels, clean --------------------------------------------------------------------------------


@pytest.fixture
def ready(folder):
    assert make(folder, "setup", f"PYTHON=python{pythons()[0]}").returncode == 0
    (folder / "asked.txt").unlink()
    return folder


def test_wheels_are_asked_for_of_every_python(ready):
    done = make(ready, "wheels")
    assert done.returncode == 0, done.stderr
    asks = asked(ready)
    assert [re.search(r"--python-version (\S+)", line)[1] for line in asks] == pythons()
    only = set(re.findall(r"--only-binary (\S+)", asks[0]))
    names = set(parents((ready / "requirements.lock").read_text()))
    assert names - only == {"antlr4-python3-runtime", "connection-pool"}
    assert only < names


def test_a_python_that_lacks_wheels_is_named(ready):
    failing = pythons()[1]
    done = make(ready, "wheels", FAILS=f"--python-version {failing}")
    assert done.returncode == 2
    assert f"make wheels: Python {failing} lacks wheels (above)" in done.stderr.splitlines()
    assert len(asked(ready)) == 2


def test_clean_leaves_the_pages_of_the_folders(ready):
    subprocess.run(["git", "init", "-q"], cwd=ready, check=True)
    far = ready / "far/imagenet256"
    for name in ("data/digits/images/a", "data/.part/a", "runs/digits/m/0/state/a", "logs/a"):
        (ready / name).parent.mkdir(parents=True)
        (ready / name).touch()
    far.mkdir(parents=True)
    (far / "a").touch()
    (ready / "data/imagenet256").symlink_to(far)
    for name in ("data", "runs"):
        (ready / name / "README.md").touch()
    (ready / "results").mkdir()
    done = make(ready, "clean")
    assert done.returncode == 0, done.stderr
    left = {
        str(one.relative_to(ready))
        for name in ("data", "runs")
        for one in (ready / name).rglob("*")
    }
    assert left == {"data/README.md", "runs/README.md"}
    assert not (ready / "logs").exists()
    assert (far / "a").exists()  # the link is gone, and not what it leads to
