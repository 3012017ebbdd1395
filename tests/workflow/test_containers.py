"""The environment as an image: what the recipes do, and that rules under ``--sdm`` run with it.

Neither Docker nor Apptainer builds here: the recipes are read, and a program of a few lines stands
for ``apptainer``.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dimr.config.project import ROOT

DOCKER = (ROOT / "containers/Dockerfile").read_text()
APPTAINER = (ROOT / "containers/dimr.def").read_text()
IGNORED = (ROOT / "containers/Dockerfile.dockerignore").read_text()


def commands(text):
    """Lines of a recipe without comments, continued ones joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return "\n".join(lines).replace("\\\n", " ")


def section(name):
    """The lines of a section of the Apptainer definition."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", commands(APPTAINER), re.M | re.S)
    return [line.strip() for line in found[1].splitlines() if line.strip()]


def copied_by_docker():
    copies = re.findall(r"^COPY (.+) (\S+)$", commands(DOCKER), re.M)
    assert [target for _, target in copies] == ["./", "src"]
    return {source for sources, _ in copies for source in sources.split()}


def copied_by_apptainer():
    pairs = [line.split() for line in section("files")]
    assert all(target == f"/opt/dimr/{source}" for source, target in pairs)
    return {source for source, _ in pairs}


def test_both_recipes_copy_what_setup_reads(tmp_path):
    """``make setup`` knows all its prerequisites with these files alone."""
    copied = copied_by_docker()
    assert copied == copied_by_apptainer()
    for name in copied:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    done = subprocess.run(
        ["make", "-n", "setup", "PYTHON=python3"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "--requirement requirements.lock" in done.stdout
    assert "--editable ." in done.stdout
    # what pyproject.toml names is there too
    project = (tmp_path / "pyproject.toml").read_text()
    for key in ("readme", "license-files"):
        named = re.search(rf'^{key} = \[?"([^"]+)"', project, re.M)[1]
        assert (tmp_path / named).is_file()


def test_docker_is_sent_what_it_copies():
    sent = {line[1:] for line in IGNORED.splitlines() if line.startswith("!")}
    assert sent == copied_by_docker()
    assert "\n*\n" in IGNORED


def test_both_recipes_build_by_make_setup_alone():
    steps = [
        " ".join(re.findall(r"^RUN (.+)$", commands(DOCKER), re.M)),
        "\n".join(section("post")),
    ]
    for step in steps:
        assert "make setup PYTHON=python3" in step
        assert not re.search(r"\b(pip|uv|conda)\b", step)
    packages = {
        re.search(r"install --yes --no-install-recommends ([\w+ ]+?)\s*(?:&|\n)", s)[1]
        for s in steps
    }
    assert packages == {"make git g++"}
    base = re.search(r"^FROM (\S+)$", DOCKER, re.M)[1]
    assert f"Bootstrap: docker\nFrom: {base}\n" in APPTAINER
    assert section("environment") == ["export PATH=/opt/dimr/.venv/bin:$PATH"]
    assert "ENV PATH=/opt/dimr/.venv/bin:$PATH" in DOCKER


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, "host"),
        ({"CONDA_PREFIX": "/home/u/miniconda3"}, "host"),  # the user's own, active or not
        ({"APPTAINER_CONTAINER": "/x/dimr.sif"}, "image"),
        ({"SINGULARITY_CONTAINER": "/x/dimr.sif"}, "image"),
        ({"CONDA_PREFIX": "/x/.snakemake/conda/0a1b_"}, "python"),
    ],
)
def test_rules_run_with_the_programs_of_their_environment(tmp_path, variables, first):
    for name, program in (("host", "dimr"), ("image", "dimr"), ("python", "python")):
        (tmp_path / name).mkdir()
        file = tmp_path / name / program
        file.write_text(f'#!/bin/sh\necho {name} "$@" "$PYTHONPATH"\n')
        file.chmod(0o755)
    inside = "python" if first == "python" else "image"
    script = f". {ROOT}/workflow/environment.sh /code {tmp_path}/host; dimr train"
    path = f"{tmp_path}/{inside}:/usr/bin:/bin"
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": path, **variables}, capture_output=True, text=True
    )
    arguments = "-m dimr train" if first == "python" else "train"
    assert done.stdout == f"{first} {arguments} /code\n", done.stderr


FAKE = """#!/usr/bin/env bash
# stands for apptainer: exec [options] IMAGE SHELL -c COMMAND, with the programs of an image
[ "$1" = --version ] && { echo "apptainer version 1.3.4"; exit; }
while [[ "$1" != *.sif ]]; do shift; done
echo "$1" >> images.txt
export APPTAINER_CONTAINER="$1"
shift
exec "$@"
"""


def test_sdm_apptainer_runs_rules_in_the_image(stubbed, tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "apptainer").write_text(FAKE)
    (programs / "apptainer").chmod(0o755)
    (stubbed.folder / "containers/dimr.sif").touch()
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    stubbed.snakemake("--sdm", "apptainer", "--", "data/digits/images", PATH=path)
    assert stubbed.calls() == ["images"]
    (image,) = (stubbed.folder / "images.txt").read_text().split()
    assert image.endswith("containers/dimr.sif")
