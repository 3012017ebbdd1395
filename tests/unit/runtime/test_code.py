"""Fingerprints of code are of what runs, and of all that is imported."""

import subprocess
import sys

import pytest

from dimr.runtime import code
from dimr.runtime.code import work_files, work_fingerprint
from dimr.stages.pipeline import STAGES


def names(stage):
    files = work_files(type(STAGES[stage]).__module__)
    return {file.relative_to(code.SOURCE).as_posix() for file in files}


def test_what_decides_a_result_is_among_the_files_of_its_stage():
    found = names("train")
    for name in ("models/depthwise.py", "models/dimr.py", "models/norms.py", "models/uvit.py",
                 "diffusion/loss.py", "diffusion/schedule.py", "training/step.py",
                 "training/batches.py", "data/reader.py", "runtime/randomness.py",
                 "runtime/compute.py", "training/distributed.py", "stages/train.py"):  # fmt: skip
        assert name in found
    assert not found & {"stages/sample.py", "paper/results.py", "planning/plan.py"}
    sampling = {"diffusion/guidance.py", "diffusion/solver.py", "data/autoencoder.py"}
    assert sampling <= names("sample")
    assert {"data/imagenet/crop.py", "data/autoencoder.py"} <= names("encode")


@pytest.mark.slow
@pytest.mark.parametrize("module", ["dimr.training.loop", "dimr.data.latent_folder"])
def test_the_files_are_those_that_python_loads(module):
    """Asked of an interpreter: no list is kept by hand.

    Python also runs the ``__init__`` of every package on the way, which imports for other callers.
    """
    script = (
        f"import {module}, sys\n"
        "for name, loaded in sys.modules.items():\n"
        "    if name.split('.')[0] == 'dimr': print(name, loaded.__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = dict(line.split() for line in done.stdout.splitlines())
    packages = {name for name, file in loaded.items() if file.endswith("__init__.py")}
    found = {str(file) for file in code.code_files(module, *packages)}
    assert module not in packages
    assert set(loaded.values()) <= found


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package in which the work of ``s.a`` imports ``e.b``."""
    source = tmp_path / "dimr"
    source.mkdir()
    files = {
        "__init__": "",
        "s/a": '"""Doc."""\nfrom typing import TYPE_CHECKING\nimport dimr.d\n'
        "if TYPE_CHECKING:\n    import dimr.c\n"
        "def work():\n    from dimr.e.b import f\n",
        "e/b": 'import dimr.g\n\ndef f(x):\n    """Doc."""\n    return x + 1  # a comment\n',
        "g/__init__": "import importlib\n\ndef get(name):\n"
        "    return importlib.import_module(f'dimr.g.{name}')\n",
        "g/named_later": "",
        "c": "",
        "d": "",
    }
    for folder in "egs":
        (source / folder).mkdir()
    for name, text in files.items():
        (source / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "SOURCE", source)
    return source


def fingerprint():
    code._meaning.cache_clear()
    return work_fingerprint("dimr.s.a")


def test_only_what_runs_counts(project):
    before = fingerprint()
    for name in "cd":
        (project / f"{name}.py").write_text("x = 1\n")
    file = project / "e/b.py"
    text = file.read_text()
    file.write_text(text.replace("Doc", "Other").replace("  # a comment", ""))
    assert fingerprint() == before
    file.write_text(text.replace("1", "2"))
    assert fingerprint() != before


def test_a_module_that_is_named_when_it_is_imported_counts(project):
    before = fingerprint()
    (project / "g/named_later.py").write_text("x = 1\n")
    assert fingerprint() != before
