"""The metrics of a run's samples, and the facts of their provenance.

Features are Inception's, or those of the dataset's own classifier; samples are compared with an ADM
reference batch, or with the dataset's held-out images, which also show whether training images were
copied.
"""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.config.schema import EvaluateConfig
from dimr.config.variants import load_network_config
from dimr.data.digit_pairs import DATASET as DIGIT_PAIRS
from dimr.data.digits import CLASSES
from dimr.data.image_arrays import ImagesManifest, load_images
from dimr.evaluation.classifier import ImageClassifier, load_classifier, own_class
from dimr.evaluation.digit_pairs import DigitSquares, caption_accuracy, of_split, shown_by
from dimr.evaluation.downloads import check_digits, expected_digits
from dimr.evaluation.extraction import register_classifier, resolve_layers
from dimr.evaluation.fidelity import PRC_REFERENCE, Statistics, fidelity
from dimr.evaluation.image_sets import ArrayImages, ImageSet, check_kind
from dimr.evaluation.labels import Labels
from dimr.evaluation.memorisation import compared_size, memorisation
from dimr.evaluation.names import FID_OF, OF_CLASSES
from dimr.evaluation.reference import Opened, open_set
from dimr.models.complexity import complexity
from dimr.runtime.errors import DimrError
from dimr.runtime.record import read_record, recorded_key

log = logging.getLogger(__name__)

TAKES = {
    "digits": (("images",), "classifier"),
    "classifier": (("images",), "classifier"),
    "inception-v3-compat": (("reference", "images"), "extractor_weights"),
}
"""By extractor: what samples are compared with, one of these, and where its weights are: arguments
of ``measure``."""
PATHS = ("images", "classifier", "reference", "extractor_weights")
"""All of them, in the order in which they enter a key."""
TITLES = {"heldout": "held-out"}
"""Names of splits of images in messages."""
REPEATED = ("precision", "recall")
REPEATED_DIGITS = (
    "a digit is in several pictures of two: its nearest neighbours are itself, and regions of no "
    "size hold nothing"
)
"""Neighbourhood metrics that pictures of two digits do not have, and why."""
SMALL_BATCH = 64
"""Images at a time through a classifier: another number would change the last digits."""

Measured = tuple[dict[str, float], dict[str, Any]]
"""Metrics, and the facts of their provenance."""


@dataclass(frozen=True)
class Features:
    """The features that are compared, and their network.

    Attributes:
        extractor: torch-fidelity's name.
        weights: its file; None: it carries them.
        classifier: the dataset's own; None: it is Inception.
        facts: for the provenance.
        keys: of the network's origin, for the key of the metrics.
    """

    extractor: str
    weights: Path | None
    classifier: ImageClassifier | None
    facts: dict[str, Any]
    keys: dict[str, str]


@dataclass(frozen=True)
class Compared:
    """What samples are compared with.

    Attributes:
        real: images.
        training: what the network was trained on; None: not known.
        statistics: of other images' features, for FID; None: of ``real``.
        spatial_statistics: for sFID.
        facts: for the provenance.
        keys: as in ``Features``.
    """

    real: ImageSet
    training: ImageSet | None
    statistics: Statistics | None
    spatial_statistics: Statistics | None
    facts: dict[str, Any]
    keys: dict[str, str]


