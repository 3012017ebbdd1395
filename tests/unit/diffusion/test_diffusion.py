"""Loss, guidance and noise against closed forms."""

import numpy as np
import pytest
import torch

from dimr.diffusion import multi_scale_loss, power_cosine_scale, sample
from dimr.diffusion.guidance import wrap
from dimr.diffusion.loss import branch_weights, noise_at_scale
from dimr.diffusion.schedule import SCHEDULES, LatentSchedule, PixelSchedule
from dimr.models.conditioning import LabelCondition


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


def test_latent_times_are_whole_steps():
    t = LatentSchedule().draw_times(1000, torch.Generator().manual_seed(0))
    torch.testing.assert_close(t * 1000, (t * 1000).round(), rtol=0, atol=1e-3)


def test_add_noise():
    x, noise, t = torch.ones(2, 1, 2, 2), torch.ones(2, 1, 2, 2), torch.tensor([0.001, 1.0])
    alpha_bar = np.exp(2 * PixelSchedule().log_alpha(t.double().numpy()))
    expected = np.sqrt(alpha_bar) + np.sqrt(1 - alpha_bar)
    noisy = PixelSchedule().add_noise(x, noise, t)
    np.testing.assert_allclose(noisy[:, 0, 0, 0], expected, rtol=1e-5)


class Labelled(torch.nn.Module):
    """Predicts its label, so that guidance is arithmetic; records the batches it saw."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, x, _t, condition):
        self.batches.append(len(x))
        return [condition.labels.to(x.dtype).view(-1, 1, 1, 1).expand_as(x)]


def test_guidance_formulas_in_one_batch():
    x, t, y = torch.zeros(3, 1, 2, 2), torch.tensor(0.4), torch.tensor([0, 1, 2])
    null = 10
    cond = y.float()
    network = Labelled()

    def at(kind, scale=0.0, power=1.0):
        return wrap(network, LabelCondition(y, null), kind, scale, power)(x, t)[:, 0, 0, 0]

    torch.testing.assert_close(at("none"), cond)
    torch.testing.assert_close(at("constant", 0.4), cond + 0.4 * (cond - null))
    weight = 1 + (3.5 - 1) * (1 - np.cos(np.pi * 0.6**2)) / 2
    torch.testing.assert_close(at("power_cosine", 3.5, 2.0), null + weight * (cond - null))
    assert network.batches == [3, 6, 6]
    with pytest.raises(ValueError, match="none, unconditional, constant, power_cosine"):
        at("cosine")


def test_power_cosine_ends():
    assert power_cosine_scale(1.0, 3.5, 2.0) == pytest.approx(1.0)
    assert power_cosine_scale(0.0, 3.5, 2.0) == pytest.approx(3.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("steps", "tolerance"), [(9, 0.3), (10, 0.3), (11, 0.2), (200, 2e-3)])
def test_solver_recovers_a_gaussian(schedule, steps, tolerance):
    """For data N(0, s^2) the exact denoiser is linear, and the ODE only rescales the noise."""
    deviation, rule = 0.5, SCHEDULES[schedule]()

    def alpha_sigma(t):
        alpha = np.exp(rule.log_alpha(np.array(t, dtype=np.float64)))
        return alpha, np.sqrt(1 - alpha**2)

    def denoise(x, t):
        alpha, sigma = alpha_sigma(float(t))
        return x * sigma / (alpha**2 * deviation**2 + sigma**2)

    noise = torch.randn(4, 1, 4, 4, dtype=torch.float64)
    (a0, s0), (a1, s1) = alpha_sigma(1e-3), alpha_sigma(1.0)
    exact = noise * np.sqrt((a0**2 * deviation**2 + s0**2) / (a1**2 * deviation**2 + s1**2))
    x = sample(denoise, noise, steps, schedule=schedule)
    error = ((x - exact).norm() / exact.norm()).item()
    assert error < tolerance


def test_bad_names_and_counts_are_refused():
    noise = torch.zeros(1, 1, 2, 2)
    for options in ({"solver": "euler"}, {"schedule": "cosine"}, {"steps": 2}):
        with pytest.raises(ValueError, match=r"none of|too few"):
            sample(lambda x, _: x, noise, **{"steps": 10, **options})
