"""``dimr --version``: of a clone with its revision, of an installed copy without."""

import os
import shutil
import subprocess
import sys

import pytest

import dimr
from dimr.config.project import ROOT

NOTHING = shutil.ignore_patterns("__pycache__")


def git(folder, *arguments):
    who = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    command = ["git", *who, "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def version(source, *options):
    """What ``dimr --version`` says with the code below ``source``."""
    done = subprocess.run(
        [sys.executable, *options, "-m", "dimr", "--version"],
        cwd=source,
        env={**os.environ, "PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "src/dimr", folder / "src/dimr", ignore=NOTHING)
    git(folder, "init", "-q")
    (folder / ".gitignore").write_text("__pycache__/\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "all")
    return folder


def test_a_clone_has_its_revision_and_says_whether_it_was_changed(clone):
    revision = git(clone, "rev-parse", "HEAD")
    assert version(clone / "src").stdout == f"dimr {dimr.__version__}, git {revision}\n"
    (clone / "notes.txt").write_text("no part of any result\n")
    assert version(clone / "src").stdout == f"dimr {dimr.__version__}, git {revision}\n"
    (clone / "src/dimr/more.py").write_text("")
    said = version(clone / "src").stdout
    assert said == f"dimr {dimr.__version__}, git {revision} with uncommitted changes\n"


def test_an_installed_copy_has_no_revision_not_even_of_the_repository_around_it(clone):
    packages = clone / ".venv/lib/python3/site-packages"
    shutil.copytree(ROOT / "src/dimr", packages / "dimr", ignore=NOTHING)
    assert version(packages).stdout == f"dimr {dimr.__version__}\n"


def test_it_imports_no_torch():
    said = version(ROOT / "src", "-X", "importtime")
    assert "dimr.cli" in said.stderr
    assert "torch" not in said.stderr
