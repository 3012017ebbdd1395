"""Precision and recall against their definition in numpy, in both kinds of distances."""

import numpy as np
import pytest
import torch

from dimr.evaluation import manifold
from dimr.evaluation.manifold import precision_recall, squared_distances

SMALL = 64  # features of a block


def features(count, seed, scale=1, shift=4):
    """Rectified normal features near a subspace, float32, so far from 0 that float16 is coarse."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).normal(size=(12, 48))
    return (scale * np.maximum(rng.normal(size=(count, 12)) @ mixing, 0) + shift).astype(np.float32)


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(manifold, "BLOCK", SMALL)


@pytest.mark.parametrize("neighborhood", [1, 3, 5])
@pytest.mark.parametrize("distances", ["float16", "float32"])
@pytest.mark.usefixtures("small_blocks")
def test_both_kinds_are_their_definition_in_any_number_of_blocks(
    definitions, distances, neighborhood
):
    a, b = features(3 * SMALL + 2, 1, shift=4.4), features(2 * SMALL + 1, 2)
    kinds = {
        name: definitions.adm_precision_recall(a, b, neighborhood, dtype)
        for name, dtype in (("float16", np.float16), ("float32", np.float64))
    }
    found = precision_recall(torch.from_numpy(a), torch.from_numpy(b), neighborhood, distances)
    assert found == pytest.approx(kinds[distances], abs=1e-12)
    assert kinds["float16"] != kinds["float32"]  # else either would do
    assert abs(found[0] - found[1]) > 0.01  # else a swap would go unseen


@pytest.mark.usefixtures("small_blocks")
def test_only_a_block_that_float16_cannot_hold_is_float32(definitions, caplog):
    """ADM decides block by block: here the second half of the features is too large."""
    caplog.set_level("INFO", logger=manifold.__name__)
    small, large = features(SMALL, 1), features(SMALL, 2, scale=60)
    both = torch.from_numpy(np.concatenate([small, large]))
    found = squared_distances(both[:SMALL], both[:SMALL], "float16")
    assert torch.equal(found, found.half().float())
    assert not caplog.text
    for other in (both[:SMALL], both[SMALL:]):
        found = squared_distances(both[SMALL:], other, "float16")
        assert torch.equal(found, squared_distances(both[SMALL:], other, "float32"))
        assert not torch.equal(found, found.half().float())
    assert "float32 for a block" in caplog.text

    distant = torch.from_numpy(features(SMALL, 3, scale=60))
    wanted = definitions.adm_precision_recall(distant.numpy().astype(float), large.astype(float))
    assert precision_recall(distant, both[SMALL:], 3, "float16") == pytest.approx(wanted)


def test_wide_features_stay_wide():
    """The digit classifier's are float64, which float32 would round."""
    close = torch.tensor([[1.0], [1.0 + 1e-9]], dtype=torch.float64)
    assert squared_distances(close, close, "float32").dtype == torch.float64
