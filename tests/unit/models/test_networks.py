"""The networks: what they see and predict, initial weights, sizes, imports."""

import ast
import dataclasses
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dimr.models
from dimr import build
from dimr.models import DiMR, DiMRSizes, DiT, UViT, UViTSizes
from dimr.models.complexity import count_parameters, on_meta
from dimr.models.norms import TimeDependentParameter

INPUT = {"input_size": 8, "channels": 3, "num_classes": 5}
PATCHED = {"depth": 3, "dim": 64, "heads": 4, "patch": 2, **INPUT}
BRANCHES = {"layers": [4, 2, 1], "dims": [16, 8, 8], "heads": 2, **INPUT}


def randomised(network, std=0.3):
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=std)
    return network


NETWORKS = [
    *((UViT, {**PATCHED, "time": time, "time_map": time_map})
      for time in ("token", "adaln_zero", "td_ln") for time_map in ("latent", "pixel")),
    (DiT, PATCHED),
    (DiT, {**PATCHED, "learn_sigma": True}),
    (DiMR, BRANCHES),
    (DiMR, {**BRANCHES, "time_map": "pixel", "outputs": "last", "feed_forward": "mlp"}),
    (DiMR, {**BRANCHES, "norm": "layer"}),
    (DiMR, {**BRANCHES, "norm": "adaln_zero", "feed_forward": "mlp"}),
    (DiMR, {**BRANCHES, "first": "convnext", "cascade": "concat", "branch_skips": True}),
]  # fmt: skip


def has_td_norms(family, sizes):
    return family is DiMR and sizes.get("norm") != "adaln_zero"


@pytest.mark.parametrize(("family", "sizes"), NETWORKS)
def test_predictions_depend_on_image_time_and_label_of_each_sample_only(family, sizes):
    torch.manual_seed(0)
    network = randomised(family(**sizes), 1.0 if has_td_norms(family, sizes) else 0.2)
    x, t, y = torch.randn(3, 3, 8, 8), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1, 2, 5])
    together = network(x, t, y)
    assert len(together) == network.predictions
    channels = 6 if sizes.get("learn_sigma") else 3
    for r, prediction in enumerate(reversed(together)):
        assert prediction.shape == (3, channels, 8 // 2**r, 8 // 2**r)

    def change(i, *arguments):
        found, wanted = network(*arguments)[-1], together[-1][i : i + 1]
        return ((found - wanted).norm() / wanted.norm()).item()

    for i in range(3):
        assert change(i, x[i : i + 1], t[i], y[i : i + 1]) < 1e-4  # by itself, with a time of all
    for other in ((x[1:2], t[0], y[:1]), (x[:1], t[2], y[:1]), (x[:1], t[0], y[2:])):
        assert change(0, *other) > 1e-3
    sum(prediction.square().sum() for prediction in together).backward()
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_the_branches_of_a_dimr():
    network = randomised(DiMR(**BRANCHES))
    assert network.predictions == 3
    assert len(network.lowest.stack.blocks) == 5  # N = 4 builds 5
    assert [len(branch.stack.blocks) for branch in network.higher] == [3, 1]
    last = DiMR(**BRANCHES, outputs="last")
    assert (last.predictions, last.counted, network.counted) == (3, "last", "all")
    network(*network.example_inputs(1, "cpu"))[-1].square().sum().backward()
    # the cascade carries gradient from the top to the lowest branch
    assert network.lowest.label.weight.grad.abs().sum() > 0
    assert network.lowest.output.conv.weight.grad is None  # its own prediction was not used


def test_where_a_uvit_ends_in_a_convolution():
    for time_map, final_conv, has_conv in (
        ("pixel", None, True), ("latent", None, False), ("pixel", False, False),
        ("latent", True, True), ("pixel", True, True),
    ):  # fmt: skip
        network = UViT(**PATCHED, time_map=time_map, final_conv=final_conv)
        assert (network.conv is not None) == has_conv
        said = network.sizes.final_conv  # as published: nothing is said
        assert said == (None if has_conv == (time_map == "pixel") else has_conv)


# --- initial weights ------------------------------------------------------------------------------


def std(weight, expected, rel=0.05):
    assert weight.std().item() == pytest.approx(expected, rel=rel)


def test_initial_weights_of_dimr():
    torch.manual_seed(0)
    network = DiMR(**{**BRANCHES, "dims": [128, 64, 32]})
    block = network.lowest.stack.blocks[0]
    std(block.feed_forward.w0.weight, 0.02)
    assert block.feed_forward.w0.bias.abs().max() == 0
    std(network.lowest.label.weight, 0.02, 0.1)
    std(network.lowest.input.position, 0.02, 0.1)
    scale = block.norm1.scale
    assert all((p == value).all() for p, value in ((scale.p0, 1), (scale.p1, 1), (scale.w, 0)))
    depthwise = network.higher[0].stack.blocks[0].depthwise
    bound = 1 / math.sqrt(49)  # torch's default: uniform within 1 / sqrt(fan in)
    assert depthwise.weight.abs().max() <= bound
    std(depthwise.weight, bound / math.sqrt(3))


def test_initial_weights_of_uvit():
    torch.manual_seed(0)
    network = UViT(**{**PATCHED, "dim": 256, "num_classes": 10}, time="adaln_zero")
    block = network.stack.blocks[0]
    for weight in (block.feed_forward.fc1.weight, network.stack.skips[0].weight, network.position):
        std(weight, 0.02)
        assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert (block.feed_forward.fc1.bias == 0).all()
    assert (block.modulation.linear.weight == 0).all()
    assert (network.modulation.linear.weight == 0).all()
    std(network.label.weight, 1)
    assert (UViT(**PATCHED).stack.blocks[0].norm1.weight == 1).all()


def test_initial_weights_of_dit():
    torch.manual_seed(0)
    network = DiT(**{**PATCHED, "dim": 128, "channels": 4, "num_classes": 10}, learn_sigma=True)
    block = network.blocks[1]
    fc1 = block.feed_forward.fc1.weight
    assert fc1.abs().max() <= math.sqrt(6 / (128 + 512))  # Xavier: uniform
    std(fc1, math.sqrt(2 / (128 + 512)), 0.02)
    std(network.patch.weight, math.sqrt(2 / (128 + 16)))  # as a matrix of 4 * 2 * 2 inputs
    embedding = network.embedding
    for weight in (network.label.weight, embedding.fc1.weight, embedding.fc2.weight):
        std(weight, 0.02, 0.06)
    zeros = [block.modulation.linear, network.modulation.linear, network.output]
    assert all((m.weight == 0).all() and (m.bias == 0).all() for m in zeros)
    (output,) = network(*network.example_inputs(2, "cpu"))
    assert (output == 0).all()  # adaLN-Zero: silent at the start


@pytest.mark.parametrize(("family", "sizes"), NETWORKS)
def test_weight_decay_spares_w_and_b_of_time_dependent_parameters(family, sizes):
    network = family(**sizes)
    expected = {
        f"{name}.{own}"
        for name, module in network.named_modules()
        if isinstance(module, TimeDependentParameter)
        for own in "wb"
    }
    assert network.no_weight_decay() == expected
    assert bool(expected) == (has_td_norms(family, sizes) or sizes.get("time") == "td_ln")


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("uvit", {"depth": 4}, "depth 4 should be odd"),
        *((family, {"patch": 3}, "8 is no multiple of patch 3") for family in ("uvit", "dit")),
        *((family, {"heads": 5}, "split into 5 heads") for family in ("uvit", "dit", "dimr")),
        ("dimr", {"dims": [16, 8]}, "differ in length"),
        ("dimr", {"layers": [], "dims": []}, "differ in length"),
        ("dimr", {"input_size": 6}, "6 cannot be halved 2 times"),
    ],
)
def test_sizes_that_do_not_fit(family, change, message):
    with pytest.raises(ValueError, match=message):
        build(family, **{**(BRANCHES if family == "dimr" else PATCHED), **change})
    with pytest.raises(TypeError, match="dept"):
        build(family, dept=3)


