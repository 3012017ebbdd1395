"""Ten steps of training, against recorded losses: for drift between versions, not for truth.

Recorded with torch 2.15 on one CPU thread. The tolerance covers other processors and versions: a
change of the method (loss, schedule, sampling of noise, initial weights) is far outside
it. Truth is in tests/parity. To record anew, and say why: `python tests/golden/test_losses.py`.
"""

import json
from pathlib import Path

import numpy as np
import torch

RECORD = Path(__file__).with_name("losses.json")


class Waves:
    """Smooth images that need no files."""

    def batch(self, step):
        phase = torch.arange(8).view(-1, 1, 1, 1) + step
        grid = torch.linspace(0, 3, 8)
        x = torch.sin(grid.view(1, 1, -1, 1) * phase) * torch.cos(
            grid + torch.arange(4).view(1, -1, 1, 1)
        )
        return x.float(), (torch.arange(8) + step) % 10


def losses():
    from dimr.config.runs import load_run
    from dimr.training.setup import make_prefetch, make_trainee
    from dimr.training.step import train_step

    phase = load_run("digits/dimr-xs-2r/0").phases()["train"]
    network = phase.network.model_copy(update={"layers": (3, 2), "dims": (32, 16)})
    settings = phase.train.model_copy(update={"lr": 1e-3, "warmup_steps": 5, "batch": 8})
    phase = phase.model_copy(update={"network": network, "train": settings})
    trainee = make_trainee(phase, torch.device("cpu"))
    batches = make_prefetch(phase, Waves(), trainee, torch.device("cpu"))
    taken = [train_step(trainee, batches.get(step, 9), step) for step in range(10)]
    return [losses[:-1].tolist() for losses in taken]  # the last is the gradient's norm


def test_ten_losses():
    np.testing.assert_allclose(losses(), json.loads(RECORD.read_text()), rtol=2e-4)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(losses(), indent=1) + "\n")
