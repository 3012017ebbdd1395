"""The depthwise convolution of ConvNeXt blocks against torch's own, in every form it takes."""

import pytest
import torch
from torch import nn

from dimr.models.depthwise import DepthwiseConvolution, weight_gradient


def case(dim, side, batch=2):
    torch.manual_seed(0)
    layer = DepthwiseConvolution(dim)
    x = torch.randn(batch, side, side, dim, requires_grad=True)
    return layer, x, torch.randn(batch, side, side, dim)


def gradients(call, layer, x, weights):
    layer.zero_grad()
    x.grad = None
    out = call(x)
    (out * weights).sum().backward()
    return [out.detach(), x.grad, layer.weight.grad, layer.bias.grad]


def library(layer):
    return lambda x: nn.Conv2d.forward(layer, x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


def close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.shape == other.shape
        assert (one - other).norm() <= 1e-5 * other.norm()


def test_eager_equals_the_library():
    layer, x, weights = case(6, 8)
    theirs = gradients(library(layer), layer, x, weights)
    close(gradients(layer, layer, x, weights), theirs)


@pytest.mark.parametrize("side", [4, 12, 16])  # below, no multiple of, and twice the rows at a time
def test_weight_gradient_equals_the_library(side):
    layer, x, weights = case(5, side)
    theirs = gradients(library(layer), layer, x, weights)[2]
    ours = weight_gradient(x.detach().permute(0, 3, 1, 2), weights.permute(0, 3, 1, 2))
    close([ours], [theirs])


@pytest.mark.slow
def test_compiled_equals_the_library_also_under_autocast():
    layer, x, weights = case(16, 16)
    theirs = gradients(library(layer), layer, x, weights)
    compiled = torch.compile(layer)
    close(gradients(compiled, layer, x, weights), theirs)
    with torch.autocast("cpu", torch.bfloat16):  # stays in float32
        close(gradients(compiled, layer, x, weights), theirs)
