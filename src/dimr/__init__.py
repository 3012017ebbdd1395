"""Reference reproduction of DiMR (arXiv 2406.09416): multi-resolution diffusion with TD-LN.

The classes below are imported on use: diffusers takes 10 s to import, and ``import dimr`` must be
fast.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dimr.diffusion.solver import AncestralSampler, AuthorsDPMSolver
    from dimr.models import Network
    from dimr.sampling.pipeline import DiMRModel, DiMRPipeline

__version__ = "0.1.0"

_MODULES = {
    "AncestralSampler": "dimr.diffusion.solver",
    "AuthorsDPMSolver": "dimr.diffusion.solver",
    "DiMRModel": "dimr.sampling.pipeline",
    "DiMRPipeline": "dimr.sampling.pipeline",
}

__all__ = ["AncestralSampler", "AuthorsDPMSolver", "DiMRModel", "DiMRPipeline", "build"]


def build(variant: str, **sizes: Any) -> "Network":
    """Build a network by name, with fresh weights on torch's current default device.

    Args:
        variant: a name listed in experiments/variants.yaml (``dimr-xl-2r``), or a family
            (``dimr``, ``uvit``, ``dit``), for which ``sizes`` must be complete.
        sizes: arguments of the network's class, in place of the variant's. A published variant has
            its input from the paper by default, and 1,000 classes unless it is given text
            (``text_dim``).

    Raises:
        DimrError: an unknown name; the message lists the legal ones.
        TypeError: a size that the network does not have, or one that is missing.
        ValueError: sizes that do not fit together.
    """
    from dimr.models import FAMILIES
    from dimr.models import build as build_network

    if variant in FAMILIES:
        return build_network(FAMILIES[variant](**sizes))
    from dimr.config.project import PROJECT  # with pydantic and PyYAML, which networks do not need

    listed = PROJECT.variant(variant)
    inputs = {**listed.published_input, **sizes}
    if "num_classes" not in sizes and sizes.get("text_dim") is not None:
        inputs["num_classes"] = 0
    return build_network(listed.complete(**inputs))


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
