"""Parameters and multiply-accumulates are the published ones."""

import pytest

from dimr.config.project import PROJECT
from dimr.models.complexity import complexity

LISTED = {one.name: one for one in PROJECT.variants.values()}
PUBLISHED = {name: one for name, one in LISTED.items() if one.variant.published}


def test_the_papers_networks_are_all_listed():
    assert {
        "dimr-m-3r", "dimr-l-3r", "dimr-xl-2r", "dimr-xl-3r", "dimr-g-2r",
        "uvit-m-4", "uvit-l-4", "uvit-l-2", "uvit-h-2", "uvit-h-4",
        "dit-s-2", "dit-s-4", "dit-b-2", "dit-b-4", "dit-l-2", "dit-l-4", "dit-xl-2", "dit-xl-4",
    } <= set(LISTED)  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts(name):
    one = PUBLISHED[name]
    published = one.variant.published
    counted = complexity(one.complete(**one.published_input))
    if isinstance(published.parameters, int):  # counted with the authors' code
        assert counted.parameters == published.parameters
        assert counted.macs / 1e9 == pytest.approx(published.gmacs, abs=0.0051)
        return
    assert f"{counted.parameters / 1e6:.0f}M" == published.parameters
    if published.gmacs is not None:  # printed as a whole number, not always the nearest
        assert counted.macs / 1e9 == pytest.approx(published.gmacs, abs=1.0)


def test_the_ablation_costs_what_the_components_cost():
    """Closed forms for D = 768 and 17 blocks, or the three branches of M."""

    def parameters(name):
        sizes = {"input_size": 64, "channels": 3, "num_classes": 1000, "time_map": "pixel"}
        return complexity(LISTED[name].complete(**sizes)).parameters

    dim, blocks = 768, 17
    token = parameters("uvit-m-4")
    norms = 2 * 2 * dim * blocks + 2 * dim  # scale and shift
    embedding = (256 + 1) * dim + (dim + 1) * dim
    modulations = (dim + 1) * (6 * dim * blocks + 2 * dim)
    time_token = dim  # its place in the position embedding
    adaln = parameters("uvit-m-adaln-4")
    assert adaln == token - norms - time_token + embedding + modulations
    td = parameters("uvit-m-td-4")
    assert td == token - norms - time_token + 2 * 4 * dim * blocks + 8 * dim
    assert adaln - token > 100 * (td - token)

    glu = {d: 3 * 2 * d * d + 5 * d for d in (768, 384, 192)}
    mlp = {d: 2 * 4 * d * d + 5 * d for d in (768, 384, 192)}
    built = {768: 15, 384: 9, 192: 9}
    last = parameters("dimr-m-last-3r")
    more = sum(n * (mlp[d] - glu[d]) for d, n in built.items())
    assert parameters("dimr-m-mlp-last-3r") == last + more
    outputs = sum(8 * d + (9 * d + 1) * 3 for d in (768, 384))
    assert parameters("dimr-m-3r") == last + outputs
