"""FID, sFID, Inception Score, precision and recall, as the ADM suite defines them.

The first three are torch-fidelity's.

- FID is the squared Frechet distance of two Gaussians fitted to D features. N images bias it by
  about D / N, so only values at equal counts are comparable. Mean and covariance are float64.
- sFID is the same for features that say where in the image something is (Nash et al. 2021): for
  Inception, 17 x 17 places with 7 channels.
- Inception Score is exp(mean KL(p(y|x) || p(y))) within each split, then the mean and standard
  deviation over splits. Split k of S is images kN/S to (k+1)N/S of ``score_order``, by default of
  the order given. ADM's splits of 5,000 are S = 10 of 50,000. The order must mix the classes: a
  split of one class has the score 1, however good its images (``dimr.evaluation.labels``).
- Precision and recall are those of ``dimr.evaluation.manifold``. From a reference of more than
  10,000 images (the size of ADM's batches) 10,000 are compared.

The last take longest: 50,000 x 10,000 features of width 2048 take 1.6 GB and 190 seconds of CPU
time, FID 1.0 GB and 18 seconds (``benchmarks/metrics.py``). Only a few batches of the images are in
memory.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.config.schema import Distances
from dimr.evaluation.extraction import (
    call_options,
    extract_features,
    load_extractor,
    resolve_layers,
)
from dimr.evaluation.image_sets import ImageSet, as_image_set
from dimr.evaluation.manifold import precision_recall
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.randomness import numpy_generator

log = logging.getLogger(__name__)

PRC_REFERENCE = 10_000
"""Images of the reference, at most, that precision and recall compare with."""
BLOCK = 10_000
"""Features that are float64 at a time."""


class Statistics(TypedDict):
    """Mean (D,) and covariance (D, D) of features, float64."""

    mu: NDArray[np.float64]
    sigma: NDArray[np.float64]


def fidelity(
    images: ImageSet | np.ndarray,
    reference: ImageSet | np.ndarray,
    *,
    extractor: str,
    statistics: Statistics | None = None,
    spatial_statistics: Statistics | None = None,
    weights: str | Path | None = None,
    layers: Mapping[str, str] | None = None,
    isc_splits: int = 10,
    batch_size: int = 64,
    cuda: bool = False,
    prc_neighborhood: int = 3,
    prc_distances: Distances = "float32",
    score_order: NDArray[np.int64] | None = None,
    inception_score: bool = True,
    progress: bool = False,
) -> dict[str, float]:
    """``fid``, ``inception_score``, ``inception_score_std``, ``precision`` and ``recall``.

    With Inception also ``sfid``, unless statistics are given for FID but not for sFID: those of the
    reference's images would be of other images.

    Args:
        images: generated, uint8 (N, H, W, 3).
        reference: real, uint8 (M, H, W, 3).
        extractor: the name of a registered extractor: ``inception-v3-compat``, or what
            ``register_classifier`` returned.
        statistics: what FID compares with (an ADM reference batch holds them for more images than
            it has); ``None``: those of the reference's images.
        spatial_statistics: the same for sFID.
        weights: as in ``load_extractor``.
        layers: feature layers of ``fid``, ``isc`` (logits) and ``prc`` other than the extractor's
            defaults.
        isc_splits: splits S of the Inception Score.
        batch_size: images at a time through the extractor.
        cuda: run the extractor on the GPU.
        prc_neighborhood: the k of precision and recall.
        prc_distances: as in ``precision_recall``.
        score_order: numbers of the images (N,) in the order that the Inception Score splits; None:
            as they are, which must mix the classes.
        inception_score: whether the extractor's logits are of classes; else the score is left out.
        progress: show a progress bar.

    Raises:
        DimrError: wrong images, too few of them, an unknown extractor or layer, unusable weights,
            statistics of another width.
    """
    own = as_image_set(images, "generated images")
    other = as_image_set(reference, "reference images")
    _check_counts(own, other, isc_splits if inception_score else None, prc_neighborhood)
    layers = resolve_layers(extractor, layers)
    if not inception_score:
        del layers["isc"]
    if statistics and not spatial_statistics:
        layers.pop("sfid", None)
    network = load_extractor(extractor, weights, layers.values(), cuda)
    generated, real = (
        extract_features(each, network, batch_size=batch_size, cuda=cuda, progress=progress)
        for each in (own, other)
    )
    _warn_if_few(own, generated[layers["fid"]])
    if statistics is None:
        _warn_if_few(other, real[layers["fid"]])
    found = metrics_of_features(
        generated,
        real,
        layers,
        statistics=statistics,
        spatial_statistics=spatial_statistics,
        isc_splits=isc_splits,
        prc_neighborhood=prc_neighborhood,
        prc_distances=prc_distances,
        score_order=score_order,
    )
    if not np.isfinite(list(found.values())).all():
        raise DimrError(f"{extractor}: its features give metrics that are not finite: {found}")
    return found


def metrics_of_features(
    generated: dict[str, Tensor],
    real: dict[str, Tensor],
    layers: dict[str, str],
    *,
    statistics: Statistics | None = None,
    spatial_statistics: Statistics | None = None,
    isc_splits: int = 10,
    prc_neighborhood: int = 3,
    prc_distances: Distances = "float32",
    score_order: NDArray[np.int64] | None = None,
) -> dict[str, float]:
    """The metrics of ``fidelity``, from features.

    Args:
        generated: (N, D) by layer; the layer for the Inception Score holds logits (N, K).
        real: (M, D) by layer.
        layers: by metric: ``fid``, ``prc``, and, if they are wanted, ``isc`` and ``sfid``.
        statistics: as in ``fidelity``.
        spatial_statistics: as in ``fidelity``.
        isc_splits: as in ``fidelity``.
        prc_neighborhood: as in ``fidelity``.
        prc_distances: as in ``fidelity``.
        score_order: as in ``fidelity``.
    """
    from torch_fidelity.metric_isc import isc_featuresdict_to_metric

    score = {}
    if "isc" in layers:
        options = call_options(isc_splits=isc_splits)
        logits = generated[layers["isc"]]
        if score_order is not None:
            logits = logits[torch.from_numpy(score_order)]
        scores = isc_featuresdict_to_metric({layers["isc"]: logits}, layers["isc"], **options)
        score = {
            "inception_score": float(scores["inception_score_mean"]),
            "inception_score_std": float(scores["inception_score_std"]),
        }
    frechet = {
        metric: frechet_distance(
            feature_statistics(generated[layers[metric]]),
            given or feature_statistics(real[layers[metric]]),
        )
        for metric, given in (("fid", statistics), ("sfid", spatial_statistics))
        if metric in layers
    }
    compared = prc_reference(real[layers["prc"]])
    precision, recall = precision_recall(
        generated[layers["prc"]], compared, prc_neighborhood, prc_distances
    )
    return {
        **frechet,
        **score,
        "precision": precision,
        "recall": recall,
    }


def feature_statistics(features: Tensor) -> Statistics:
    """Mean and covariance (unbiased) of features (N, D), in float64 whatever they are.

    Block by block: all of ImageNet's, 10 GB, would take 20 GB more as float64, and again centred.
    """
    count, width = features.shape
    mean = features.new_zeros(width, dtype=torch.float64)
    sigma = features.new_zeros(width, width, dtype=torch.float64)
    for block in features.split(BLOCK):
        mean += block.double().sum(0) / count
    for block in features.split(BLOCK):
        centred = block.double() - mean
        sigma += centred.T @ centred / (count - 1)
    return {"mu": mean.numpy(), "sigma": sigma.numpy()}


def prc_reference(features: Tensor) -> Tensor:
    """All features (M, D); if more than ``PRC_REFERENCE``, one from each of that many stretches.

    Its place in the stretch is random but reproducible: at a fixed distance, images whose classes
    are interleaved would all be of a few classes.
    """
    if len(features) <= PRC_REFERENCE:
        return features
    ends = np.arange(PRC_REFERENCE + 1) * len(features) // PRC_REFERENCE
    random = numpy_generator(0, "reference of precision and recall")
    return features[torch.from_numpy(random.integers(ends[:-1], ends[1:]))]


def frechet_distance(one: Statistics, other: Statistics) -> float:
    """|mu1 - mu2|^2 + tr(sigma1 + sigma2 - 2 (sigma1 sigma2)^(1/2)), not below 0.

    Raises:
        DimrError: statistics of different widths, or that have no such root.
    """
    from torch_fidelity.metric_fid import fid_statistics_to_metric

    if one["mu"].shape != other["mu"].shape:
        widths = f"{len(one['mu'])} features against {len(other['mu'])}"
        raise DimrError(f"statistics of different widths: {widths} of the reference")
    try:
        value = fid_statistics_to_metric(one, other, verbose=False)["frechet_inception_distance"]
    except np.linalg.LinAlgError as error:
        raise DimrError(f"the features give no FID ({single_line(error)})") from None
    return max(float(value), 0.0)  # rounding can leave -1e-9


def _warn_if_few(images: ImageSet, features: Tensor) -> None:
    count, width = features.shape
    if count <= width:
        log.warning(
            "%s: %d images for %d features: too few for a meaningful FID",
            images.name, count, width,
        )  # fmt: skip


def _check_counts(
    images: ImageSet, reference: ImageSet, isc_splits: int | None, neighborhood: int
) -> None:
    if neighborhood < 1:
        raise DimrError(f"prc_neighborhood: {neighborhood}; expected at least 1")
    for each in (images, reference):
        if each.shape[0] <= neighborhood:
            raise DimrError(
                f"{each.name}: {each.shape[0]} of them; expected more than {neighborhood}, or a "
                "lower prc_neighborhood (recipes.yaml: evaluate)"
            )
    if images.shape[1:] != reference.shape[1:]:
        own, other = images.shape[1:], reference.shape[1:]
        raise DimrError(f"{images.name}: {own} each; those of {reference.name} are {other}")
    if isc_splits is not None and not 1 <= isc_splits <= images.shape[0]:
        raise DimrError(
            f"isc_splits: {isc_splits}; allowed are 1 to {images.shape[0]}, the number of images "
            "(recipes.yaml: evaluate)"
        )
