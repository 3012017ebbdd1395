"""The networks and their sizes. Networks are imported on use: sizes need no torch."""

import importlib
from typing import TYPE_CHECKING, Any

from dimr.models.sizes import FAMILIES, DiMRSizes, DiTSizes, Sizes, UViTSizes

if TYPE_CHECKING:
    from dimr.models.base import Network
    from dimr.models.dimr import DiMR
    from dimr.models.dit import DiT
    from dimr.models.uvit import UViT

__all__ = [
    "FAMILIES",
    "DiMR",
    "DiMRSizes",
    "DiT",
    "DiTSizes",
    "Network",
    "Sizes",
    "UViT",
    "UViTSizes",
    "build",
]

_MODULES = {
    "DiMR": "dimr.models.dimr",
    "DiT": "dimr.models.dit",
    "Network": "dimr.models.base",
    "UViT": "dimr.models.uvit",
}


def build(sizes: Sizes) -> "Network":
    """The network of these sizes, with fresh weights on torch's current default device."""
    module = importlib.import_module(f"dimr.models.{sizes.family}")
    network: Network = getattr(module, type(sizes).__name__.removesuffix("Sizes"))(sizes)
    return network


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
