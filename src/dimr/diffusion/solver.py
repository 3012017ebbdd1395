"""Solvers of the sampling ODE, on diffusers' schedulers. Importing this imports diffusers (10 s).

diffusers' index k is the paper's step n = k + 1, so t = (k + 1) / 1000.
"""

from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, DPMSolverSinglestepScheduler
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


def make_solver(name: str, schedule: Schedule, steps: int) -> Any:
    """A diffusers scheduler ready to step.

    Args:
        name: ``authors`` (third order), ``singlestep`` (diffusers' stock, third order) or
            ``multistep`` (diffusers' stock, second order).
        schedule: the noise schedule that the network was trained with.
        steps: network evaluations.

    Raises:
        ValueError: another name.
    """
    if name not in SOLVERS:
        raise ValueError(f"solver {name!r} is none of {', '.join(SOLVERS)}")
    alpha_bar = np.exp(2 * schedule.log_alpha(np.arange(1, STEPS + 1) / STEPS))
    solver = SOLVERS[name](
        num_train_timesteps=STEPS,
        trained_betas=1.0 - alpha_bar / np.concatenate([[1.0], alpha_bar[:-1]]),
        solver_order=2 if name == "multistep" else 3,
        algorithm_type="dpmsolver++",
        final_sigmas_type="sigma_min",
        lower_order_final=True,
    )
    solver.schedule = schedule
    solver.set_timesteps(steps)
    solver.set_begin_index(0)
    return solver
