"""Draws depend on (seed, purpose, index) only."""

import torch

from dimr.runtime.randomness import derived_seed, noise_by_index


def test_noise_of_an_index_does_not_depend_on_the_batch():
    whole = noise_by_index(0, "sample", range(10), (4, 8, 8))
    parts = [noise_by_index(0, "sample", range(i, i + 5), (4, 8, 8)) for i in (0, 5)]
    assert torch.equal(whole, torch.cat(parts))
    assert torch.equal(whole[[7]], noise_by_index(0, "sample", [7], (4, 8, 8)))


def test_seeds_differ_by_every_argument():
    seeds = {
        derived_seed(seed, purpose, *index)
        for seed in range(3)
        for purpose in ("train", "sample")
        for index in [(), (0,), (1,), (0, 1)]
    }
    assert len(seeds) == 24
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_noise_is_standard_normal():
    noise = noise_by_index(0, "sample", range(2000), (4, 4))
    assert abs(noise.mean().item()) < 0.02
    assert abs(noise.std().item() - 1) < 0.02
    neighbours = (noise[:-1] * noise[1:]).mean().item()
    assert abs(neighbours) < 0.02
