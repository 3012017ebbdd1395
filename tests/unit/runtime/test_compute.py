"""Compiling that may fail: what is said, and what is used then."""

import logging

import pytest
import torch

from dimr.runtime.compute import compile_or_not


def test_compiling_is_told_without_the_warning_on_cuda(caplog, capsys):
    logger = logging.getLogger("torch.utils.cpp_extension")

    def attempt(_):
        logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/usr/local")
        logger.warning("another %s", "warning")

    compile_or_not(abs, attempt, "training")
    logger.warning("No CUDA runtime is found, using CUDA_HOME='%s'", "/opt")
    assert caplog.messages == [
        "another warning", "No CUDA runtime is found, using CUDA_HOME='/opt'",
    ]  # fmt: skip
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: compiling (a minute or two the first time)"


def test_a_function_that_does_not_compile_is_used_as_it_is(caplog):
    def attempt(_):
        raise RuntimeError("no compiler\nat all")

    assert compile_or_not(abs, attempt, "sampling") is abs
    assert caplog.messages == [
        "torch.compile is not usable here (no compiler); sampling without it"
    ]


@pytest.mark.parametrize(("told", "compilers"), [(None, 3), ("5", 5)])
def test_as_many_compilers_as_threads_unless_told(monkeypatch, told, compilers):
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    if told:
        monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", told)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    asked = {}
    monkeypatch.setattr(torch, "compile", lambda function, **how: asked.update(how) or function)
    assert compile_or_not(abs, lambda compiled: compiled(-1), "training") is abs
    assert asked["options"]["compile_threads"] == compilers
