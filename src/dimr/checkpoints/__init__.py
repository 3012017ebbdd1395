"""Weights in and out: checkpoints of the authors and of diffusers, and a run's model/.

``read`` opens what others wrote and ``find_network`` finds the network among what trainers save.
``formats`` knows the names and shapes that networks are published under, ``match_variant`` which
listed variant one is, ``import_options`` what no tensor tells, and ``recorded`` keeps that beside
the tensors. ``import_published`` makes a run's network of it all, ``model_folder`` keeps that in
``model/``, ``export`` writes the authors' names back, ``download`` fetches what is published.
"""

from dimr.checkpoints.download import fetch
from dimr.checkpoints.export import export
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

__all__ = [
    "CheckpointInfo",
    "ConversionError",
    "ImportOptions",
    "Imported",
    "export",
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
