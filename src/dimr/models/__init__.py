"""The networks. Importing this imports torch and nothing heavier."""

from typing import Any

from dimr.models.complexity import Complexity, complexity
from dimr.models.multires import MultiResolutionNetwork

__all__ = ["Complexity", "MultiResolutionNetwork", "build", "complexity"]

FAMILIES = {"dimr": MultiResolutionNetwork}


def build(variant: str, **sizes: Any) -> MultiResolutionNetwork:
    """Build a network by name, with fresh weights on torch's current default device.

    Args:
        variant: a name listed in experiments/variants.yaml (``dimr-xl-2r``), or a family
            (``dimr``), for which ``sizes`` must be complete.
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
    from dimr.experiment import find_variant

    family, listed = find_variant(variant)
    defaults: dict[str, Any] = listed.model_dump(exclude={"published"})
    if listed.published is not None:
        side, _, channels = listed.published.input
        defaults |= {
            "input_size": side,
            "channels": channels,
            "num_classes": 1000,
            "time_map": "pixel" if channels == 3 else "latent",
        }
    return FAMILIES[family](**{**defaults, **sizes})
