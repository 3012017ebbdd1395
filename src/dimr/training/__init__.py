"""One training step, the loop around it, and state that survives being killed."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimr.training.batches import Batch
    from dimr.training.step import train_step
    from dimr.training.train_state import Engine, TrainState, make_ema, make_optimizer

_MODULES = {
    "Batch": "batches",
    "Engine": "train_state",
    "TrainState": "train_state",
    "make_ema": "train_state",
    "make_optimizer": "train_state",
    "train_step": "step",
}

__all__ = ["Batch", "Engine", "TrainState", "make_ema", "make_optimizer", "train_step"]


def __getattr__(name: str) -> Any:
    """Imported on use: torch takes seconds."""
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
