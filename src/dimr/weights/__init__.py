"""Weights in and out: checkpoints of the authors' and diffusers' DiT folders, and a run's model/.

``read`` opens what others wrote: ``opening`` the file itself, ``groups`` finds the network among
what trainers save, ``values`` refuses what is no weights. ``recognise`` says which listed variant
it is, ``told`` what no tensor tells, ``recorded`` keeps that beside the tensors. ``published``
turns it all into a run's network, ``layout`` keeps that in ``model/``, ``export`` writes the
authors' names back, ``hub`` fetches what is published.
"""

from dimr.weights.export import export, is_dimr_export
from dimr.weights.hub import fetch
from dimr.weights.layout import read_model, write_model
from dimr.weights.published import Imported, read_published
from dimr.weights.read import Facts, read_checkpoint
from dimr.weights.told import Asked

__all__ = [
    "Asked",
    "Facts",
    "Imported",
    "export",
    "fetch",
    "is_dimr_export",
    "read_checkpoint",
    "read_model",
    "read_published",
    "write_model",
]
