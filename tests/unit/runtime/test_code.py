"""Fingerprints of code are of what runs, and of all that is imported."""

import subprocess
import sys

import pytest

from dimr.runtime import code
from dimr.runtime.code import ENCODING, SAMPLING, TRAINING, code_files, code_fingerprint


def names(modules):
    return {file.relative_to(code.SOURCE).as_posix() for file in code_files(*modules)}


def test_what_decides_the_numbers_of_a_training_is_there():
    found = names(TRAINING)
    for name in ("models/depthwise.py", "models/dimr.py", "models/norms.py", "models/uvit.py",
                 "diffusion/loss.py", "diffusion/schedule.py", "training/step.py",
                 "training/batches.py", "training/engine.py", "data/reader.py", "runtime/randomness.py",
                 "runtime/compute.py", "training/distributed.py"):  # fmt: skip
        assert name in found
    assert not found & {"training/log.py", "training/observe.py", "training/stopping.py"}
    assert {"diffusion/guidance.py", "data/decoder.py", "sampling/engine.py"} <= names(SAMPLING)
    assert {"data/imagenet/crop.py", "data/autoencoder.py"} <= names(ENCODING)


@pytest.mark.parametrize("modules", [TRAINING, ENCODING])
def test_the_files_are_those_that_python_loads(modules):
    """Asked of an interpreter: no list is kept by hand. (Packages load siblings besides.)"""
    script = (
        f"import importlib, sys\nfor name in {modules!r}: importlib.import_module(name)\n"
        "ours = [m.__file__ for n, m in sys.modules.items() if n.split('.')[0] == 'dimr']\n"
        "print(*ours, sep='\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    loaded = {line for line in done.stdout.splitlines() if not line.endswith("__init__.py")}
    found = {str(file) for file in code_files(*modules) if file.name != "__init__.py"}
    assert found <= loaded
    assert {line for line in loaded if "/models/" in line} <= found


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A package of three modules, of which ``a`` imports ``b``."""
    source = tmp_path / "dimr"
    source.mkdir()
    files = {
        "__init__": "",
        "a": '"""Doc."""\nfrom typing import TYPE_CHECKING\nfrom dimr.b import f\n'
        "if TYPE_CHECKING:\n    import dimr.c\n",
        "b": 'def f(x):\n    """Doc."""\n    return x + 1  # a comment\n',
        "c": "",
    }
    for name, text in files.items():
        (source / f"{name}.py").write_text(text)
    monkeypatch.setattr(code, "SOURCE", source)
    return source


def fingerprint():
    code._meaning.cache_clear()
    return code_fingerprint("dimr.a")


def test_only_what_runs_counts(project):
    before = fingerprint()
    (project / "c.py").write_text("x = 1\n")
    (project / "b.py").write_text('def f(x):\n    """Other."""\n\n    return x + 1\n')
    assert fingerprint() == before
    (project / "b.py").write_text("def f(x):\n    return x + 2\n")
    assert fingerprint() != before
