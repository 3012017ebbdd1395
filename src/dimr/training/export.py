"""The trained EMA network as a model's folder, with its record and its log."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dimr.checkpoints.model_card import write_folders_card
from dimr.checkpoints.model_folder import write_class_names, write_model
from dimr.config.schema import TrainConfig
from dimr.data.text.encoders import DESCRIPTION
from dimr.models import build
from dimr.runtime.atomic import atomic_directory, require_space
from dimr.runtime.files import write_json
from dimr.runtime.record import seal
from dimr.training.checkpoint import Progress
from dimr.training.distributed import World, whole
from dimr.training.train_state import TrainState

log = logging.getLogger(__name__)

LOG_DIGEST = "log_sha256"
"""Where a model's provenance holds the SHA-256 of the log beside it."""


def ema_weights(state: TrainState, world: World) -> dict[str, Tensor]:
    """The EMA network's tensors on the CPU, for the first process; every process must call this."""
    return _gathered(state.ema.module, world)


def network_now(config: TrainConfig, state: TrainState, world: World) -> nn.Module | None:
    """The network as it is, for drawing images, on the first process; None on others.

    Not its average, which lags behind by hundreds or thousands of steps.
    """
    if not state.is_sharded:
        return state.network if world.is_first else None
    weights = _gathered(state.network, world)
    if not world.is_first:
        return None
    network = build(config.network.sizes)
    network.load_state_dict(weights, assign=True)
    return network.to(world.device)


def _gathered(network: nn.Module, world: World) -> dict[str, Tensor]:
    """A network's tensors on the CPU, for the first process; gathered one at a time."""
    weights = {}
    for name, tensor in network.state_dict().items():
        full = whole(tensor)
        if world.is_first:
            weights[name] = full.cpu()
    return weights


def export(
    config: TrainConfig,
    weights: dict[str, Tensor],
    progress: Progress,
    log_text: bytes,
    key: str,
    out: Path,
    class_names: Sequence[str] = (),
    text_encoder: Mapping[str, Any] | None = None,
) -> None:
    """Write the EMA network (diffusers layout), its card and its record, with the log's checksum.

    ``class_names``: of the data, by label; empty: not known. ``text_encoder``: of its captions, if
    it has any.

    Raises:
        DiskFull: before anything is written, if the system reports free space correctly.
    """
    require_space(out.parent, sum(tensor.nbytes for tensor in weights.values()), f"{out}")
    with atomic_directory(out) as folder:
        write_model(folder, config.network, weights, objective=config.train.objective)
        if class_names:
            write_class_names(folder, class_names)
        if text_encoder is not None:
            write_json(folder / DESCRIPTION, dict(text_encoder))
        record = {
            "key": key,
            "steps": progress.step,
            "images": progress.step * config.train.batch,
            "config": config.model_dump(mode="json"),
        }
        if progress.start is not None:
            record["start"] = progress.start
        origin = {
            "seconds": round(progress.seconds, 1),
            "codes": progress.codes,
            LOG_DIGEST: hashlib.sha256(log_text).hexdigest(),
            "sessions": [json.loads(session) for session in progress.sessions],
        }
        seal(folder, "model", record, origin=origin)
        write_folders_card(folder)


def read_log(path: Path) -> bytes:
    """The state's log; one without lines if it was lost after training had ended."""
    if path.is_file():
        return path.read_bytes()
    log.warning("%s: no such file; the training's log has no lines", path)
    return b"step\r\n"
