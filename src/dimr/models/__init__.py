"""The networks. Importing this imports torch and nothing heavier."""

from typing import Any

from dimr.models.base import Network
from dimr.models.complexity import Complexity, complexity
from dimr.models.dimr import MultiResolutionNetwork
from dimr.models.dit import DiT
from dimr.models.uvit import UViT

__all__ = [
    "Complexity",
    "DiT",
    "MultiResolutionNetwork",
    "Network",
    "UViT",
    "build",
    "complexity",
]

FAMILIES: dict[str, type[Network]] = {
    cls.family: cls for cls in (MultiResolutionNetwork, UViT, DiT)
}


def build(variant: str, **sizes: Any) -> Network:
    """Build a network by name, with fresh weights on torch's current default device.

    Args:
        variant: a name listed in experiments/variants.yaml (``dimr-xl-2r``), or a family
            (``dimr``, ``uvit``, ``dit``), for which ``sizes`` must be complete.
        sizes: arguments of the network's class; they take the place of the variant's. A published
            variant has its input from the paper and 1,000 classes by default.

    Raises:
        DimrError: an unknown name; the message lists the legal ones.
        TypeError: a size that the network does not have, or one that is missing.
    """
    if variant in FAMILIES:
        return FAMILIES[variant](**sizes)
    # The names are data of the repository: looked up only when asked for, so that the networks
    # themselves depend on nothing but torch.
    from dimr.config.runs import find_variant

    listed = find_variant(variant)
    return FAMILIES[listed.family](**{**listed.sizes, **listed.published_input, **sizes})
