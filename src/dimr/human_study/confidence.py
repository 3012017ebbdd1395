"""The distortion study's images: those of a run that a classifier calls low-fidelity.

Confidence is the softmax probability of the class that an image was drawn for; an image below the
configured threshold is low-fidelity (paper, section 5.3). Files of a run at a
setting, below ``runs/<run>/distortion/`` (``dimr distortion-scores``, rule ``distortion``):

    <setting>.json  the summary (``Summary``'s keys), its ``key``, ``inputs``, ``config``,
                    ``classifier`` and provenance
    <setting>.npy   float32 (N,): the confidence of every image, in the samples' order
    <setting>.npz   the n chosen images, in random order, so that the first few are a draw too:
                    images uint8 (n, H, W, 3), labels int64 (n,), confidence float32 (n,),
                    index int64 (n,) among the samples

The chosen images are a random draw from the low-fidelity ones, or all of them if there are no more:
nobody selects them by eye.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from dimr.config.phases import section_key
from dimr.config.schema import Distortion
from dimr.data.npz import load_arrays
from dimr.data.shards import map_array, open_shards
from dimr.evaluation.image_sets import ImageSet, check_images
from dimr.evaluation.reference import open_set
from dimr.human_study.classifiers import Scorer
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, require_file, save_array, sha256, write_json
from dimr.runtime.output_kinds import CHOSEN
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import numpy_generator
from dimr.runtime.record import read_sealed, sealed

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95)


class Summary(TypedDict):
    """Numbers about the confidence of all N images, and about those that were chosen."""

    images: int  # N
    mean: float
    quantiles: dict[str, float]  # by "0.01", "0.05", ...
    low_fidelity: int  # images with a confidence below the threshold
    shown: int  # of these, drawn


@dataclass(frozen=True)
class Chosen:
    """The images that are shown: uint8 (n, H, W, 3), labels, confidence and index (n,)."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    confidence: NDArray[np.float32]
    index: NDArray[np.int64]


"""What ``<setting>.npz`` holds."""


def score_samples(
    config: Distortion, folder: Path, scorer: Scorer, batch_size: int = 64
) -> tuple[NDArray[np.float32], Chosen, dict[str, Any]]:
    """Score a run's samples, and choose images for raters.

    Args:
        config: threshold, and number of images to choose.
        folder: of the samples, all of whose checksums are compared first.
        scorer: the classifier.
        batch_size: images at a time.

    Returns:
        The confidence of every image (N,), the chosen images, and the content of
        ``<setting>.json`` without provenance.

    Raises:
        DimrError: not a folder of samples, damage, or samples of other classes.
    """
    if not folder.is_dir():
        raise DimrError(f"{folder}: not a folder of samples (their labels are needed)")
    samples, shards = open_set(folder), open_shards(folder)
    if (classes := shards.manifest.classes) != scorer.classes:
        raise DimrError(
            f"{folder}: images of {classes} classes; the classifier {config.classifier} has "
            f"{scorer.classes}"
        )
    confidence = own_confidence(samples.images, shards.labels, scorer, batch_size)
    index = choose(confidence, config)
    chosen = Chosen(shards.take(index), shards.labels[index], confidence[index], index)
    inputs = {"samples": samples.record["key"], "classifier": scorer.key}
    facts = {
        "key": section_key(config, *inputs.values()),
        **summarise(confidence, config),
        "classes": classes,
        "class_names": shards.manifest.class_names,
        "inputs": inputs,
        "config": config.model_dump(mode="json"),
        "classifier": scorer.facts,
    }
    return confidence, chosen, facts


def own_confidence(
    images: ImageSet, labels: NDArray[np.int64], scorer: Scorer, batch_size: int = 64
) -> NDArray[np.float32]:
    """The probability (N,) of each image's own class; ``labels`` are integers (N,) in [0, K).

    The batch size only changes the speed: the classifiers treat every image by itself.

    Raises:
        DimrError: a class that the classifier does not know, or a probability that is not finite.
    """
    if labels.shape != (images.shape[0],):
        raise DimrError(f"{images.name}: {images.shape[0]} images, {len(labels)} labels")
    if labels.max() >= scorer.classes:
        raise DimrError(
            f"{images.name}: label {labels.max()}; the classifier has {scorer.classes} classes"
        )
    found = np.empty(len(labels), np.float32)
    done = 0
    with progress_bar(total=len(labels), description="confidence", unit="image") as bar:
        for batch in images.batches(batch_size):
            part = slice(done, done + len(batch))
            found[part] = scorer(batch)[np.arange(len(batch)), labels[part]]
            done += len(batch)
            bar.update(len(batch))
    if done != len(labels) or not np.isfinite(found).all():
        raise DimrError(f"{images.name}: confidence of {np.isfinite(found).sum()} of {done} images")
    return found


