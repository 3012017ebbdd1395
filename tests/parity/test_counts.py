"""Parameters and multiply-accumulates are the published ones."""

import pytest

from dimr.config.project import PROJECT
from dimr.models import complexity as counting
from dimr.models.complexity import complexity

LISTED = {one.name: one for one in PROJECT.variants.values()}
PUBLISHED = {
    name: one
    for name, one in LISTED.items()
    if one.variant.published and one.variant.published.parameters is not None
}
PIXELS = {"input_size": 64, "channels": 3, "num_classes": 1000, "time_map": "pixel"}
LATENTS = {"input_size": 32, "channels": 4, "num_classes": 1000, "time_map": "latent"}


def parameters(name, inputs=PIXELS):
    return complexity(LISTED[name].complete(**inputs)).parameters


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
    dim, blocks = 768, 17
    token = parameters("uvit-m-4")
    norms = 2 * 2 * dim * blocks + 2 * dim  # scale and shift
    embedding = (256 + 1) * dim + (dim + 1) * dim
    modulations = (dim + 1) * (6 * dim * blocks + 2 * dim)
    time_token = dim  # its place in the position embedding
    adaln = parameters("uvit-m-adaln-4")
    assert adaln == token - norms - time_token + embedding + modulations
    td = parameters("uvit-m-td-4")
    assert td == token - norms - time_token + 8 * dim * (2 * blocks + 1)
    assert adaln - token > 100 * (td - token)

    glu = {d: 3 * 2 * d * d + 5 * d for d in (768, 384, 192)}
    mlp = {d: 2 * 4 * d * d + 5 * d for d in (768, 384, 192)}
    built = {768: 15, 384: 9, 192: 9}
    last = parameters("dimr-m-last-3r")
    more = sum(n * (mlp[d] - glu[d]) for d, n in built.items())
    assert parameters("dimr-m-mlp-last-3r") == last + more
    assert parameters("dimr-m-3r") == last  # only the loss is another

    tdln = 2 * built[768] * 8 * 768 + sum(built[d] * 8 * d for d in (384, 192))
    outer = 768 * (built[768] + 1) + 384 * (built[384] + 1) + (384 + 192) + sum(built)
    embeddings = sum((256 + 1) * d + (d + 1) * d for d in built)
    modulations = sum(n * 6 * d * (d + 1) for d, n in built.items())
    time = embeddings + modulations - tdln - (8 - 2) * outer  # plain norms outside of blocks
    assert parameters("dimr-m-adaln-3r") == last + more + time


TABLE_2 = {
    "uvit-m-4": (130_941_060, "130.9M"),
    "uvit-m-adaln-4": (193_096_068, "202.4M"),
    "dimr-m-adaln-3r": (217_878_537, "217.9M"),
    "dimr-m-mlp-last-3r": (153_954_057, "154.0M"),
    "dimr-m-last-3r": (132_941_577, "132.9M"),
    "dimr-m-3r": (132_941_577, "132.9M"),
}
"""The paper's table 2: parameters of ours, and as printed."""


@pytest.mark.parametrize("name", TABLE_2)
def test_the_ablation_has_the_printed_parameters(name):
    ours, printed = TABLE_2[name]
    assert parameters(name) == ours
    assert (f"{ours / 1e6:.1f}M" == printed) == (name != "uvit-m-adaln-4")


def test_the_form_of_adaln_zero_that_is_printed_for_the_second_row():
    """Two layers in each block on bare sinusoids, norms of their own: what ``Modulation`` says."""
    dim, blocks = 768, 17
    without_time = parameters("uvit-m-4") - dim  # that token's place
    two_layers = blocks * ((dim + 1) * dim + (dim + 1) * 6 * dim) + (dim + 1) * 2 * dim
    assert f"{(without_time + two_layers) / 1e6:.2f}M" == "202.40M"


def test_what_the_other_design_choices_cost():
    """Of DiMR-XL/2R: D = 960 and 480, 39 and 21 blocks."""
    released, dim, below, built = parameters("dimr-xl-2r", LATENTS), 480, 960, (39, 21)
    attention = built[0] * (4 * below**2 + below)
    # in place of attention and its norm (4 D) a depthwise convolution: 49 D, and a bias
    convolution = built[0] * (50 - 4) * below
    convnext = parameters("dimr-xl-convnext-2r", LATENTS)
    assert convnext == released - attention + convolution == 362_961_608
    concat = parameters("dimr-xl-concat-2r", LATENTS)
    assert concat == released + 2 * dim**2 + dim == 505_507_688
    skips = parameters("dimr-xl-skips-2r", LATENTS)
    assert skips == released + built[1] * (below + 1) * dim == 514_733_288


@pytest.mark.parametrize("run", ["dimr-xs-2r", "dimr-xs-skips-2r", "uvit-xs-2", "dit-xs-2"])
def test_blocks_that_are_alike_count_as_if_each_had_run(run, monkeypatch):
    sizes = PROJECT.run(f"digits/{run}/0").network.sizes
    ours = complexity(sizes)
    monkeypatch.setattr(counting, "_repeated", lambda _: iter(()))
    assert complexity.__wrapped__(sizes) == ours
