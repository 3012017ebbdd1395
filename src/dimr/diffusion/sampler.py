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
    generators: list[torch.Generator] | None = None,
) -> Tensor:
    """Turn noise into samples.

    Args:
        denoise: function of x (B, C, H, W) and t () that predicts the noise, and for
            ``ancestral`` the variance after it: (B, 2 C, H, W).
        noise: standard normal (B, C, H, W); its dtype is that of the solver's state.
        steps: network evaluations.
        schedule: ``latent``, ``pixel`` or ``linear`` (DiT's own).
        solver: ``authors`` (DPM-Solver++ as the authors ran it), diffusers' stock ``singlestep`` or
            ``multistep``, or ``ancestral`` (DDPM, respaced, with learned variance: DiT's own).
        generators: of the noise that ``ancestral`` adds, one an image on the CPU; the others add
            none.

    Returns:
        (B, C, H, W) like ``noise``.

    Raises:
        ValueError: an unknown solver or schedule, fewer than 3 steps, or ``ancestral`` with a
            network that predicts no variance.
    """
    # diffusers costs 10 s to import: only those who sample pay for it
    from dimr.diffusion.solver import make_solver

    if schedule not in SCHEDULES:
        raise ValueError(f"schedule {schedule!r} is none of {', '.join(SCHEDULES)}")
    if steps < 3:
        raise ValueError(f"{steps} steps are too few: a third-order solver needs 3 or more")
    scheduler = make_solver(solver, SCHEDULES[schedule](), steps)
    options = {"generator": generators} if solver == "ancestral" else {}
    x, channels = noise, noise.shape[1]
    for k in scheduler.timesteps:
        t = ((k + 1) / STEPS).to(noise.device, torch.float32)
        output = denoise(x, t)
        if solver != "ancestral":
            output = output[:, :channels]
        elif output.shape[1] != 2 * channels:
            raise ValueError("solver 'ancestral' needs a network that learns its variance")
        x = scheduler.step(output, k, x, **options, return_dict=False)[0]
    return x