def test_sizes_build_the_same_network_again():
    network = build("dimr", **BRANCHES)
    assert network.sizes == DiMRSizes(**BRANCHES)
    assert network.sizes.layers == (4, 2, 1)
    assert network.sizes.arguments()["layers"] == [4, 2, 1]  # plain JSON
    assert DiMRSizes(**network.sizes.arguments()) == network.sizes
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.sizes.heads = 1
    assert "final_conv" not in UViTSizes(**PATCHED).arguments()


def test_build_by_name():
    with torch.device("meta"):
        assert build("uvit-h-4").sizes.input_size == 64
        network = build("dimr-xl-2r", num_classes=10)
    assert network.lowest.label.weight.shape == (11, 960)
    assert network.sizes.input_size == 32


@pytest.mark.parametrize(("family", "sizes"), NETWORKS)
def test_the_least_that_a_network_has_is_no_more_than_it_has(family, sizes):
    sizes = family(**sizes).sizes
    assert 0.2 * count_parameters(on_meta(sizes)) < sizes.least_parameters()
    assert sizes.least_parameters() <= count_parameters(on_meta(sizes))


# --- imports --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_importing_the_networks_pulls_in_nothing_heavy():
    code = (
        "import sys, dimr.models; assert 'torch' not in sys.modules\n"
        "import dimr.models.dimr, dimr.training.loop, dimr.data.reader, dimr.data.text.encoders\n"
        "heavy = {'diffusers', 'snakemake', 'dvc', 'timm', 'torch_fidelity', 'sklearn'}\n"
        "assert not (heavy | {'transformers'}) & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_models_import_torch_and_themselves_only():
    allowed = {"torch", *sys.stdlib_module_names}
    for file in Path(dimr.models.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                known = name.split(".")[0] in allowed or name.startswith("dimr.models")
                assert known, f"{file.name} imports {name}"