def low_fidelity(confidence: NDArray[np.float32], threshold: float) -> NDArray[np.int64]:
    """Indices of the images whose confidence is below the threshold."""
    return np.flatnonzero(confidence < threshold)


def least_confident(confidence: NDArray[np.float32], share: float) -> NDArray[np.int64]:
    """Indices of the least confident share of the images, least first; at least one.

    Ties are broken by the index, so that the result is the same for every batch size and machine.
    """
    count = max(1, math.ceil(round(share * len(confidence), 6)))
    return np.argsort(confidence, kind="stable")[:count]


def draw_some(indices: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """At most ``count`` of some images, in random order: the first few are a draw too."""
    order = numpy_generator(seed, "distortion draw").permutation(len(indices))
    return indices[order[:count]]


def choose(confidence: NDArray[np.float32], config: Distortion) -> NDArray[np.int64]:
    """Indices of the low-fidelity images that are shown."""
    return draw_some(low_fidelity(confidence, config.threshold), config.shown, config.seed)


def summarise(confidence: NDArray[np.float32], config: Distortion) -> Summary:
    """The numbers of ``<setting>.json``."""
    low = len(low_fidelity(confidence, config.threshold))
    values = np.quantile(confidence.astype(np.float64), QUANTILES)
    return {
        "images": len(confidence),
        "mean": float(confidence.mean(dtype=np.float64)),
        "quantiles": {f"{q:g}": float(v) for q, v in zip(QUANTILES, values, strict=True)},
        "low_fidelity": low,
        "shown": min(low, config.shown),
    }


def write_scores(
    out: Path,
    confidence: NDArray[np.float32],
    chosen: Chosen,
    summary: dict[str, Any],
    check: Callable[[], None] = lambda: None,
) -> None:
    """Write ``out`` (``<setting>.json``) last, after the ``.npz`` and ``.npy`` beside it.

    ``check`` is called before the first, to refuse a result that must not be kept.
    """
    check()
    with atomic_file(out.with_suffix(".npz")) as file:
        np.savez_compressed(file, **asdict(chosen))
    with atomic_file(out.with_suffix(".npy")) as file:
        save_array(confidence, file)
    sums = {suffix: sha256(out.with_suffix(suffix)) for suffix in (".npy", ".npz")}
    write_json(out, sealed({**summary, "sha256": sums}))


def read_summary(path: Path) -> dict[str, Any]:
    """The content of ``<setting>.json``; ``DimrError`` names what is missing."""
    value = read_sealed(path, "the summary of a distortion study")
    for name in ("key", "config", "classes", "inputs", *Summary.__annotations__):
        if name not in value:
            raise DimrError(f"{path}: not the summary of a distortion study (no {name})")
    return value


def read_chosen(summary: Path) -> Chosen:
    """The chosen images beside a summary.

    Args:
        summary: ``<setting>.json``; the ``.npz`` is read.

    Raises:
        DimrError: a missing or damaged file, or arrays of other kinds.
    """
    path = _unchanged(summary, ".npz")
    images, labels, confidence, index = load_arrays(path, CHOSEN)
    if len(index):  # there may be no low-fidelity image
        check_images(images, str(path), count=len(index))
    for name, array, kind in (
        ("labels", labels, "i"), ("confidence", confidence, "f"), ("index", index, "i"),
    ):  # fmt: skip
        if array.shape != (len(images),) or array.dtype.kind != kind:
            raise DimrError(f"{path}: {name} is {array.dtype} {array.shape}")
    return Chosen(images, labels, confidence, index)


def read_confidence(summary: Path, images: int) -> NDArray[np.float32]:
    """The confidence (N,) of all N images, from the ``.npy`` beside a summary.

    ``DimrError`` names a file that is missing, damaged or belongs to other images.
    """
    return map_array(_unchanged(summary, ".npy"), (images,), "float32")


def _unchanged(summary: Path, suffix: str) -> Path:
    """A file beside a summary; ``DimrError`` if it is not as it was written."""
    path = summary.with_suffix(suffix)
    require_file(path)
    recorded = read_json(summary).get("sha256", {}).get(suffix)
    if recorded is not None and sha256(path) != recorded:
        raise DimrError(f"{path}: checksum differs from the recorded one: damaged")
    return path
