"""Norms, attention and embeddings against the formulas of the papers."""

import math

import pytest
import torch
from torch.nn import functional as F

from dimr.models.blocks import attend
from dimr.models.conditioning import sinusoids
from dimr.models.dit import position_sinusoids
from dimr.models.norms import (
    TimeDependentLayerNorm,
    TimeDependentParameter,
    TimeDependentRMSNorm,
)


def test_time_dependent_parameter_is_the_interpolation():
    p = TimeDependentParameter(6, 1.0)
    for parameter in p.parameters():
        torch.nn.init.normal_(parameter)
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
