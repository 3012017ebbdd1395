"""Weights in and out: checkpoints of the authors' and diffusers' DiT folders, and a run's model/.

``read`` opens what others wrote, ``recognise`` says which listed variant it is, ``published`` turns
it into a run's network, ``layout`` keeps that in ``model/``, ``export`` writes the authors' names
back, ``hub`` fetches what is published.
"""

from dimr.weights.export import export
from dimr.weights.hub import fetch
from dimr.weights.layout import read_model, write_model
from dimr.weights.published import Asked, Imported, read_published
from dimr.weights.read import Facts, read_checkpoint

__all__ = [
    "Asked",
    "Facts",
    "Imported",
    "export",
    "fetch",
    "read_checkpoint",
    "read_model",
    "read_published",
    "write_model",
]
