"""Solvers of the sampling ODE, on diffusers' schedulers. Importing this imports diffusers (10 s).

diffusers' index k is the paper's step n = k + 1, so t = (k + 1) / 1000.
"""

from typing import Any

import numpy as np
import torch
from diffusers import (
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    DPMSolverSinglestepScheduler,
)
from torch import Tensor

from dimr.diffusion.schedule import STEPS, Schedule


class AuthorsDPMSolver(DPMSolverSinglestepScheduler):
    """The authors' DPM-Solver++ ("fast", order 3, time-uniform) on diffusers' scheduler.

    Two things differ from stock: time is real-valued, t = linspace(1, 1/1000, steps + 1), and the
    second-order update inside a third-order step uses the "heun" formula, while a second-order
    step that closes the run uses "midpoint".
    """

    schedule: Schedule

    def set_timesteps(
        self, num_inference_steps: int, device: Any = None, **_: Any
    ) -> None:  # the stock signature has options that this solver does not
        """Place the evaluations uniformly in t; noise levels are float64 on the CPU."""
        super().set_timesteps(num_inference_steps)
        t = np.linspace(1.0, 1.0 / STEPS, num_inference_steps + 1)
        # sigma / alpha, as diffusers' "sigmas" are
        self.sigmas = torch.from_numpy(np.sqrt(np.expm1(-2.0 * self.schedule.log_alpha(t))))
        self.timesteps = torch.from_numpy(STEPS * t[:-1] - 1.0).to(device)

    def singlestep_dpm_solver_second_order_update(self, *args: Any, **kwargs: Any) -> Tensor:
        """Heun if this is the second evaluation of a third-order step, else midpoint."""
        following = self.order_list[self.step_index + 1 : self.step_index + 2]
        self.register_to_config(solver_type="heun" if following == [3] else "midpoint")
        try:
            return super().singlestep_dpm_solver_second_order_update(*args, **kwargs)
        finally:
            self.register_to_config(solver_type="midpoint")


SOLVERS = {
    "authors": AuthorsDPMSolver,
    "singlestep": DPMSolverSinglestepScheduler,
    "multistep": DPMSolverMultistepScheduler,
}


def discrete_betas(schedule: Schedule) -> np.ndarray:
    """The schedule as betas of the steps n = 1..1000, (1000,) float64."""
    alpha_bar = np.exp(2 * schedule.log_alpha(np.arange(1, STEPS + 1) / STEPS))
    return 1.0 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]])


def ancestral_scheduler(schedule: Schedule, steps: int) -> Any:
    """DDPM's ancestral sampler with learned variance, respaced as DiT does: evenly, both ends in.

    diffusers is told every time step, as its own spacings take the one before to lie a whole
    number of steps away.
    """
    solver = DDPMScheduler(
        num_train_timesteps=STEPS,
        trained_betas=discrete_betas(schedule),
        variance_type="learned_range",
        clip_sample=False,
    )
    chosen = np.linspace(0, STEPS - 1, steps).round().astype(int)
    solver.set_timesteps(timesteps=list(map(int, chosen[::-1])))
    return solver


def make_solver(name: str, schedule: Schedule, steps: int) -> Any:
    """A diffusers scheduler ready to step, from t = 1 down.

    Args:
        name: ``authors`` (third order), ``singlestep`` (diffusers' stock, third order),
            ``multistep`` (diffusers' stock, second order) or ``ancestral`` (see
            ``ancestral_scheduler``).
        schedule: the noise schedule that the network was trained with.
        steps: network evaluations.

    Raises:
        ValueError: another name.
    """
    if name == "ancestral":
        return ancestral_scheduler(schedule, steps)
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is none of {', '.join([*SOLVERS, 'ancestral'])}")
    solver = SOLVERS[name](
        num_train_timesteps=STEPS,
        trained_betas=discrete_betas(schedule),
        solver_order=2 if name == "multistep" else 3,
        algorithm_type="dpmsolver++",
        final_sigmas_type="sigma_min",
        lower_order_final=True,
    )
    solver.schedule = schedule
    solver.set_timesteps(steps)
    solver.set_begin_index(0)
    return solver
