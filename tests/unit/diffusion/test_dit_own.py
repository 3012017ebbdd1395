"""DiT's own sampler, guidance and loss, against their definitions written out in float64."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from dimr.diffusion import sample
from dimr.diffusion.guidance import wrap
from dimr.diffusion.schedule import LatentSchedule, LinearSchedule
from dimr.diffusion.variational import variational_bound
from dimr.models.conditioning import LabelCondition
from dimr.runtime.randomness import torch_generator

BETAS = np.linspace(1e-4, 0.02, 1000)


def test_betas_are_dits():
    np.testing.assert_allclose(LinearSchedule().betas, BETAS, rtol=1e-12)


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


class Halves(torch.nn.Module):
    """Predicts its labels in every channel: 4 of noise, 4 of variance."""

    def forward(self, _x, t, condition):
        return [condition.labels.view(-1, 1, 1, 1).float().expand(-1, 8, 2, 2) + t]


def test_three_guided_channels():
    x, y, t = torch.zeros(2, 4, 2, 2), torch.tensor([1, 2]), torch.tensor(0.0)
    classes, cond = LabelCondition(y, 10), y.float()
    output = wrap(Halves(), classes, "constant", scale=0.5, channels=3)(x, t)
    torch.testing.assert_close(output[:, 2, 0, 0], cond + 0.5 * (cond - 10))
    torch.testing.assert_close(output[:, 3, 0, 0], cond)  # the fourth channel is not guided
    torch.testing.assert_close(output[:, 7, 0, 0], cond)  # nor is the variance
    all_four = wrap(Halves(), classes, "constant", scale=0.5)(x, t)
    torch.testing.assert_close(all_four[:, 3, 0, 0], cond + 0.5 * (cond - 10))
    torch.testing.assert_close(all_four[:, 4, 0, 0], cond)


def test_unconditional():
    x, y = torch.zeros(2, 4, 2, 2), torch.tensor([1, 2])
    output = wrap(Halves(), LabelCondition(y, 10), "unconditional")(x, torch.tensor(0.0))
    assert (output == 10).all()


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
