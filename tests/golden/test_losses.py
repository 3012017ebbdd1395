"""Ten steps of training, against recorded losses: for drift between versions, not for truth.

Recorded with torch 2.15 on one CPU thread. The tolerance covers other processors and versions: a
change of the method (loss, schedule, sampling of noise, initial weights) is far outside
it. Truth is in tests/parity. To record again, and say why: `python tests/golden/test_losses.py`.
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
    from dimr.config.project import PROJECT
    from dimr.training import Engine, train_step
    from dimr.training.batches import make_batches
    from dimr.training.distributed import World
    from dimr.training.train_state import make_train_state

    phase = PROJECT.run("digits/dimr-xs-2r/0").phases()["train"]
    network = phase.network.model_copy(update={"layers": (3, 2), "dims": (32, 16)})
    settings = phase.train.model_copy(update={"lr": 1e-3, "warmup_steps": 5, "batch": 8})
    phase = phase.model_copy(update={"network": network, "train": settings})
    world = World(torch.device("cpu"))
    state = make_train_state(phase, world)
    batches = make_batches(phase, Waves(), Engine(), world)
    taken = [train_step(state, next(batches), step) for step in range(10)]
    return [losses[:-1].tolist() for losses in taken]  # the last is the gradient's norm


def test_ten_losses():
    np.testing.assert_allclose(losses(), json.loads(RECORD.read_text()), rtol=2e-4)


if __name__ == "__main__":
    RECORD.write_text(json.dumps(losses(), indent=1) + "\n")
