"""Noise schedules: x_t = alpha(t) x_0 + sigma(t) eps with alpha^2 + sigma^2 = 1 and t in (0, 1]."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from dimr.models.conditioning import vp_log_snr

STEPS = 1000


def scaled_linear_betas() -> np.ndarray:
    """Betas of the latent models, (1000,) float64: linear in their root from 0.00085 to 0.012."""
    return np.linspace(0.00085**0.5, 0.012**0.5, STEPS) ** 2


def linear_betas() -> np.ndarray:
    """Betas of DiT's published models, (1000,) float64: linear from 1e-4 to 0.02."""
    return np.linspace(1e-4, 0.02, STEPS)


class Schedule(ABC):
    """A variance-preserving schedule: how noisy the image is at time t."""

    @abstractmethod
    def log_alpha(self, t: np.ndarray) -> np.ndarray:
        """Log alpha(t), float64, for float64 t in [1/1000, 1]."""

    @abstractmethod
    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """(count,) float32 training times on the generator's device."""

    def add_noise(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = alpha(t) x + sigma(t) noise for x, noise (B, C, H, W) and t (B,)."""
        alpha, sigma = self.alpha_sigma(t)
        shape = (-1, 1, 1, 1)
        return alpha.view(shape) * x + sigma.view(shape) * noise

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """alpha(t) and sigma(t), float32 like t, on t's device."""


class LatentSchedule(Schedule):
    """Discrete VP with 1000 steps, n uniform in 1..1000 (latent models)."""

    make_betas = staticmethod(scaled_linear_betas)

    def __init__(self) -> None:
        self.betas = self.make_betas()
        self._log_alpha = 0.5 * np.log(np.cumprod(1.0 - self.betas))
        self._tables: dict[torch.device, Tensor] = {}

    def log_alpha(self, t: np.ndarray) -> np.ndarray:
        """Linear interpolation of log alpha between the discrete steps (the authors' solver)."""
        return np.interp(STEPS * np.asarray(t), np.arange(1, STEPS + 1), self._log_alpha)

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """At the step n = 1000 t, rounded to a whole one."""
        if t.device not in self._tables:  # once: a copy to a GPU waits for what runs there
            self._tables[t.device] = torch.from_numpy(self._log_alpha).to(t.device)
        log_alpha = self._tables[t.device][(t * STEPS).round().long() - 1]
        sigma = torch.sqrt(-torch.expm1(2 * log_alpha))
        return log_alpha.exp().to(t.dtype), sigma.to(t.dtype)

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """n / 1000 with n uniform in 1..1000."""
        n = torch.randint(1, STEPS + 1, (count,), generator=generator, device=generator.device)
        return n / STEPS


class LinearSchedule(LatentSchedule):
    """The same with linear betas: what DiT's published weights were trained with."""

    make_betas = staticmethod(linear_betas)


class PixelSchedule(Schedule):
    """Continuous VP SDE with beta from 0.1 to 20, t uniform in (0, 1] (64x64 pixel models)."""

    def log_alpha(self, t: np.ndarray) -> np.ndarray:
        """Closed form: alpha^2 is the sigmoid of log SNR."""
        log_snr = vp_log_snr(torch.as_tensor(t, dtype=torch.float64))
        return 0.5 * torch.nn.functional.logsigmoid(log_snr).numpy()

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Roots of sigmoid(log SNR) and of sigmoid(-log SNR)."""
        log_snr = vp_log_snr(t)
        return torch.sigmoid(log_snr).sqrt(), torch.sigmoid(-log_snr).sqrt()

    def draw_times(self, count: int, generator: torch.Generator) -> Tensor:
        """Uniform in (0, 1]: one minus a draw from [0, 1)."""
        return 1.0 - torch.rand(count, generator=generator, device=generator.device)


SCHEDULES: dict[str, type[Schedule]] = {
    "latent": LatentSchedule,
    "pixel": PixelSchedule,
    "linear": LinearSchedule,
}
"""Schedules by name: ``latent`` (scaled linear, discrete), ``pixel`` (continuous) and ``linear``
(DiT's own, discrete)."""


def known_schedule(name: str) -> Schedule:
    """A schedule by its name; ``ValueError`` lists the names."""
    if name not in SCHEDULES:
        raise ValueError(f"schedule {name!r} is none of {', '.join(SCHEDULES)}")
    return SCHEDULES[name]()