def measure(
    config: EvaluateConfig,
    samples: Path,
    *,
    device: torch.device,
    batch_size: int = 64,
    images: Path | None = None,
    classifier: Path | None = None,
    reference: Path | None = None,
    extractor_weights: Path | None = None,
) -> Measured:
    """The metrics of samples, in any form that ``open_set`` takes.

    Args:
        config: extractor, number of images, splits and neighbourhood.
        samples: what is measured.
        device: the extractor runs there if it is CUDA, else on the CPU.
        batch_size: images at a time through Inception; only changes the speed.
        images: the dataset's images; samples are compared with the held-out ones.
        classifier: extractors ``digits`` and ``classifier``: folder of the dataset's own.
        reference: in place of ``images``, with Inception: an ADM reference batch or its folder.
        extractor_weights: extractor ``inception-v3-compat``: torch-fidelity's file of weights.

    Returns:
        The metrics, and the facts of their provenance: ``inputs`` (keys of what was compared),
        ``extractor``, ``images``, ``reference`` (the split with it), ``samples``,
        ``inception_score_order``, ``left_out`` (metrics that are missing, and why), ...

    Raises:
        DimrError: a path that is missing or that the extractor does not take, damaged files, or
            a number of images other than ``config.count``, on which FID and recall depend.
    """
    given = dict(zip(PATHS, (images, classifier, reference, extractor_weights), strict=True))
    _check_paths(config.extractor, given)
    opened = open_set(samples)
    if (count := opened.images.shape[0]) != config.count:
        raise DimrError(f"{samples}: {count} images; the configuration's count is {config.count}")
    if classifier:
        features = _own_features(config, classifier)
    else:
        assert extractor_weights is not None
        features = _inception_features(config, extractor_weights)
    if images:
        compared = _own_images(images, config.compared)
        real = compared.real
        check_kind(opened.images.name, np.dtype(np.uint8), opened.images.shape, real.shape[1])
    else:
        assert reference is not None
        compared = _reference_batch(reference)
    if images and ImagesManifest.read(images).dataset == DIGIT_PAIRS:
        metrics, facts = _measure_pairs(config, opened, features, compared, images, device)
    else:
        metrics, facts = _compare(config, opened, features, compared, batch_size, device)
    if compared.training:
        metrics |= memorisation(opened.images, compared.training, compared.real)
    return {**metrics, "images": config.count}, {
        "inputs": {"samples": opened.record["key"], **compared.keys, **features.keys},
        **features.facts,
        "images": config.count,
        "precision_recall_distances": config.prc_distances,
        "samples": opened.record,
        **facts,
    }


def _check_paths(extractor: str, given: Mapping[str, Path | None]) -> None:
    """Refuse paths that an extractor does not take, and missing ones."""

    def flags(names: Iterable[str]) -> str:
        return " or ".join("--" + name.replace("_", "-") for name in names)

    compared, network = TAKES[extractor]
    takes = f"extractor {extractor} takes {flags(compared)} and {flags([network])}"
    found = [name for name, path in given.items() if path is not None]
    if unused := [name for name in found if name not in (*compared, network)]:
        raise DimrError(f"{flags(unused[:1])}: not used here: {takes}")
    for needed in (compared, (network,)):
        if not set(needed) & set(found):
            raise DimrError(f"{flags(needed)}: missing: {takes}")
    if len(both := [name for name in compared if name in found]) > 1:
        raise DimrError(f"{flags(both[1:])}: not used here: {takes}")


# --- whose features, of which images --------------------------------------------------------------


def _own_features(config: EvaluateConfig, folder: Path) -> Features:
    """Those of the dataset's own classifier."""
    extractor = register_classifier(folder, config.extractor)
    keys = {"classifier": recorded_key(folder)}
    return Features(extractor, None, load_classifier(folder), {"extractor": extractor}, keys)


def _inception_features(config: EvaluateConfig, weights: Path) -> Features:
    """Inception's; its weights have no key, as the configuration names them by their SHA-256."""
    digest = check_digits(weights, expected_digits(str(config.weights)), str(weights))
    named = {"file": weights.name, "sha256": digest}
    facts = {"extractor": config.extractor, "extractor_weights": named}
    return Features(config.extractor, weights, None, facts, {})


def _own_images(folder: Path, split: str) -> Compared:
    """Images of the dataset that are not trained on: those held out, or those for trials."""
    manifest = ImagesManifest.read(folder)
    title = TITLES.get(split, split)
    training, others = (
        ArrayImages(f"{name} images of {folder}", [load_images(folder, part)[0]])
        for name, part in (("training", "train"), (title, split))
    )
    facts = {
        "images": others.shape[0],
        "what": f"{title} images, never trained on",
        "split": manifest.split,
        "counts": manifest.counts,
        "nearest_pixels": compared_size(others.shape[1]),
    }
    return Compared(others, training, None, None, facts, {"images": recorded_key(folder)})


def _reference_batch(path: Path) -> Compared:
    """An ADM reference batch."""
    real = open_set(path, labelled=False)
    keys = {"reference": real.record["key"]}
    return Compared(real.images, None, real.statistics, real.spatial_statistics, real.record, keys)


# --- the comparison -------------------------------------------------------------------------------


