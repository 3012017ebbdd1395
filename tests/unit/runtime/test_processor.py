"""Compiled code is kept for each kind of processor."""

import os
from pathlib import Path

import pytest

from dimr.cli import main
from dimr.runtime import processor
from dimr.runtime.processor import instruction_set


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    file = tmp_path / "cpuinfo"
    monkeypatch.setattr(processor, "CPUINFO", file)
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)
    return file


def test_processors_with_other_instructions_have_other_names(cpuinfo, monkeypatch):
    names = [instruction_set()]  # no such file: not Linux
    for core in ("flags\t\t: fpu avx2\n", "flags\t\t: fpu avx2 avx512f\n", "Features\t: asimd\n"):
        cpuinfo.write_text(f"processor\t: 0\ncpu MHz\t\t: 2400.1\n{core}\n")
        names.append(instruction_set())
        cpuinfo.write_text(f"processor\t: 0\ncpu MHz\t\t: 1999.9\n{core}\nprocessor\t: 1\n{core}\n")
        assert instruction_set() == names[-1]
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    names.append(instruction_set())
    assert len(set(names)) == len(names) == 5


def test_a_command_keeps_compiled_code_by_processor(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")  # so that it is as before, afterwards
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    assert main(["models", "dimr-xs-2r"]) == 0
    assert Path(os.environ["TORCHINDUCTOR_CACHE_DIR"]).name == instruction_set()
