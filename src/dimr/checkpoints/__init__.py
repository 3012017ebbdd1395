"""Weights in and out: checkpoints of the authors' and diffusers' DiT folders, and a run's model/.

``read`` opens what others wrote: ``opening`` the file itself, ``groups`` finds the network among
what trainers save, ``values`` refuses what is no weights. ``recognise`` says which listed variant
it is, ``told`` what no tensor tells, ``recorded`` keeps that beside the tensors. ``published``
turns it all into a run's network, ``layout`` keeps that in ``model/``, ``export`` writes the
authors' names back, ``hub`` fetches what is published.
"""

from dimr.checkpoints.download import fetch
from dimr.checkpoints.export import export, is_dimr_export
from dimr.checkpoints.import_published import Imported, read_published
from dimr.checkpoints.model_folder import read_model, write_model
from dimr.checkpoints.read import CheckpointInfo, read_checkpoint
from dimr.checkpoints.told import ImportOptions

__all__ = [
    "CheckpointInfo",
    "ImportOptions",
    "Imported",
    "export",
    "fetch",
    "is_dimr_export",
    "read_checkpoint",
    "read_model",
    "read_published",
    "write_model",
]
