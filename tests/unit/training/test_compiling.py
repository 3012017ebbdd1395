"""What is compiled once is found again, and only if the code is the same."""

import os
import subprocess
import sys

import pytest
import yaml

GRADIENT = """
from pathlib import Path
from dimr.runtime.processor import keep_compiled
keep_compiled(Path("unused: the environment names one"))
import torch

class Scaled(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.sin()

    @staticmethod
    def backward(ctx, grad):
        return grad * {factor}

from torch._dynamo.utils import counters

x = torch.zeros(64, requires_grad=True)
torch.compile(lambda x: Scaled.apply(x).sum())(x).backward()
print(x.grad[0].item(), counters["aot_autograd"]["autograd_cache_hit"])
"""


@pytest.fixture
def python(tmp_path):
    """Run Python with a cache of kernels of its own; what it printed, and the kernels."""

    def run(*words):
        environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
        words = [sys.executable, *map(str, words)]
        done = subprocess.run(words, env=environment, text=True, capture_output=True, check=True)
        return done.stdout.split(), set((tmp_path / "cache").rglob("*.so"))

    return run


@pytest.mark.slow
def test_a_training_finds_what_was_compiled_before_its_data(python, commands, config, tmp_path):
    path = tmp_path / "train.yaml"
    settings = config(compile=True, steps=3).model_dump(mode="json")
    path.write_text(yaml.safe_dump(settings))
    command = commands(compile=True, steps=3)
    _, compiled = python("-m", "dimr", "compile", "--config", path, "--device=cpu", "--threads=1")
    assert compiled
    _, found = python("-m", "dimr", *command.arguments("a"))
    assert found == compiled
    assert (command.folder / "a/model/record.json").is_file()


def test_a_step_is_compiled_again_if_a_gradients_code_changes(python, tmp_path):
    """Traced steps are kept with gradients of our own in them, which torch by itself does not."""
    script, printed = tmp_path / "step.py", []
    for factor in (2, 2, 3):
        script.write_text(GRADIENT.format(factor=factor))
        printed.append(python(script)[0])
    assert printed == [["2.0", "0"], ["2.0", "1"], ["3.0", "0"]]
