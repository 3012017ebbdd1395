"""Weights in and out: checkpoints of the authors and of diffusers, and a run's model/.

``read`` opens what others wrote and ``find_network`` finds the network among what trainers save.
``formats`` knows the names and shapes that networks are published under, ``match_variant`` which
listed variant one is, ``import_options`` what no tensor tells, and ``recorded`` keeps that beside
the tensors. ``import_published`` makes a run's network from it all, ``model_folder`` keeps that in
``model/``, ``export`` writes the authors' names back, ``download`` fetches what is published.

Imported on use: networks and the authors' names need no safetensors.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimr.checkpoints.download import fetch
    from dimr.checkpoints.formats import ConversionError, from_published, to_published
    from dimr.checkpoints.import_options import ImportOptions
    from dimr.checkpoints.import_published import Imported, read_published
    from dimr.checkpoints.model_folder import (
        read_class_names,
        read_model,
        write_class_names,
        write_model,
    )
    from dimr.checkpoints.read import CheckpointInfo, read_checkpoint

_MODULES = {
    "CheckpointInfo": "read",
    "ConversionError": "formats",
    "ImportOptions": "import_options",
    "Imported": "import_published",
    "fetch": "download",
    "from_published": "formats",
    "read_checkpoint": "read",
    "read_class_names": "model_folder",
    "read_model": "model_folder",
    "read_published": "import_published",
    "to_published": "formats",
    "write_class_names": "model_folder",
    "write_model": "model_folder",
}

__all__ = [
    "CheckpointInfo",
    "ConversionError",
    "ImportOptions",
    "Imported",
    "fetch",
    "from_published",
    "read_checkpoint",
    "read_class_names",
    "read_model",
    "read_published",
    "to_published",
    "write_class_names",
    "write_model",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"dimr.checkpoints.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
