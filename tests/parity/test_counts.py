"""Parameters and multiply-accumulates are the published ones."""

import pytest
import torch

from dimr.experiment import variant_name, variants
from dimr.models import build, complexity

PUBLISHED = {
    variant_name(family, size, branches): variant.published
    for family, size, branches, variant in variants()
    if variant.published
}


def test_all_five_are_listed():
    assert set(PUBLISHED) == {
        "dimr-m-3r", "dimr-l-3r", "dimr-xl-2r", "dimr-xl-3r", "dimr-g-2r",
    }  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name):
    with torch.device("meta"):
        network = build(name)
    counted = complexity(type(network), network.config)
    assert counted.parameters == PUBLISHED[name].parameters
    assert counted.macs / 1e9 == pytest.approx(PUBLISHED[name].gmacs, abs=0.0051)
