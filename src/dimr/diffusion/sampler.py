"""Integrate the sampling ODE from t = 1 to t = 1/1000."""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dimr.diffusion.guidance import Denoise
from dimr.diffusion.schedule import STEPS


def sample(
    denoise: Denoise,
    noise: Tensor,
    steps: int,
    *,
    schedule: str = "latent",
    solver: str = "authors",
    generators: list[torch.Generator] | None = None,
    on_step: Callable[[], object] | None = None,
) -> Tensor:
    """Turn noise into samples.

    Args:
        denoise: function of x (B, C, H, W) and t (), on the CPU, that predicts the noise, and
            for ``ancestral`` the variance after it: (B, 2 C, H, W).
        noise: standard normal (B, C, H, W); its dtype is that of the solver's state.
        steps: network evaluations.
        schedule: ``latent``, ``pixel`` or ``linear`` (DiT's own).
        solver: ``authors`` (DPM-Solver++ as the authors ran it), diffusers' stock ``singlestep`` or
            ``multistep``, or ``ancestral`` (DDPM, respaced, with learned variance: DiT's own).
        generators: of the noise that ``ancestral`` adds, one per image on the CPU; the others add
            none.
        on_step: called after each evaluation, e.g. for a progress bar.

    Returns:
        (B, C, H, W) like ``noise``.

    Raises:
        ValueError: an unknown solver or schedule, fewer than 3 steps, or ``ancestral`` with a
            network that predicts no variance.
    """
    if steps < 3:
        raise ValueError(f"{steps} steps are too few: a third-order solver needs 3 or more")
    from dimr.diffusion.solver import make_solver  # diffusers takes 10 s to import

    scheduler = make_solver(solver, schedule, steps)
    return integrate(denoise, noise, scheduler, generator=generators, on_step=on_step)


@torch.no_grad()
def integrate(
    denoise: Denoise,
    noise: Tensor,
    scheduler: Any,
    *,
    generator: torch.Generator | list[torch.Generator] | None = None,
    on_step: Callable[[], object] | None = None,
) -> Tensor:
    """As ``sample``, with any diffusers scheduler of noise predictions, its steps already set.

    Times and noise levels stay on the CPU and the state on its device, in its dtype: the loop
    never waits for a device (``ancestral`` does: its noise comes from the CPU).

    Args:
        denoise: as for ``sample``; a variance is passed on to a scheduler with a learned one.
        noise: standard normal (B, C, H, W).
        scheduler: diffusers' index k is t = (k + 1) / 1000.
        generator: of the noise that a stochastic scheduler adds; a list has one per image.
        on_step: called after each evaluation.

    Raises:
        ValueError: the scheduler wants a variance that the network does not predict.
    """
    wants_variance = str(scheduler.config.get("variance_type")).startswith("learned")
    takes_generator = "generator" in inspect.signature(scheduler.step).parameters
    options = {"generator": generator} if takes_generator else {}
    channels = noise.shape[1]
    x = noise * scheduler.init_noise_sigma
    for k in scheduler.timesteps:
        t = ((k + 1) / STEPS).to("cpu", torch.float32)
        output = denoise(scheduler.scale_model_input(x, k), t)
        if not wants_variance:
            output = output[:, :channels]
        elif output.shape[1] != 2 * channels:
            kind = type(scheduler).__name__
            raise ValueError(f"solver {kind} needs a network that learns its variance")
        x = scheduler.step(output, k, x, **options, return_dict=False)[0]
        if on_step is not None:
            on_step()
    return x
