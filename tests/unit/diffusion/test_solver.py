"""Solvers against closed forms and definitions written out in float64."""

import math

import numpy as np
import pytest
import torch

import dimr
from dimr.diffusion import sample
from dimr.diffusion.schedule import SCHEDULES
from dimr.runtime.randomness import torch_generator

BETAS = np.linspace(1e-4, 0.02, 1000)


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


# --- ancestral steps, as DiT takes them -----------------------------------------------------------


def denoise(x, t):
    """Noise 0.3 x + t, and a v that depends on the place and lies within [-1, 1]."""
    v = torch.tanh(x + torch.linspace(-1, 1, x.shape[-1]))
    return torch.cat([0.3 * x + t, v], dim=1)


def by_definition(noise, steps, generators):
    """Ancestral sampling on a subset of the steps (Nichol and Dhariwal, equations 9, 15 and 19)."""
    chosen = np.linspace(0, 999, steps).round().astype(int)
    alpha_bar = np.cumprod(1 - BETAS)[chosen]
    before = np.append(1.0, alpha_bar[:-1])
    betas = 1 - alpha_bar / before
    x = noise.double()
    for i in reversed(range(steps)):
        eps, v = denoise(x.float(), torch.tensor((chosen[i] + 1) / 1000)).double().chunk(2, dim=1)
        x0 = (x - math.sqrt(1 - alpha_bar[i]) * eps) / math.sqrt(alpha_bar[i])
        mean = (
            math.sqrt(before[i]) * betas[i] * x0 + math.sqrt(1 - betas[i]) * (1 - before[i]) * x
        ) / (1 - alpha_bar[i])
        if i == 0:
            return mean
        posterior = betas[i] * (1 - before[i]) / (1 - alpha_bar[i])
        share = (v + 1) / 2
        log_variance = share * math.log(betas[i]) + (1 - share) * math.log(posterior)
        drawn = [torch.randn(noise.shape[1:], generator=g) for g in generators]
        x = mean + torch.exp(0.5 * log_variance) * torch.stack(drawn).double()
    raise AssertionError("no steps")


def generators(indices):
    return [torch_generator(0, "test", i) for i in indices]


@pytest.mark.parametrize("steps", [10, 250])
def test_ancestral_sampler(steps):
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    ours = sample(
        denoise,
        noise,
        steps,
        schedule="linear",
        solver="ancestral",
        generators=generators(range(3)),
    )
    theirs = by_definition(noise, steps, generators(range(3)))
    assert ((ours - theirs).norm() / theirs.norm()).item() < 2e-5


def test_ancestral_noise_belongs_to_the_image():
    noise = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    options = {"schedule": "linear", "solver": "ancestral"}
    together = sample(denoise, noise, 10, generators=generators(range(3)), **options)
    alone = sample(denoise, noise[2:], 10, generators=generators([2]), **options)
    torch.testing.assert_close(together[2:], alone)


def test_ancestral_needs_a_variance():
    with pytest.raises(ValueError, match="learns its variance"):
        sample(lambda x, _: x, torch.zeros(1, 2, 4, 4), 10, solver="ancestral", generators=[])


# --- as diffusers schedulers ----------------------------------------------------------------------


@pytest.mark.parametrize("schedule", ["latent", "pixel", "linear"])
def test_the_solver_is_its_schedule(schedule, tmp_path):
    solver = dimr.AuthorsDPMSolver(schedule)
    solver.save_pretrained(tmp_path)
    again = dimr.AuthorsDPMSolver.from_pretrained(tmp_path)
    assert again.config.schedule == schedule
    assert torch.equal(again.betas, solver.betas)
    again.set_timesteps(7)
    solver.set_timesteps(7)
    assert torch.equal(again.sigmas, solver.sigmas)
    assert again.timesteps[0] == 999.0
    betas = {s: dimr.AuthorsDPMSolver(s).betas for s in ("latent", "pixel", "linear")}
    assert [s for s in betas if torch.equal(betas[s], solver.betas)] == [schedule]


def test_a_solver_needs_a_schedule():
    from diffusers import DPMSolverMultistepScheduler

    with pytest.raises(ValueError, match=r"schedule 'cosine' is none of latent, pixel, linear"):
        dimr.AuthorsDPMSolver("cosine")
    with pytest.raises(ValueError, match="names no schedule"):
        dimr.AuthorsDPMSolver.from_config(DPMSolverMultistepScheduler().config)
