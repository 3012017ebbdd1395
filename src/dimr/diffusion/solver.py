"""Solvers of the sampling ODE, on diffusers' schedulers. Importing this imports diffusers (10 s).

diffusers' index k is the paper's step n = k + 1, so t = (k + 1) / 1000.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
    SchedulerMixin,
)
from diffusers.configuration_utils import register_to_config
from torch import Tensor

from dimr.diffusion.schedule import STEPS, Schedule, known_schedule

SOLVERS = ("authors", "singlestep", "multistep", "ancestral")


class NamedSchedule:
    """A scheduler that is configured by the name of a schedule, and nothing else."""

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Any:
        """The solver for any scheduler's configuration that names our ``schedule``.

        Nothing else is taken from it: another solver's order would make this a different one.

        Raises:
            ValueError: no ``schedule`` in the configuration.
        """
        named = {**config, **kwargs}
        if "schedule" not in named:
            raise ValueError(f"{cls.__name__}: the configuration names no schedule")
        solver = cls(named["schedule"])  # type: ignore[call-arg]
        return (solver, {}) if return_unused_kwargs else solver


class AuthorsDPMSolver(NamedSchedule, DPMSolverSinglestepScheduler):
    """The authors' DPM-Solver++ ("fast", order 3, time-uniform) on diffusers' scheduler.

    Two things differ from stock: time is real-valued, t = linspace(1, 1/1000, steps + 1), and the
    second-order update inside a third-order step uses the "heun" formula, while a second-order
    step that closes the run uses "midpoint".

    Its configuration names the schedule, and holds what diffusers' other schedulers need to replace
    it (``DPMSolverMultistepScheduler.from_config(solver.config)``).

    Args:
        schedule: of the noise, as for ``dimr.diffusion.sample``: ``latent``, ``pixel`` or
            ``linear``. There is no default: a wrong one gives noise, not an error.

    Raises:
        ValueError: another schedule.
    """

    @register_to_config
    def __init__(self, schedule: str) -> None:
        self.noise_schedule = known_schedule(schedule)
        super().__init__(**dpm_settings(self.noise_schedule, order=3))
        # not used here: some schedulers' defaults would clip latents, or start below t = 1
        self.register_to_config(clip_sample=False, timestep_spacing="linspace")

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, **_: Any
    ) -> None:  # the stock signature has options that this solver does not
        """Place the evaluations uniformly in t; noise levels are float64 on the CPU."""
        super().set_timesteps(num_inference_steps)
        t = np.linspace(1.0, 1.0 / STEPS, num_inference_steps + 1)
        # sigma / alpha, as diffusers' "sigmas" are
        self.sigmas = torch.from_numpy(np.sqrt(np.expm1(-2.0 * self.noise_schedule.log_alpha(t))))
        self.timesteps = torch.from_numpy(STEPS * t[:-1] - 1.0).to(device)

    def singlestep_dpm_solver_second_order_update(self, *args: Any, **kwargs: Any) -> Tensor:
        """Heun if this is the second evaluation of a third-order step, else midpoint."""
        following = self.order_list[self.step_index + 1 : self.step_index + 2]
        self.register_to_config(solver_type="heun" if following == [3] else "midpoint")
        try:
            return super().singlestep_dpm_solver_second_order_update(*args, **kwargs)
        finally:
            self.register_to_config(solver_type="midpoint")


class AncestralSampler(NamedSchedule, DDPMScheduler):
    """DDPM's ancestral sampler with learned variance, respaced as DiT does: evenly, both ends in.

    Args:
        schedule: of the noise, as for ``AuthorsDPMSolver``; published DiTs have ``linear``.

    Raises:
        ValueError: another schedule.
    """

    @register_to_config
    def __init__(self, schedule: str) -> None:
        super().__init__(
            num_train_timesteps=STEPS,
            trained_betas=discrete_betas(known_schedule(schedule)).tolist(),
            variance_type="learned_range",
            clip_sample=False,
        )

    def set_timesteps(self, num_inference_steps: int, device: Any = None, **_: Any) -> None:
        """Place the evaluations evenly among the 1,000 steps.

        They are all passed to diffusers, so that no version of it assumes the previous one to be a
        whole number of steps away.
        """
        chosen = np.linspace(0, STEPS - 1, num_inference_steps).round().astype(int)
        super().set_timesteps(timesteps=list(map(int, chosen[::-1])), device=device)


def dpm_settings(schedule: Schedule, order: int) -> dict[str, Any]:
    """Settings shared by all solvers of the DPM-Solver++ kind here."""
    return {
        "num_train_timesteps": STEPS,
        "trained_betas": discrete_betas(schedule).tolist(),
        "solver_order": order,
        "algorithm_type": "dpmsolver++",
        "final_sigmas_type": "sigma_min",
        "lower_order_final": True,
    }


def discrete_betas(schedule: Schedule) -> np.ndarray:
    """The schedule as betas of the steps n = 1..1000, (1000,) float64."""
    alpha_bar = np.exp(2 * schedule.log_alpha(np.arange(1, STEPS + 1) / STEPS))
    return 1.0 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])


def place_steps(scheduler: SchedulerMixin, steps: int) -> SchedulerMixin:
    """Set a diffusers scheduler to ``steps`` evaluations, from the first one on."""
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)
    return scheduler


def make_solver(name: str, schedule: str, steps: int) -> SchedulerMixin:
    """A diffusers scheduler ready to step, from t = 1 down.

    Args:
        name: ``authors`` (third order), ``singlestep`` (diffusers' stock, third order),
            ``multistep`` (diffusers' stock, second order) or ``ancestral`` (see
            ``AncestralSampler``).
        schedule: name of the noise schedule that the network was trained with.
        steps: network evaluations.

    Raises:
        ValueError: another name.
    """
    if name == "authors":
        return place_steps(AuthorsDPMSolver(schedule), steps)
    if name == "ancestral":
        return place_steps(AncestralSampler(schedule), steps)
    known = known_schedule(schedule)
    if name == "singlestep":
        solver = DPMSolverSinglestepScheduler(**dpm_settings(known, order=3))
    elif name == "multistep":
        solver = DPMSolverMultistepScheduler(**dpm_settings(known, order=2))
    else:
        raise ValueError(f"solver {name!r} is none of {', '.join(SOLVERS)}")
    return place_steps(solver, steps)
