"""`make gpu-check` on a CPU, in small, where only torch, NumPy and what torch needs can be seen."""

import importlib
import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from dimr.config.project import PROJECT, ROOT
from dimr.planning.hardware import make_machine
from dimr.runtime.errors import DimrError

FOLDER = ROOT / "benchmarks"
BARE = """
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter, PathFinder

KNOWN = set(sys.stdlib_module_names) | {
    "torch", "torchgen", "functorch", "triton", "numpy", "dimr",
    "filelock", "fsspec", "jinja2", "markupsafe", "mpmath", "networkx", "sympy",
    "typing_extensions", "setuptools", "_distutils_hack", "__mp_main__", *OURS, *VENDORED,
}

class Bare:
    @staticmethod
    def find_spec(name, path=None, target=None):
        first = name.split(".")[0]
        if first in KNOWN or first.startswith("_sysconfigdata"):
            return PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [BuiltinImporter, FrozenImporter, Bare]
"""
VENDORED = ["autocommand", "backports", "importlib_metadata", "jaraco", "more_itertools",
            "packaging", "platformdirs", "wheel", "zipp"]  # fmt: skip
"""Packages inside setuptools, which torch needs for its compiler."""
FILES = [path.stem for path in FOLDER.glob("*.py")]


@pytest.fixture(scope="module")
def benchmarks():
    """The modules of benchmarks/, by name."""
    sys.path.insert(0, str(FOLDER))
    try:
        import gpu_check
        import phases
        import vectors

        yield {"gpu_check": gpu_check, "phases": phases, "vectors": vectors}
    finally:
        sys.path.remove(str(FOLDER))


def test_phases_are_those_of_the_recipes(benchmarks):
    phases = benchmarks["phases"]
    assert json.loads(phases.FILE.read_text()) == phases.phases(), "python benchmarks/phases.py"
    one = phases.phase_of("dimr-g-2r", 7)
    assert one.network.sizes == PROJECT.run("imagenet256/dimr-g-2r/0").network.sizes
    assert (one.train.batch, one.train.compile, one.guidance["kind"]) == (7, True, "constant")


def test_vectors_are_read_as_safetensors_reads_them(benchmarks):
    vectors = benchmarks["vectors"]
    for name in [*vectors.TIMES, vectors.TRAINING]:
        ours, theirs = vectors.read_vectors(name), load_file(vectors.FOLDER / f"{name}.safetensors")
        assert ours.keys() == theirs.keys()
        assert all(ours[key].equal(theirs[key]) for key in ours)


def test_a_difference_that_is_not_a_number_is_no_agreement(benchmarks):
    largest = benchmarks["vectors"].largest([0.0, float("nan"), 1.0])
    assert not largest <= 2.0


def check(folder, *options, bare=True):
    """Run the command; what it left in ``folder``."""
    paths = [str(ROOT / "src")]
    if bare:
        site = folder / "site"
        site.mkdir(parents=True)
        names = f"OURS, VENDORED = {FILES!r}, {VENDORED!r}\n"
        (site / "sitecustomize.py").write_text(names + BARE)
        paths.insert(0, str(site))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, FOLDER / "gpu_check.py", "--out", folder / "out", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    made = {path.suffix: path.read_text() for path in (folder / "out").glob("[!.]*")}
    return done, json.loads(made.get(".json", "{}")), made.get(".md", "")


@pytest.mark.slow
def test_all_parts_on_a_bare_machine(tmp_path, benchmarks):
    """Every row of every part, compiled ones too, and nothing that torch does not bring."""
    done, result, table = check(tmp_path, "--device", "cpu", "--small", "--minutes", "30")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = result["parts"]
    assert [*parts] == [*benchmarks["gpu_check"].PARTS]
    for name, part in parts.items():
        assert part["rows"], name
        assert (part["problem"], part["unfinished"]) == (None, None)
        assert f"## {name} (" in table
    for name in ("train dimr-xl-2r", "train dimr-g-2r", "sample dimr-xl-2r"):
        rows = {row["row"]: row for row in parts[name]["rows"]}
        assert {*rows} == {"eager", "plain", "compiled"}
        assert rows["compiled"]["times_plain"] > 0
    assert "diffusers is not installed" in table
    assert result["packages"]["safetensors"] == "not installed"
    speeds = result["plan"]["images_per_second"]
    assert {*speeds["train"]} == {"imagenet256/dimr-xl-2r", "imagenet256/dimr-g-2r"}
    (path,) = (tmp_path / "out").glob("*.json")
    with pytest.raises(DimrError, match=r"tiny networks \(--small\)"):
        make_machine(PROJECT, measured=[path])
    result["plan"]["gpu"], result["small"] = "NVIDIA H200", False
    path.write_text(json.dumps(result))
    machine = make_machine(PROJECT, measured=[path])
    assert machine.gpu.name == "NVIDIA H200 SXM"
    assert machine.gpu_rate("train", "imagenet256/dimr-xl-2r").origin == "measured"


@pytest.mark.slow
def test_where_more_is_installed_more_is_done(tmp_path):
    parts = ["--parts", "resume", "autoencoder"]
    done, result, _ = check(tmp_path, "--device", "cpu", "--small", *parts, bare=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "a checkpoint of dimr train" in result["parts"]["resume"]["rows"][0]["row"]
    names = [row["row"] for row in result["parts"]["autoencoder"]["rows"]]
    assert names == [f"{what}, {dtype}" for dtype in ("float32", "bfloat16")
                     for what in ("encode", "decode")]  # fmt: skip
    assert result["plan"]["images_per_second"]["encode"]["imagenet256"] > 0


PARTS_THAT_FAIL = """
import time

import gpu_check


def fails(_):
    yield {"row": "before", "ok": False, "difference": 2.0}
    raise ValueError("something\\nelse")


def hangs(_):
    yield {"row": "before"}
    time.sleep(600)


def work(sender, name, setting):
    gpu_check.PARTS.update(fails=fails, hangs=hangs)
    gpu_check._work(sender, name, setting)
"""


@pytest.mark.slow
def test_a_part_that_fails_or_hangs_is_told_and_ended(benchmarks, monkeypatch, tmp_path):
    # a file of its own: in a spawned process, `tests` may be another package on the path
    (tmp_path / "parts_that_fail.py").write_text(PARTS_THAT_FAIL)
    monkeypatch.syspath_prepend(tmp_path)
    module = benchmarks["gpu_check"]
    monkeypatch.setattr(module, "_work", importlib.import_module("parts_that_fail").work)
    setting = module.Setting("cpu", True)
    failed = module.run_part("fails", setting, module.started(1))
    assert failed["problem"] == "ValueError: something else"
    hanging = module.run_part("hangs", setting, module.started(0.1))
    assert hanging["rows"] == [{"row": "before"}]
    assert "no time left" in hanging["unfinished"]
    assert module.run_part("hangs", setting, module.started(0))["unfinished"] == "no time left"
    result = {"parts": {"a": failed, "b": hanging}}
    assert module.failures(result) == [
        "a: ValueError: something else", "a: before: ok NO, difference 2",
    ]  # fmt: skip


def test_without_a_gpu_it_says_so(benchmarks, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu_check.py"])
    assert benchmarks["gpu_check"].main() == 2
    assert "no GPU that torch" in capsys.readouterr().out
