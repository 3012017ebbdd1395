"""The learning rate's warm-up, the same for the diffusion model, autoencoder and classifier."""


def linear_warmup(step: int, steps: int) -> float:
    """The factor of the learning rate at a step, counted from 0: up to 1 at the last of ``steps``.

    With 0 steps it is 1 from the start.
    """
    return min(1.0, (step + 1) / max(1, steps))
