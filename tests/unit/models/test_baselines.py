"""U-ViT, DiT and the ablation's switches: shapes, initial weights, bad sizes."""

import math

import pytest
import torch

from dimr import build
from dimr.models import DiMR
from dimr.models.conditioning import sinusoids
from dimr.models.dit import DiT, position_sinusoids
from dimr.models.uvit import UViT

INPUT = {"input_size": 8, "channels": 4, "num_classes": 10}
SIZES = {"depth": 3, "dim": 64, "heads": 4, "patch": 2, **INPUT}


def call(network, t=None):
    x = torch.randn(2, 4, 8, 8)
    return network(x, torch.tensor([0.1, 0.9]) if t is None else t, torch.tensor([3, 10]))


@pytest.mark.parametrize("time", ["token", "adaln_zero", "td_norm"])
@pytest.mark.parametrize("time_map", ["latent", "pixel"])
def test_uvit_gives_one_prediction_and_sees_time_and_label(time, time_map):
    torch.manual_seed(0)
    network = UViT(**SIZES, time=time, time_map=time_map)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    outputs = call(network)
    assert network.predictions == len(outputs) == 1
    assert outputs[0].shape == (2, 4, 8, 8)
    x, y = torch.randn(1, 4, 8, 8), torch.tensor([3])
    first = network(x, torch.tensor(0.1), y)[0]
    assert not torch.allclose(first, network(x, torch.tensor(0.9), y)[0], atol=1e-3)
    assert not torch.allclose(first, network(x, torch.tensor(0.1), y + 7)[0], atol=1e-3)
    each = network(x.expand(2, -1, -1, -1), torch.tensor([0.1, 0.9]), y.expand(2))[0]
    torch.testing.assert_close(each[:1], first, rtol=1e-3, atol=1e-4)
    assert (network.conv is not None) == (time_map == "pixel")


def test_uvit_initial_weights():
    torch.manual_seed(0)
    network = UViT(**{**SIZES, "dim": 256}, time="adaln_zero")
    block = network.stack.blocks[0]
    for weight in (block.feed_forward.fc1.weight, network.stack.skips[0].weight, network.position):
        assert weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert (block.feed_forward.fc1.bias == 0).all()
    assert (block.modulation.linear.weight == 0).all()
    assert (network.modulation.linear.weight == 0).all()
    assert network.label.weight.std().item() == pytest.approx(1, rel=0.05)
    plain = UViT(**SIZES)
    assert (plain.stack.blocks[0].norm1.weight == 1).all()
    assert plain.no_weight_decay() == set()
    td = UViT(**SIZES, time="td_norm")
    spared = {n for n, _ in td.named_parameters() if n.endswith((".w", ".b"))}
    assert td.no_weight_decay() == spared != set()


def test_dit_initial_weights():
    torch.manual_seed(0)
    network = DiT(**{**SIZES, "dim": 128}, learn_sigma=True)
    block = network.blocks[1]
    fc1 = block.feed_forward.fc1.weight
    assert fc1.abs().max() <= math.sqrt(6 / (128 + 512))  # Xavier: uniform
    assert fc1.std().item() == pytest.approx(math.sqrt(2 / (128 + 512)), rel=0.02)
    patch = network.patch.weight  # as a matrix of 4 * 2 * 2 inputs
    assert patch.std().item() == pytest.approx(math.sqrt(2 / (128 + 16)), rel=0.05)
    for weight in (
        network.label.weight,
        network.embedding.fc1.weight,
        network.embedding.fc2.weight,
    ):
        assert weight.std().item() == pytest.approx(0.02, rel=0.06)
    zeros = [block.modulation.linear, network.modulation.linear, network.output]
    assert all((m.weight == 0).all() and (m.bias == 0).all() for m in zeros)
    output = call(network)[0]
    assert output.shape == (2, 8, 8, 8)  # noise and variance
    assert (output == 0).all()  # adaLN-Zero: silent at the start


def test_position_sinusoids_are_half_column_half_row():
    grid = position_sinusoids(5, 16).view(5, 5, 16)
    assert (grid[0, :, 8:] == grid[0, :1, 8:]).all()  # the second half tells the row
    assert (grid[:, 0, :8] == grid[:1, 0, :8]).all()
    torch.testing.assert_close(grid[3, 2, 0], torch.tensor(math.sin(2.0)))
    torch.testing.assert_close(grid[3, 2, 8 + 4 + 1], torch.tensor(math.cos(3 * 0.1)))


def test_sinusoids():
    waves = sinusoids(torch.tensor([0.0, 10.0]), 8)
    torch.testing.assert_close(waves[0], torch.tensor([1.0] * 4 + [0.0] * 4))
    torch.testing.assert_close(waves[1, 1], torch.tensor(math.cos(10 * 0.1)))
    assert sinusoids(torch.tensor(3.0), 8).shape == (1, 8)


def test_a_dimr_whose_last_branch_alone_predicts():
    sizes = {"layers": [1, 1], "dims": [8, 8], "heads": 2, **INPUT}
    torch.manual_seed(0)
    network = DiMR(**sizes, outputs="last", feed_forward="mlp")
    outputs = call(network)
    assert network.predictions == len(outputs) == 1
    assert outputs[0].shape == (2, 4, 8, 8)
    outputs[0].square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None]
    assert silent == []  # nothing is built that the loss does not reach
    assert DiMR(**sizes).predictions == 2


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("uvit", {"depth": 4}, "depth 4 should be odd"),
        ("uvit", {"patch": 3}, "no multiple of patch 3"),
        ("uvit", {"heads": 5}, "split into 5 heads"),
        ("dit", {"patch": 3}, "no multiple of patch 3"),
        ("dit", {"heads": 5}, "split into 5 heads"),
    ],
)
def test_sizes_that_do_not_fit(family, change, message):
    with pytest.raises(ValueError, match=message):
        build(family, **{**SIZES, **change})


def test_build_by_name():
    with torch.device("meta"):
        assert build("uvit-h-4").sizes.input_size == 64
        network = build("dit-xl-2", num_classes=10)
    assert (network.sizes.num_classes, network.sizes.dim) == (10, 1152)
