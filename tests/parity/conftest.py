"""Vectors made with the authors' code on small networks (weights, outputs, gradients)."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

VECTORS = Path(__file__).parent / "vectors"


class Vectors(dict):
    """Tensors of one file by name; ``part("weights")`` are those under ``weights.``."""

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        return {
            k.removeprefix(f"{prefix}."): v for k, v in self.items() if k.startswith(f"{prefix}.")
        }


@pytest.fixture(scope="session")
def vectors():
    return lambda name: Vectors(load_file(VECTORS / f"{name}.safetensors"))


@pytest.fixture(scope="session")
def relative_error():
    return lambda ours, theirs: ((ours - theirs).norm() / theirs.norm()).item()
