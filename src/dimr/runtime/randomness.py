"""Randomness from (seed, purpose, index): no draw depends on batch, process or restart."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch


def derived_seed(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed that is a hash of its arguments."""
    text = "/".join([str(seed), purpose, *map(str, index)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def torch_generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A CPU generator for (seed, purpose, index)."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *index))


def numpy_generator(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A numpy generator for (seed, purpose, index)."""
    return np.random.default_rng(derived_seed(seed, purpose, *index))


def noise_by_index(
    seed: int, purpose: str, indices: Sequence[int], shape: Sequence[int]
) -> torch.Tensor:
    """Standard normal (len(indices), *shape) float32; row j depends on ``indices[j]`` only."""
    rows = [torch.randn(tuple(shape), generator=torch_generator(seed, purpose, i)) for i in indices]
    return torch.stack(rows)
