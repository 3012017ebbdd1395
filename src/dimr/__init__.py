"""Reference reproduction of DiMR (arXiv 2406.09416): multi-resolution diffusion with TD-LN.

The names below stand for diffusers classes and are imported on use: that takes 10 s, and ``import
dimr`` must not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimr.diffusion.solver import AncestralSampler, AuthorsDPMSolver
    from dimr.sampling.pipeline import DiMRModel, DiMRPipeline

__all__ = ["AncestralSampler", "AuthorsDPMSolver", "DiMRModel", "DiMRPipeline"]

_MODULES = {
    "AncestralSampler": "dimr.diffusion.solver",
    "AuthorsDPMSolver": "dimr.diffusion.solver",
    "DiMRModel": "dimr.sampling.pipeline",
    "DiMRPipeline": "dimr.sampling.pipeline",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
