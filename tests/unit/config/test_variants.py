"""Variants by name: those of variants.yaml, and the same with the other norm."""

import pytest
import torch
from tests.support.experiments import copy_experiments, edit

from dimr import build
from dimr.config.phases import section_key
from dimr.config.project import PROJECT
from dimr.config.variants import parse_variants
from dimr.runtime.errors import DimrError

NORMS = {"rms", "layer"}


def test_every_dimr_with_a_td_norm_has_the_other():
    dimr = [one for one in PROJECT.variants.values() if one.family == "dimr"]
    listed = [one for one in dimr if one.is_listed and one.variant.norm in NORMS]
    for one in listed:
        (norm,) = NORMS - {one.variant.norm}
        other = PROJECT.variant(f"dimr-{one.size}-{norm}-{one.number}r")
        assert other.sizes == {**one.sizes, "norm": norm}
        assert other.published_input == one.published_input
        assert f"dimr-{one.size}-{one.variant.norm}-{one.number}r" not in PROJECT.variants
    others = [one for one in dimr if not one.is_listed]
    assert len(others) == len(listed) == len(dimr) - len(others) - 2  # adaLN-Zero, m and xs
    assert all(one.is_listed for one in PROJECT.variants.values() if one.family != "dimr")


def test_the_norms_of_the_papers_networks():
    """Released: RMS. Others as in the text, which the counts of the ablation confirm."""
    norms = {name: one.variant.norm for name, one in PROJECT.variants.items()
             if one.family == "dimr" and one.variant.published and one.is_listed}  # fmt: skip
    assert norms == {
        "dimr-m-3r": "layer", "dimr-l-3r": "layer", "dimr-xl-3r": "layer",
        "dimr-xl-2r": "rms", "dimr-g-2r": "rms",
    }  # fmt: skip


def test_the_other_norm_wherever_a_variant_is_named(tmp_path):
    with torch.device("meta"):
        network = build("dimr-xl-layer-2r")
    assert (network.sizes.norm, network.sizes.input_size) == ("layer", 32)
    run = PROJECT.run("imagenet512/dimr-xl-rms-3r/0")
    assert run.network == PROJECT.run("imagenet512/dimr-xl-3r/0").network.model_copy(
        update={"norm": "rms"}
    )
    copy_experiments(tmp_path)
    change = {"dataset": "imagenet512", "model.variant": "xl-rms"}
    assert edit(tmp_path, "params.yaml", change).run("workspace").network == run.network
    for name in ("dimr-xl-rms-2r", "dimr-xl-adaln_zero-2r", "dimr-m-adaln-rms-3r", "uvit-h-rms-2"):
        with pytest.raises(DimrError, match="no variant") as caught:
            PROJECT.variant(name)
        assert "-layer-" not in str(caught.value)  # what variants.yaml lists is long enough


def test_what_is_listed_by_hand_has_the_last_word():
    sizes = {"layers": [1], "dims": [8], "heads": 1}
    content = {"dimr": {"a": {1: sizes}, "a-layer": {1: {**sizes, "heads": 2, "norm": "layer"}}}}
    named = parse_variants(content, "variants.yaml")
    assert list(named) == ["dimr-a-1r", "dimr-a-layer-1r", "dimr-a-layer-rms-1r"]
    assert named["dimr-a-layer-1r"].variant.heads == 2


def test_a_switch_at_its_default_is_in_no_configuration_and_so_in_no_key():
    """What was trained before there was the switch is not trained again."""
    train = PROJECT.run("digits/dimr-xs-2r/0").phases()["train"]
    assert set(train.network.model_dump()) == {
        "family", "layers", "dims", "heads", "norm", "feed_forward", "outputs",
        "input_size", "channels", "num_classes", "time_map", "schedule",
    }  # fmt: skip
    keys = {section_key(train)}
    for name, key in (("convnext", "first"), ("concat", "cascade"), ("skips", "branch_skips")):
        other = PROJECT.run(f"digits/dimr-xs-{name}-2r/0").phases()["train"]
        written = other.network.model_dump()
        assert written == {**train.network.model_dump(), key: written[key]}
        assert getattr(other.network.sizes, key) == written[key]
        keys.add(section_key(other))
    assert len(keys) == 4
