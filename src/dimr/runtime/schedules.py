"""The learning rate's warm-up, the same for the diffusion model, autoencoder and classifier."""


def linear_warmup(step: int, steps: int) -> float:
    """The factor of the learning rate at a step, counted from 0: min(step / steps, 1).

    As in the authors' trainer (LambdaLR, stepped after the optimizer): the first step has rate 0.
    With 0 steps the factor is 1 from the start.
    """
    return min(1.0, step / steps) if steps else 1.0
