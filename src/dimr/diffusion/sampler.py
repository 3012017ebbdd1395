"""Integrate the sampling ODE from t = 1 to t = 1/1000."""

import torch
from torch import Tensor

from dimr.diffusion.guidance import Denoise
from dimr.diffusion.schedule import SCHEDULES, STEPS


@torch.no_grad()
def sample(
    denoise: Denoise,
    noise: Tensor,
    steps: int,
    *,
    schedule: str = "latent",
    solver: str = "authors",
) -> Tensor:
    """Turn noise into samples.

    Args:
        denoise: function of x (B, C, H, W) and t () that predicts the noise.
        noise: standard normal (B, C, H, W); its dtype is that of the solver's state.
        steps: network evaluations.
        schedule: ``latent`` or ``pixel``.
        solver: ``authors`` (DPM-Solver++ as the authors ran it), or diffusers' stock ``singlestep``
            or ``multistep``.

    Returns:
        (B, C, H, W) like ``noise``.

    Raises:
        ValueError: an unknown solver or schedule, or fewer than 3 steps.
    """
    # diffusers costs 10 s to import: only those who sample pay for it
    from dimr.diffusion.solver import make_solver

    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is none of {', '.join(SCHEDULES)}")
    if steps < 3:
        raise ValueError(f"{steps} steps are too few: a third-order solver needs 3 or more")
    scheduler = make_solver(solver, SCHEDULES[schedule](), steps)
    x = noise
    for k in scheduler.timesteps:
        t = ((k + 1) / STEPS).to(noise.device, torch.float32)
        x = scheduler.step(denoise(x, t), k, x, return_dict=False)[0]
    return x
