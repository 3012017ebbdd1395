"""The network's picture says what the network is."""

import pytest

from dimr.config.project import PROJECT
from dimr.models import DiMRSizes, UViTSizes
from dimr.paper.figures import architecture

from .conftest import check_legible, texts


@pytest.fixture(scope="module")
def xl():
    return architecture.load("dimr-xl-3r", PROJECT)


def test_a_sketch_holds_the_variants_sizes(xl):
    variant = PROJECT.variant("dimr-xl-3r").variant
    assert xl.name == "DiMR-XL/3R"
    assert xl.input == (4, 64, 64)
    assert xl.parameters == variant.published.parameters == sum(b.parameters for b in xl.branches)
    assert xl.macs / 1e9 == pytest.approx(variant.published.gmacs, abs=0.01)
    assert [branch.dim for branch in xl.branches] == list(variant.dims)
    assert [branch.side for branch in xl.branches] == [16, 32, 64]
    assert [branch.patch for branch in xl.branches] == [4, 2, 1]
    assert [branch.parts for branch in xl.branches] == [(19, 1, 19), (10, 1, 10), (10, 1, 10)]
    assert [branch.kind for branch in xl.branches] == ["Transformer", "ConvNeXt", "ConvNeXt"]
    assert [branch.weight for branch in xl.branches] == [1 / 16, 1 / 4, 1]
    assert [branch.cascade for branch in xl.branches] == [None, (40, 960), (22, 480)]
    assert [branch.output for branch in xl.branches] == [(4, 16, 16), (4, 32, 32), (4, 64, 64)]
    assert xl.branches[0].block == ("TD-LN, attention, 16 heads", "TD-LN, GLU 2D")


def test_the_picture_is_legible_and_says_it_all(xl):
    figure = architecture.draw(xl)
    check_legible(figure)
    shown = "\n".join(text for text, _ in texts(figure))
    for words in (
        "DiMR-XL/3R: 525M parameters, 206 GMACs for 4×64×64",
        "ConvNeXt, 64×64, $D$ = 240",
        "40 × 960 features → 4 × 480",
        "19 in",
        "19 long skips",
        "loss ×1/16",
    ):
        assert words in shown


def test_the_ablations_networks_differ_in_their_pictures():
    sizes = {"layers": [3, 1], "dims": [16, 8], "heads": 2, "input_size": 8, "channels": 1}
    sizes |= {"num_classes": 3, "feed_forward": "mlp", "norm": "layer", "time_map": "pixel"}
    one = architecture.sketch("small", DiMRSizes(**sizes, outputs="last"))
    low, high = one.branches
    assert (low.output, low.weight) == ((1, 4, 4), 0)  # it predicts, and no loss counts it
    assert (high.output, high.weight) == ((1, 8, 8), 1)
    assert low.block[1] == "TD-LN, MLP 4D"
    assert "SNR" in one.time
    check_legible(architecture.draw(one))
    sizes["norm"] = "adaln_zero"
    one = architecture.sketch("small", DiMRSizes(**sizes))
    assert one.branches[1].block == ("adaLN-Zero, 7×7 depthwise conv", "adaLN-Zero, MLP 4D")
    assert one.branches[1].head[0] == "layer norm"
    assert "embedding per branch" in one.time
    check_legible(architecture.draw(one))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("convnext", "class: added to the first"),
        ("concat", "+: concatenated"),
        ("skips", "skips between branches"),
    ],
)
def test_other_design_choices_are_said_in_words(name, words):
    one = architecture.load(f"dimr-xs-{name}-2r", PROJECT)
    assert words in one.time
    assert one.branches[0].kind == ("ConvNeXt" if name == "convnext" else "Transformer")
    assert one.branches[0].tokens == (() if name == "convnext" else ("class",))
    check_legible(architecture.draw(one))


@pytest.mark.parametrize(
    ("time", "tokens", "norm"),
    [
        ("token", ("class", "time"), "layer norm"),
        ("adaln_zero", ("class",), "adaLN-Zero"),
        ("td_ln", ("class",), "TD-LN"),
    ],
)
def test_how_time_enters_a_uvit(time, tokens, norm):
    sizes = {"depth": 3, "dim": 16, "heads": 2, "patch": 2, "input_size": 8, "channels": 3}
    one = architecture.sketch("small", UViTSizes(**sizes, num_classes=3, time=time))
    (branch,) = one.branches
    assert branch.tokens == tokens
    assert branch.block[0].startswith(norm)
    assert branch.parts == (1, 1, 1)
    check_legible(architecture.draw(one))


def test_a_dit_has_no_skips():
    one = architecture.load("dit-xs-sigma-2", PROJECT)
    (branch,) = one.branches
    assert one.name == "DiT-XS/2 (sigma)"
    assert branch.parts == (6,)
    assert branch.output == (8, 8, 8)  # noise and variance
    figure = architecture.draw(one)
    check_legible(figure)
    assert not any("skip" in text for text, _ in texts(figure))
