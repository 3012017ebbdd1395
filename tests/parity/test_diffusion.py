"""Schedules, guidance weight and solver are the authors'."""

import math

import numpy as np
import pytest
import torch

from dimr.checkpoints.formats import from_published
from dimr.diffusion import power_cosine_scale, sample
from dimr.diffusion.guidance import wrap
from dimr.diffusion.schedule import (
    LatentSchedule,
    PixelSchedule,
    scaled_linear_betas,
)
from dimr.models.conditioning import LabelCondition, vp_log_snr


def test_schedules(vectors):
    theirs = vectors("schedule")
    close = {"rtol": 1e-10, "atol": 0}
    np.testing.assert_allclose(scaled_linear_betas(), theirs["betas"].numpy(), **close)
    alpha_bar = np.exp(2 * LatentSchedule().log_alpha(np.arange(1, 1001) / 1000))
    np.testing.assert_allclose(alpha_bar, theirs["alphas_cumprod"].numpy(), **close)
    t = theirs["vp_t"]
    np.testing.assert_allclose(vp_log_snr(t), theirs["vp_log_snr"], **close)
    alpha_bar = np.exp(2 * PixelSchedule().log_alpha(t.numpy()))
    np.testing.assert_allclose(alpha_bar, theirs["vp_alpha_bar"].numpy(), **close)


def test_training_uses_the_same_schedules_in_float32(vectors):
    theirs = vectors("schedule")
    n = torch.arange(1, 1001)
    alpha, sigma = LatentSchedule().alpha_sigma(n / 1000)
    torch.testing.assert_close(alpha.double() ** 2, theirs["alphas_cumprod"], rtol=3e-7, atol=0)
    torch.testing.assert_close(sigma.double() ** 2, 1 - theirs["alphas_cumprod"], rtol=3e-7, atol=0)
    alpha, sigma = PixelSchedule().alpha_sigma(theirs["vp_t"])
    torch.testing.assert_close(alpha**2, theirs["vp_alpha_bar"], rtol=1e-10, atol=0)
    torch.testing.assert_close(sigma**2, 1 - theirs["vp_alpha_bar"], rtol=1e-10, atol=0)


def test_power_cosine(vectors):
    t = torch.arange(0, 1001, 50, dtype=torch.float64) / 1000
    checked = 0
    for name, weight in vectors("schedule").part("power_cosine").items():
        scale, power = map(float, name.split("_"))
        torch.testing.assert_close(
            power_cosine_scale(t, scale, power), weight, rtol=1e-10, atol=1e-12
        )
        one = power_cosine_scale(0.45, scale, power)
        assert one == pytest.approx(weight[9].item(), rel=1e-10)
        checked += 1
    assert checked == 6


class SmoothNetwork(torch.nn.Module):
    """The denoiser of sampler.safetensors: 0.9 sigma x + 0.15 tanh(network)."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, t, condition):
        log_alpha = LatentSchedule().log_alpha(np.array(float(t)))
        sigma = math.sqrt(-math.expm1(2 * float(log_alpha)))
        return [0.9 * sigma * x + 0.15 * torch.tanh(self.network(x, t, condition)[-1])]


CASES = {
    "none.10": {"kind": "none"},
    "none.50": {"kind": "none"},
    "none.250": {"kind": "none"},
    "constant_0.4.50": {"kind": "constant", "scale": 0.4},
    "constant_0.4.250": {"kind": "constant", "scale": 0.4},
    "power_cosine_3.5_4.250": {"kind": "power_cosine", "scale": 3.5, "power": 4.0},
}


@pytest.fixture(scope="module")
def denoiser(vectors):
    weights = vectors("sampler").part("weights")
    return SmoothNetwork(from_published(weights, num_heads=4, time_map="latent"))


def classes(tensors):
    return LabelCondition(tensors["y"], int(tensors["null_class"]))


@pytest.mark.parametrize("name", CASES)
def test_solver(name, vectors, denoiser, relative_error):
    tensors = vectors("sampler")
    steps = int(name.rsplit(".", 1)[1])
    evaluations = []
    guided = wrap(denoiser, classes(tensors), **CASES[name])

    def denoise(x, t):
        evaluations.append(float(t))
        return guided(x, t)

    assert relative_error(sample(denoise, tensors["xT"], steps), tensors[f"x0.{name}"]) < 1e-5
    assert len(evaluations) == steps
    assert evaluations == sorted(evaluations, reverse=True)


def test_stock_solvers_stay_selectable_and_differ_as_measured(vectors, denoiser, relative_error):
    tensors = vectors("sampler")
    denoise = wrap(denoiser, classes(tensors))
    for solver, difference in {"singlestep": 1e-4, "multistep": 8e-3}.items():
        x = sample(denoise, tensors["xT"], 50, solver=solver)
        error = relative_error(x, tensors["x0.none.50"])
        assert 0.5 * difference < error < 2 * difference, solver
