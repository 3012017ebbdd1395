"""Losses, noise and schedules against closed forms, and DiT's variational bound in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from dimr.diffusion import multi_scale_loss
from dimr.diffusion.loss import branch_weights, noise_at_scale
from dimr.diffusion.schedule import SCHEDULES, LatentSchedule, LinearSchedule, PixelSchedule
from dimr.diffusion.variational import variational_bound


def test_noise_keeps_unit_variance_at_every_scale():
    noise = torch.randn(64, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    for scale in (1, 2, 4):
        pooled = noise_at_scale(noise, scale)
        assert pooled.shape[-1] == 32 // scale
        assert pooled.var().item() == pytest.approx(1.0, rel=0.02)
        cell = noise[0, 0, :scale, :scale].sum() / scale
        torch.testing.assert_close(pooled[0, 0, 0, 0], cell)


def test_loss_is_the_weighted_sum():
    noise = torch.zeros(2, 1, 4, 4)
    predictions = [torch.full((2, 1, 2, 2), 2.0), torch.full((2, 1, 4, 4), 3.0)]
    torch.testing.assert_close(multi_scale_loss(predictions, noise), torch.full((2,), 10.0))
    assert branch_weights(2) == [1 / 4, 1]
    assert branch_weights(3) == [1 / 16, 1 / 4, 1]
    assert branch_weights(3, "last") == [0, 0, 1]
    assert branch_weights(1, "last") == branch_weights(1) == [1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_preserve_variance_and_start_clean(name):
    schedule = SCHEDULES[name]()
    t = schedule.draw_times(5000, torch.Generator().manual_seed(0))
    assert t.min() > 0
    assert t.max() <= 1
    assert t.mean().item() == pytest.approx(0.5, abs=0.02)
    alpha, sigma = schedule.alpha_sigma(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(t))
    at_steps = np.round(t.double().numpy(), 6)
    log_alpha = torch.from_numpy(schedule.log_alpha(at_steps))
    torch.testing.assert_close(alpha.double(), log_alpha.exp(), rtol=1e-3, atol=1e-5)


def test_betas_of_dit():
    np.testing.assert_allclose(LinearSchedule().betas, np.linspace(1e-4, 0.02, 1000), rtol=1e-12)


def test_latent_times_are_whole_steps():
    t = LatentSchedule().draw_times(1000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(t * 1000, (t * 1000).round(), rtol=0, atol=1e-3)


def test_add_noise():
    x, noise, t = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2), torch.tensor([0.001, 1.0])
    alpha_bar = np.exp(2 * PixelSchedule().log_alpha(t.double().numpy()))
    expected = np.sqrt(alpha_bar) + np.sqrt(1 - alpha_bar)
    noisy = PixelSchedule().add_noise(x, noise, t)
    np.testing.assert_allclose(noisy[:, 0, 0, 0], expected, rtol=1e-5)


# --- the variational bound ------------------------------------------------------------------------


def problem(t):
    """Images, noise and output (noise, v) at times t."""
    draw = torch.Generator().manual_seed(1)
    x, noise = (torch.randn(len(t), 2, 3, 3, generator=draw).clamp(-1, 1) for _ in range(2))
    schedule = LatentSchedule()
    noisy = schedule.add_noise(x, noise, t)
    output = torch.cat([noise + 0.1 * x, torch.tanh(x - noise)], dim=1)
    return schedule, output, x, noisy


def test_variational_bound_is_the_divergence_of_the_two_steps():
    n = torch.tensor([2, 3, 400, 1000])
    schedule, output, x, noisy = problem(n / 1000)
    alpha_bar = np.cumprod(1 - schedule.betas)
    expected = []
    for i, step in enumerate(n.tolist()):
        now, before, beta = alpha_bar[step - 1], alpha_bar[step - 2], schedule.betas[step - 1]
        variance = beta * (1 - before) / (1 - now)
        mean = (
            math.sqrt(before) * beta * x[i].double()
            + math.sqrt(1 - beta) * (1 - before) * noisy[i].double()
        ) / (1 - now)
        eps, v = output[i].double().chunk(2)
        x0 = (noisy[i].double() - math.sqrt(1 - now) * eps) / math.sqrt(now)
        predicted = (
            math.sqrt(before) * beta * x0 + math.sqrt(1 - beta) * (1 - before) * noisy[i].double()
        ) / (1 - now)
        std = beta ** ((v + 1) / 4) * variance ** ((1 - v) / 4)
        true = Normal(mean, torch.full_like(mean, math.sqrt(variance)))
        expected.append(kl_divergence(true, Normal(predicted, std)).mean() / math.log(2))
    bound = variational_bound(schedule, output, x, noisy, n / 1000)
    torch.testing.assert_close(bound.double(), torch.stack(expected), rtol=2e-4, atol=1e-6)


def test_the_first_step_is_a_likelihood_of_grey_levels():
    schedule, output, x, noisy = problem(torch.tensor([0.001]))
    beta = schedule.betas[0]
    second = schedule.betas[1] * beta / (1 - (1 - beta) * (1 - schedule.betas[1]))
    eps, v = output[0].double().numpy()[:2], output[0].double().numpy()[2:]
    mean = (noisy[0].double().numpy() - math.sqrt(beta) * eps) / math.sqrt(1 - beta)
    std = np.exp(((v + 1) / 2 * np.log(beta) + (1 - v) / 2 * np.log(second)) / 2)
    clean = x[0].double().numpy()
    upper = np.where(clean > 0.999, 1.0, norm.cdf((clean - mean + 1 / 255) / std))
    lower = np.where(clean < -0.999, 0.0, norm.cdf((clean - mean - 1 / 255) / std))
    expected = -np.log2(np.maximum(upper - lower, 1e-12)).mean()
    bound = variational_bound(schedule, output, x, noisy, torch.tensor([0.001]))
    assert bound.item() == pytest.approx(expected, rel=1e-3)


def test_the_bound_teaches_the_variance_alone():
    schedule, output, x, noisy = problem(torch.tensor([0.001, 0.4]))
    output.requires_grad_()
    variational_bound(schedule, output, x, noisy, torch.tensor([0.001, 0.4])).sum().backward()
    assert (output.grad[:, :2] == 0).all()
    assert (output.grad[:, 2:] != 0).any()
