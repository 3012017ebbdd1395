"""The trained EMA network as a model's folder, with its record and its log."""

import json
import logging
from pathlib import Path

from torch import Tensor, nn

from dimr.distributed import World, whole
from dimr.files import atomic_directory, atomic_file, write_json
from dimr.models import build
from dimr.settings import TrainPhase
from dimr.training.setup import sharded
from dimr.training.state import Progress
from dimr.training.step import Trainee
from dimr.weights.layout import write_model

log = logging.getLogger(__name__)


def ema_weights(trainee: Trainee, world: World) -> dict[str, Tensor]:
    """The EMA network's tensors on the CPU, for the first process; every process must ask.

    One tensor at a time is whole on the device.
    """
    weights = {}
    for name, tensor in trainee.ema.module.state_dict().items():
        full = whole(tensor)
        if world.is_first:
            weights[name] = full.cpu()
    return weights


def ema_network(phase: TrainPhase, trainee: Trainee, world: World) -> nn.Module | None:
    """The EMA network to draw images with, on the first process; None on others."""
    if not sharded(trainee):
        return trainee.ema.module if world.is_first else None
    weights = ema_weights(trainee, world)
    if not world.is_first:
        return None
    network = build(phase.network.family, **phase.network.arguments())
    network.load_state_dict(weights, assign=True)
    return network.to(world.device)


def export(
    phase: TrainPhase, weights: dict[str, Tensor], progress: Progress, key: str, out: Path
) -> None:
    """Write the EMA network (diffusers layout) and its record."""
    with atomic_directory(out) as folder:
        write_model(folder, phase.network, weights)
        record = {
            "key": key,
            "steps": progress.step,
            "images": progress.step * phase.train.batch,
            "seconds": round(progress.seconds, 1),
            "config": phase.model_dump(mode="json"),
            "sessions": [json.loads(session) for session in progress.sessions],
        }
        write_json(folder / "record.json", record)


def copy_log(path: Path, log_csv: Path) -> None:
    """The state's log in its place; one without lines if it was lost after training had ended."""
    content = path.read_bytes() if path.is_file() else b"step\r\n"
    if not path.is_file():
        log.warning("%s: no such file; %s has no lines", path, log_csv)
    with atomic_file(log_csv) as temporary:
        temporary.write_bytes(content)
