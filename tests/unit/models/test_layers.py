"""Norms, blocks and the network against the formulas of the paper."""

import math

import pytest
import torch
from torch.nn import functional as F

from dimr import build
from dimr.models import DiMR
from dimr.models.blocks import attend
from dimr.models.norms import (
    TimeDependentLayerNorm,
    TimeDependentParameter,
    TimeDependentRMSNorm,
)

SIZES = {
    "layers": [4, 2, 1],
    "dims": [16, 8, 8],
    "heads": 2,
    "input_size": 8,
    "channels": 3,
    "num_classes": 5,
}


def randomise(module):
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


def test_time_dependent_parameter_is_the_interpolation():
    p = randomise(TimeDependentParameter(6, 1.0))
    tau = torch.tensor([-4.0, 0.3, 4.0])
    values = p(tau, 3)
    assert values.shape == (3, 1, 6)
    for i, time in enumerate(tau.tolist()):
        for d in range(6):
            share = 1 / (1 + math.exp(-((p.w[d].item() + 1) * time / 4 + p.b[d].item())))
            expected = p.p1[d].item() + share * (p.p0[d].item() - p.p1[d].item())
            assert values[i, 0, d].item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_norms_start_as_plain_norms():
    x, tau = torch.randn(2, 5, 16), torch.tensor([-1.0, 3.0])
    torch.testing.assert_close(TimeDependentLayerNorm(16)(x, tau), F.layer_norm(x, (16,)))
    torch.testing.assert_close(TimeDependentRMSNorm(16)(x, tau), F.rms_norm(x, (16,)))


def test_rms_norm_of_zero_has_a_finite_gradient():
    x = torch.zeros(1, 4, requires_grad=True)
    TimeDependentRMSNorm(4)(x, torch.tensor(0.0)).sum().backward()
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("tokens", [17, 80])
def test_attention_is_the_fused_one(tokens):
    q, k, v = torch.randn(3, 2, 4, tokens, 8).unbind(0)
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v))


def test_shapes_and_blocks_built():
    network = DiMR(**SIZES)
    x, t, y = torch.randn(2, 3, 8, 8), torch.tensor([0.2, 1.0]), torch.tensor([0, 5])
    outputs = network(x, t, y)
    assert [tuple(o.shape) for o in outputs] == [(2, 3, 2, 2), (2, 3, 4, 4), (2, 3, 8, 8)]
    assert len(network.lowest.stack.blocks) == 5  # N = 4 builds 5
    assert [len(branch.stack.blocks) for branch in network.higher] == [3, 1]


def test_a_sample_does_not_see_its_neighbours():
    network = randomise(DiMR(**SIZES))
    x, t, y = torch.randn(3, 3, 8, 8), torch.tensor([0.1, 0.5, 0.9]), torch.tensor([1, 2, 3])
    together = network(x, t, y)[-1]
    for i in range(3):
        alone = network(x[i : i + 1], t[i : i + 1], y[i : i + 1])[-1]
        torch.testing.assert_close(together[i : i + 1], alone, rtol=1e-4, atol=1e-4)


def test_cascade_carries_gradient_from_the_top_to_the_lowest_branch():
    network = randomise(DiMR(**SIZES))
    outputs = network(torch.randn(1, 3, 8, 8), torch.tensor(0.5), torch.tensor([0]))
    outputs[-1].square().sum().backward()
    assert network.lowest.label.weight.grad.abs().sum() > 0
    assert network.lowest.output.conv.weight.grad is None  # its own prediction was not used


def test_initial_weights():
    torch.manual_seed(0)
    network = DiMR(**{**SIZES, "dims": [128, 64, 32]})
    linear = network.lowest.stack.blocks[0].feed_forward.w0
    assert linear.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert linear.bias.abs().max() == 0
    assert network.lowest.label.weight.std().item() == pytest.approx(0.02, rel=0.1)
    assert network.lowest.input.position.std().item() == pytest.approx(0.02, rel=0.1)
    norm = network.lowest.stack.blocks[0].norm1
    assert (norm.scale.p0 == 1).all()
    assert (norm.scale.p1 == 1).all()
    assert (norm.scale.w == 0).all()
    depthwise = network.higher[0].stack.blocks[0].depthwise
    bound = 1 / math.sqrt(49)  # torch's default: uniform within 1 / sqrt(fan in)
    assert depthwise.weight.abs().max() <= bound
    assert depthwise.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)


def test_weight_decay_spares_w_and_b_of_time_dependent_parameters():
    network = DiMR(**SIZES)
    spared = network.no_weight_decay()
    expected = set()
    for name, module in network.named_modules():
        if isinstance(module, TimeDependentParameter):
            expected |= {f"{name}.w", f"{name}.b"}
    assert spared == expected
    assert spared < {name for name, _ in network.named_parameters()}


def test_sizes_that_do_not_fit_are_refused():
    for change, message in [
        ({"dims": [16, 8]}, "differ in length"),
        ({"input_size": 6}, "halved"),
        ({"heads": 3}, "heads"),
    ]:
        with pytest.raises(ValueError, match=message):
            DiMR(**{**SIZES, **change})


def test_build_by_name_and_by_family():
    assert build("dimr", **SIZES).sizes.dims == (16, 8, 8)
    with torch.device("meta"):
        network = build("dimr-xl-2r", num_classes=10)
    assert network.lowest.label.weight.shape == (11, 960)
    assert network.sizes.input_size == 32


def test_importing_the_networks_pulls_in_nothing_heavy():
    import subprocess
    import sys

    code = (
        "import sys, dimr.models, dimr.training.loop, dimr.data.reader\n"
        "heavy = {'diffusers', 'snakemake', 'dvc', 'timm', 'torch_fidelity', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_models_import_nothing_of_ours_but_themselves():
    import ast
    import sys
    from pathlib import Path

    import dimr.models

    others = {"torch"} | sys.stdlib_module_names
    for file in Path(dimr.models.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                assert {name.name.split(".")[0] for name in node.names} <= others, file.name
            if isinstance(node, ast.ImportFrom) and not node.module.startswith("dimr"):
                assert node.module.split(".")[0] in others, file.name
            if isinstance(node, ast.ImportFrom) and node.module.startswith("dimr"):
                assert node.module.startswith("dimr.models"), f"{file.name} imports {node.module}"
