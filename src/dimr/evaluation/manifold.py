"""Precision and recall of generated images (Kynkaanniemi et al. 2019), as ADM's suite has them.

The manifold of a set is the union of balls around its features, each up to the k-th nearest other
feature, surface included. Precision is the share of generated features in the manifold of the real
ones, recall the share of real features in that of the generated ones.

ADM's suite, the source of published values, takes squared distances in float16, each step rounded,
or in float32 if not all in a block of 10,000 x 10,000 are finite. Its TensorFlow also rounds the
partial sums of norms, in an order that depends on the device; here sums are float32.
"""

import itertools
import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from dimr.config.schema import Distances

log = logging.getLogger(__name__)

BLOCK = 10_000
"""Features on each side of a block of distances; ADM's, as it decides where float16 is left."""


def precision_recall(
    generated: Tensor, real: Tensor, neighborhood: int = 3, distances: Distances = "float32"
) -> tuple[float, float]:
    """Precision and recall.

    Args:
        generated: (N, D), more than ``neighborhood`` of them.
        real: (M, D), also more than ``neighborhood``.
        neighborhood: the k of the balls.
        distances: ``float16`` as in ADM; ``float32``: in the precision of the features.
    """

    def blocks(features: Tensor, found: Tensor) -> Iterator[tuple[Tensor, ...]]:
        radii = manifold_radii(features, neighborhood, distances)
        return zip(*(values.split(BLOCK) for values in (features, radii, found)), strict=True)

    inside, covered = (torch.zeros(len(each), dtype=torch.bool) for each in (generated, real))
    pairs = itertools.product(blocks(real, covered), blocks(generated, inside))  # in ADM's order
    for (one, one_radii, one_found), (other, other_radii, other_found) in pairs:
        block = squared_distances(one, other, distances)
        one_found |= (block <= other_radii).any(1)  # views: `covered` and `inside` change
        other_found |= (block <= one_radii[:, None]).any(0)
    return inside.double().mean().item(), covered.double().mean().item()


def manifold_radii(features: Tensor, neighborhood: int, distances: Distances) -> Tensor:
    """Squared distance (N,) of each feature (N, D) to its k-th nearest other one."""
    wanted, found = neighborhood + 1, []  # the nearest is the feature itself
    for rows in features.split(BLOCK):
        nearest = []
        for columns in features.split(BLOCK):
            block = squared_distances(rows, columns, distances)
            count = min(wanted, len(columns))
            nearest.append(block.topk(count, largest=False, sorted=False).values)
        found.append(torch.cat(nearest, 1).kthvalue(wanted).values)
    return torch.cat(found)


def squared_distances(one: Tensor, other: Tensor, distances: Distances) -> Tensor:
    """Squared distances (N, M) of features (N, D) and (M, D), float32 or wider."""
    if distances == "float16":
        found = _squared_distances(one.half(), other.half())
        if found.isfinite().all():
            return found.float()
        log.info("squared distances too large for float16: float32 for a block, as ADM's suite")
    return _squared_distances(one, other)


def _squared_distances(one: Tensor, other: Tensor) -> Tensor:
    """max(|u|^2 - 2 u v + |v|^2, 0), each operation in this order rounded to the features' type."""
    wide = torch.promote_types(one.dtype, torch.float32)
    found = (one.to(wide) @ other.to(wide).T).to(one.dtype)
    found.mul_(-2).add_(one.square().sum(1)[:, None]).add_(other.square().sum(1))
    return found.clamp_(min=0)
