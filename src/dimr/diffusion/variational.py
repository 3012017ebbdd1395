"""DiT's own loss for its learned variance: the variational bound (Nichol and Dhariwal, 2021).

The network predicts, after the noise, a value v in about [-1, 1] that places the log variance of
the reverse step between the two extremes, beta (v = 1) and the posterior variance (v = -1). The
bound teaches only v: the noise enters it without gradient.
"""

import functools
import math

import torch
from torch import Tensor

from dimr.diffusion.schedule import STEPS, LatentSchedule

HALF_LEVEL = 1 / 255  # half a grey level of an image in [-1, 1]


def variational_bound(
    schedule: LatentSchedule, output: Tensor, x: Tensor, noisy: Tensor, t: Tensor
) -> Tensor:
    """One term of the bound for each sample, (B,), in bits per value.

    KL(q(x_{n-1} | x_n, x_0) || p(x_{n-1} | x_n)) for n > 1; for n = 1 the negative log likelihood
    of x_0 in grey levels, as DiT has it for latents too.

    Args:
        schedule: a discrete one.
        output: what the network predicts, (B, 2 C, H, W): noise, then v.
        x: clean images (B, C, H, W).
        noisy: x_n (B, C, H, W).
        t: n / 1000, (B,).
    """
    n = (t * STEPS).round().long() - 1
    noise, v = output.float().chunk(2, dim=1)
    terms = [c[n].view(-1, 1, 1, 1) for c in _coefficients(schedule, x.device)]
    alpha_bar, beta, from_x, from_noisy, log_beta, log_posterior = terms
    true_mean = from_x * x + from_noisy * noisy
    mean = (noisy - beta / (1 - alpha_bar).sqrt() * noise.detach()) / (1 - beta).sqrt()
    log_variance = torch.lerp(log_posterior, log_beta, (v + 1) / 2)
    kl = 0.5 * (
        log_variance
        - log_posterior
        - 1.0
        + torch.exp(log_posterior - log_variance)
        + (true_mean - mean).square() * torch.exp(-log_variance)
    )
    first = -_log_likelihood(x, mean, 0.5 * log_variance)
    bits = torch.where((n == 0).view(-1, 1, 1, 1), first, kl) / math.log(2.0)
    return bits.flatten(1).mean(1)


@functools.lru_cache(maxsize=8)  # copies to a GPU wait for what runs there
def _coefficients(schedule: LatentSchedule, device: torch.device) -> tuple[Tensor, ...]:
    """Tables (1000,) float32: alpha_bar, beta, the posterior mean's weights of x_0 and x_n, the log
    of beta and of the posterior variance (its first, 0, is replaced by the second).
    """
    beta = torch.from_numpy(schedule.betas)
    alpha_bar = (1 - beta).cumprod(0)
    before = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
    variance = beta * (1 - before) / (1 - alpha_bar)
    variance = torch.cat([variance[1:2], variance[1:]])
    from_x = beta * before.sqrt() / (1 - alpha_bar)
    from_noisy = (1 - before) * (1 - beta).sqrt() / (1 - alpha_bar)
    tables = [alpha_bar, beta, from_x, from_noisy, beta.log(), variance.log()]
    return tuple(table.to(device, torch.float32) for table in tables)


def _log_likelihood(x: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Log probability of the grey level around x; the end levels reach to infinity."""
    centred, inverse = x - mean, torch.exp(-log_std)
    upper = torch.special.ndtr((centred + HALF_LEVEL) * inverse)
    lower = torch.special.ndtr((centred - HALF_LEVEL) * inverse)
    upper = torch.where(x > 0.999, torch.ones_like(upper), upper)
    lower = torch.where(x < -0.999, torch.zeros_like(lower), lower)
    return (upper - lower).clamp(min=1e-12).log()