def _compare(
    config: EvaluateConfig,
    opened: Opened,
    features: Features,
    compared: Compared,
    batch_size: int,
    device: torch.device,
) -> Measured:
    """Metrics of features, and the facts of how they were compared."""
    own, labels = features.classifier, opened.labels.values
    left_out = _left_out(features, compared)
    unknown = "class_accuracy is left out, and " if own else ""
    metrics = fidelity(
        opened.images,
        compared.real,
        extractor=features.extractor,
        statistics=compared.statistics,
        spatial_statistics=compared.spatial_statistics,
        weights=features.weights,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        prc_distances=config.prc_distances,
        score_order=None if "inception_score" in left_out else _score_order(opened, unknown),
        inception_score="inception_score" not in left_out,
        batch_size=SMALL_BATCH if own else batch_size,
        cuda=device.type == "cuda",
        progress=own is None,
    )
    metrics = {FID_OF[config.extractor]: metrics.pop("fid"), **metrics}
    if own and labels is not None and "class_accuracy" not in left_out:
        name = f"{opened.record['file']}: {opened.labels.origin}"
        metrics |= own_class(own, opened.images, labels, name=name)
    facts: dict[str, Any] = {"reference": dict(compared.facts)}
    if own is None:
        facts["layers"] = {
            metric: layer
            for metric, layer in resolve_layers(config.extractor).items()
            if metric != "sfid" or "sfid" in metrics
        }
        for metric, names, given in (
            ("fid", "mu and sigma", compared.statistics),
            ("sfid", "mu_s and sigma_s", compared.spatial_statistics),
        ):
            if metric in metrics:
                said = f"{names} of the file" if given else "of its images"
                facts["reference"][f"{metric}_statistics"] = said
    used = min(compared.real.shape[0], PRC_REFERENCE)
    facts["reference"]["precision_recall_images"] = used
    if "inception_score" not in left_out:
        facts["inception_score_order"] = opened.labels.score_note
    return metrics, facts | ({"left_out": left_out} if left_out else {})


def _measure_pairs(
    config: EvaluateConfig,
    opened: Opened,
    features: Features,
    compared: Compared,
    images: Path,
    device: torch.device,
) -> Measured:
    """For pictures of two digits: metrics of the digits, and whether captions are shown."""
    if features.classifier is None:
        raise DimrError(f"extractor {config.extractor}: pairs of digits need extractor digits")
    shown = shown_by(Path(opened.record["file"]), opened.labels.values)
    squares = DigitSquares(opened.images, shown)
    real = ArrayImages(f"digits of {compared.real.name}", [of_split(images, "heldout")[0]])
    labels = Labels(squares.labels, "the captions", CLASSES)
    digits = replace(opened, images=squares, labels=labels)
    metrics, facts = _compare(
        config, digits, features, replace(compared, real=real), SMALL_BATCH, device
    )
    for name in REPEATED:
        del metrics[name]
    left_out = facts.get("left_out", {}) | dict.fromkeys(REPEATED, REPEATED_DIGITS)
    accuracy = caption_accuracy(features.classifier, squares, images)
    return metrics | accuracy, facts | {"left_out": left_out}


def _left_out(features: Features, compared: Compared) -> dict[str, str]:
    """Metrics that these features do not give, and why."""
    if features.classifier and features.classifier.task == "quarter turns":
        reason = "the set has one class: its classifier tells the quarter turns of an image apart"
        return dict.fromkeys(("inception_score", *OF_CLASSES), reason)
    if features.classifier is None and compared.training:
        return dict.fromkeys(OF_CLASSES, "Inception does not tell the classes of the set apart")
    return {}


def _score_order(opened: Opened, left_out: str = "") -> NDArray[np.int64] | None:
    """The order for the Inception Score; a log line says if it, or ``left_out``, differs."""
    name, labels = opened.images.name, opened.labels
    order = labels.score_order(opened.images.shape[0])
    taken = f"the Inception Score takes the images in another order ({labels.score_note})"
    if labels.values is None:
        log.warning("%s: labels are not known (%s): %s%s", name, labels.origin, left_out, taken)
    elif order is not None:
        log.info("%s: classes are not interleaved: %s", name, taken)
    return order


def cost_of(model: Path) -> dict[str, float]:
    """Cost of a run's model folder: parameters (M), GMACs of one image and one forward pass, and
    seconds of training if it was trained here.
    """
    network, record = load_network_config(model / "config.json"), read_record(model)
    counted = complexity(network.sizes)
    return {
        "parameters_m": counted.parameters / 1e6,
        "gmacs": counted.macs / 1e9,
        **({"train_seconds": record["seconds"]} if "seconds" in record else {}),
    }
