"""The metrics of a run's samples, and the facts of their provenance."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dimr.config.schema import EvaluateConfig
from dimr.config.variants import load_network_config
from dimr.data.image_arrays import load_images
from dimr.evaluation.classifier import class_accuracy, load_classifier
from dimr.evaluation.downloads import check_digits, expected_digits
from dimr.evaluation.extraction import register_digits_extractor, resolve_layers
from dimr.evaluation.fidelity import PRC_REFERENCE, fidelity
from dimr.evaluation.image_sets import check_kind
from dimr.evaluation.memorisation import memorisation
from dimr.evaluation.reference import Opened, open_set
from dimr.models.complexity import complexity
from dimr.runtime.errors import DimrError
from dimr.runtime.record import read_record, recorded_key

log = logging.getLogger(__name__)

TAKES = {
    "digits": ("images", "classifier"),
    "inception-v3-compat": ("reference", "extractor_weights"),
}
"""What samples are compared with, by extractor: arguments of ``measure``."""

Measured = tuple[dict[str, float], dict[str, Any]]
"""Metrics, and the facts of their provenance."""


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
        images: extractor ``digits``: the dataset's images.
        classifier: extractor ``digits``: folder of the classifier whose features are used.
        reference: extractor ``inception-v3-compat``: an ADM reference batch or its folder.
        extractor_weights: extractor ``inception-v3-compat``: torch-fidelity's file of weights.

    Returns:
        The metrics, and the facts of their provenance: ``inputs`` (keys of what was compared),
        ``extractor``, ``images``, ``reference``, ``samples``, ``inception_score_order``, ...

    Raises:
        DimrError: a path that is missing or that the extractor does not take, damaged files, or
            another number of images than ``config.count``, which determines FID and recall.
    """
    given = {
        "images": images,
        "classifier": classifier,
        "reference": reference,
        "extractor_weights": extractor_weights,
    }
    first, second = _paths(config.extractor, given)
    cuda = device.type == "cuda"
    if config.extractor == "digits":
        return _measure_digits(config, samples, first, second, cuda)
    return _measure_inception(config, samples, first, second, batch_size, cuda)


def _paths(extractor: str, given: Mapping[str, Path | None]) -> list[Path]:
    """The paths that an extractor takes; ``DimrError`` for others, and missing ones."""

    def flag(name: str) -> str:
        return "--" + name.replace("_", "-")

    wanted = TAKES[extractor]
    takes = f"extractor {extractor} takes " + " and ".join(map(flag, wanted))
    for name, path in given.items():
        if (path is not None) != (name in wanted):
            state = "missing" if path is None else "not used here"
            raise DimrError(f"{flag(name)}: {state}: {takes}")
    return [path for path in given.values() if path is not None]


def _open_samples(samples: Path, config: EvaluateConfig) -> Opened:
    opened = open_set(samples)
    if (count := opened.images.shape[0]) != config.count:
        raise DimrError(f"{samples}: {count} images; the configuration's count is {config.count}")
    return opened


def _measure_digits(
    config: EvaluateConfig, samples: Path, images: Path, classifier: Path, cuda: bool
) -> Measured:
    """Metrics with the digit classifier's features."""
    opened = _open_samples(samples, config)
    training = load_images(images, "train")[0]
    heldout = load_images(images, "heldout")[0]
    check_kind(opened.images.name, training.dtype, opened.images.shape, heldout.shape[1])
    generated = np.concatenate(list(opened.images.batches(config.count)))
    extractor = register_digits_extractor(classifier)
    values = fidelity(
        generated,
        heldout,
        extractor=extractor,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        prc_distances=config.prc_distances,
        score_order=_score_order(opened, "class_accuracy is left out, and "),
        cuda=cuda,
    )
    metrics = {"fid_digits": values.pop("fid"), **values}
    if (labels := opened.labels.values) is not None:
        name = f"{samples}: {opened.labels.origin}"
        metrics["class_accuracy"] = class_accuracy(
            load_classifier(classifier), generated, labels, name=name
        )
    metrics |= {**memorisation(generated, training, heldout), "images": config.count}
    return metrics, {
        "inputs": {
            "samples": opened.record["key"],
            "images": recorded_key(images),
            "classifier": recorded_key(classifier),
        },
        "extractor": extractor,
        "images": config.count,
        "reference": {"images": len(heldout), "what": "held-out images, never trained on"},
        "precision_recall_distances": config.prc_distances,
        "samples": opened.record,
        "inception_score_order": opened.labels.score_note,
    }


def _measure_inception(
    config: EvaluateConfig,
    samples: Path,
    reference: Path,
    weights: Path,
    batch_size: int,
    cuda: bool,
) -> Measured:
    """Metrics with Inception's features, against an ADM reference batch."""
    digest = check_digits(weights, expected_digits(str(config.weights)), str(weights))
    opened, real = _open_samples(samples, config), open_set(reference, labelled=False)
    metrics = fidelity(
        opened.images,
        real.images,
        extractor=config.extractor,
        statistics=real.statistics,
        spatial_statistics=real.spatial_statistics,
        weights=weights,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        prc_distances=config.prc_distances,
        score_order=_score_order(opened),
        batch_size=batch_size,
        cuda=cuda,
        progress=True,
    )
    layers = resolve_layers(config.extractor)
    compared = {"fid": "mu and sigma of the file" if real.statistics else "of its images"}
    if "sfid" in metrics:
        given = real.spatial_statistics
        compared["sfid"] = "mu_s and sigma_s of the file" if given else "of its images"
    else:
        del layers["sfid"]
    return {**metrics, "images": config.count}, {
        "inputs": {"samples": opened.record["key"], "reference": real.record["key"]},
        "extractor": config.extractor,
        "extractor_weights": {"file": weights.name, "sha256": digest},
        "layers": layers,
        "images": config.count,
        "reference": {
            **real.record,
            **{f"{metric}_statistics": source for metric, source in compared.items()},
            "precision_recall_images": min(real.images.shape[0], PRC_REFERENCE),
        },
        "precision_recall_distances": config.prc_distances,
        "samples": opened.record,
        "inception_score_order": opened.labels.score_note,
    }


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
