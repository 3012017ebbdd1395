"""Training of the small classifier whose features the metrics use (``dimr.evaluation.classifier``).

Only batches of the images are in memory.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn import functional

from dimr.config.schema import Classifier
from dimr.evaluation.classifier import (
    MAX_CLASSES,
    MAX_SIZE,
    MIN_SIZE,
    TURNS,
    WEIGHTS,
    ClassifierConfig,
    ImageClassifier,
    Task,
    own_class,
    piece_of,
    turn_accuracy,
)
from dimr.evaluation.image_sets import ArrayImages, check_images, image_tensor
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.errors import DimrError, TrainingFailed
from dimr.runtime.files import write_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import derived_seed, torch_generator
from dimr.runtime.schedules import linear_warmup

WEIGHT_DECAY = 0.05
WARMUP_STEPS = 20
LEAST_SPREAD = 0.1
"""Least spread of a feature, relative to all: with easy or few images some features are the same
for all (none excites them); divided by so little, a single other image would dominate FID."""
LEAST_DEVIATION = 0.01
"""The least if all hardly differ: features are averages of values of variance 1."""


@dataclass(frozen=True)
class Augmentation:
    """Half-widths of uniform random changes; each image of each step has its own.

    There is no mirroring: the mirror image of a letter, say, is something else.
    """

    rotation: float = 0.3  # radians
    scale: float = 0.2  # relative, height and width apart
    shift: float = 0.12  # of the image's size
    brightness: float = 0.3  # relative, the same for all channels: colours stay
    outside: Literal["black", "reflection"] = "black"  # what is seen beyond the edges

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Changed copies of float images (B, 3, H, W) in [0, 1]."""
        draws = 2 * torch.rand(6, len(images), generator=generator) - 1
        cosine, sine = (self.rotation * draws[0]).cos(), (self.rotation * draws[0]).sin()
        wide, high = 1 + self.scale * draws[1], 1 + self.scale * draws[2]
        right, down = 2 * self.shift * draws[3], 2 * self.shift * draws[4]  # the grid is [-1, 1]
        matrix = torch.stack(
            [cosine * wide, -sine * high, right, sine * wide, cosine * high, down], 1
        )
        grid = functional.affine_grid(
            matrix.view(-1, 2, 3), list(images.shape), align_corners=False
        )
        padding = "zeros" if self.outside == "black" else self.outside
        moved = functional.grid_sample(images, grid, padding_mode=padding, align_corners=False)
        return (moved * (1 + self.brightness * draws[5])[:, None, None, None]).clamp(0, 1)

    def record(self) -> dict[str, Any]:
        """For ``config.json``; the default ``outside`` is omitted, as in older files."""
        left_out = "outside" if self.outside == "black" else None
        return {key: value for key, value in asdict(self).items() if key != left_out}


STROKES = Augmentation()
"""For white strokes on black."""
PHOTOGRAPHS = Augmentation(rotation=0.15, outside="reflection")
"""For images whose background is not black."""


def train_classifier(
    images: np.ndarray,
    labels: np.ndarray,
    out: str | Path,
    config: Classifier,
    *,
    heldout: np.ndarray,
    heldout_labels: np.ndarray,
    width: int = 16,
    classes: int = 10,
    class_names: Sequence[str] = (),
    augmentation: Augmentation = STROKES,
) -> dict[str, Any]:
    """Train on ``images`` and write the folder ``out``; held-out images only measure accuracy.

    AdamW on batches drawn with replacement, with a linear warm-up and a cosine to zero. With one
    class it learns to tell apart an image's quarter turns.

    Args:
        images: uint8 (N, S, S, 3), S from 16 to 512, two of them or more.
        labels: integers (N,) in [0, classes).
        out: the folder, replaced as a whole: ``classifier.safetensors`` (which images and settings
            determine), ``config.json`` (``ClassifierConfig``), ``accuracy.json`` (the result).
        config: steps, batch, peak learning rate, and the seed of weights, batches and augmentation.
        heldout: uint8 (M, S, S, 3).
        heldout_labels: integers (M,).
        width: channels of the first convolution, a multiple of 4.
        classes: how many the set has, from 1 to 10,000.
        class_names: of the classes; empty: they are the digits.
        augmentation: of the images of a batch.

    Returns:
        ``heldout_accuracy`` and ``train_accuracy`` in [0, 1], ``heldout_images``,
        ``train_images``, ``parameters``.

    Raises:
        DimrError: wrong images or labels, or images of a size or classes of a number that the
            network does not take.
        TrainingFailed: weights that are not finite.
    """
    import safetensors.torch

    size = _check_size(images, classes)
    _check_split("training", images, labels, classes, size)
    _check_split("held-out", heldout, heldout_labels, classes, size)
    task: Task = "classes" if classes > 1 else "quarter turns"
    logits = classes if classes > 1 else TURNS
    with torch.random.fork_rng(devices=[]):  # torch's own random state stays as it was
        torch.manual_seed(derived_seed(config.seed, "classifier weights"))
        classifier = ImageClassifier(width, logits, size, task)
    _fit(classifier, images, torch.from_numpy(labels.astype(np.int64)), config, augmentation)
    _standardise(classifier, images)
    if not all(bool(value.isfinite().all()) for value in classifier.state_dict().values()):
        raise TrainingFailed(
            f"classifier: weights not finite after {config.steps} steps with lr {config.lr}"
        )
    classifier.eval().requires_grad_(False)
    accuracy = {
        "heldout_accuracy": _accuracy(classifier, heldout, heldout_labels),
        "train_accuracy": _accuracy(classifier, images, labels),
        "heldout_images": len(heldout),
        "train_images": len(images),
        "parameters": sum(value.numel() for value in classifier.parameters()),
    }
    settings = ClassifierConfig(
        model="ImageClassifier" if class_names else "DigitClassifier",
        width=width,
        classes=logits,
        size=size,
        task=task,
        class_names=tuple(class_names),
        training={**config.model_dump(), "augmentation": augmentation.record()},
    )
    with atomic_directory(Path(out)) as folder:
        safetensors.torch.save_file(classifier.state_dict(), folder / WEIGHTS)
        write_json(folder / "config.json", settings.model_dump(mode="json"))
        write_json(folder / "accuracy.json", accuracy)
    return accuracy


def learning_rate(step: int, config: Classifier) -> float:
    """Linear warm-up to the peak, then cosine to zero."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
    return config.lr * linear_warmup(step, WARMUP_STEPS) * cosine


def turned(images: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, S, S), each turned counterclockwise by ``turns`` (B,) quarters."""
    return torch.stack(
        [image.rot90(int(n), (1, 2)) for image, n in zip(images, turns, strict=True)]
    )


def _accuracy(classifier: ImageClassifier, images: np.ndarray, labels: np.ndarray) -> float:
    if classifier.task == "quarter turns":
        return turn_accuracy(classifier, images)
    return own_class(classifier, images, labels)["class_accuracy"]


def _check_size(images: np.ndarray, classes: int) -> int:
    """Side of the images; ``DimrError`` if the network does not take it or ``classes``."""
    inception = "extractor inception-v3-compat takes any (recipes.yaml: evaluate)"
    check_images(images, "training images")
    size = images.shape[1]
    if not MIN_SIZE <= size <= MAX_SIZE:
        allowed = f"the classifier takes {MIN_SIZE} to {MAX_SIZE} pixels; {inception}"
        raise DimrError(f"training images: images are {size}x{images.shape[2]}; {allowed}")
    if classes > MAX_CLASSES:
        raise DimrError(
            f"images: {classes} classes; the classifier takes up to {MAX_CLASSES:,}; {inception}"
        )
    if len(images) < 2:  # features have no spread
        raise DimrError(
            "training images: 1; the classifier needs 2 or more: add images, or hold fewer out "
            "(recipes.yaml: data.images.heldout)"
        )
    return size


def _check_split(
    name: str, images: np.ndarray, labels: np.ndarray, classes: int, size: int
) -> None:
    check_images(images, f"{name} images", size=size)
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        found, wanted = f"{labels.dtype} {labels.shape}", f"integers ({len(images)},)"
        raise DimrError(f"{name} labels: {found}; expected {wanted}")
    if labels.min() < 0 or labels.max() >= classes:
        found = f"{labels.min()} to {labels.max()}"
        raise DimrError(f"{name} labels: from {found}; allowed are 0 to {classes - 1}")


def _fit(
    classifier: ImageClassifier,
    images: np.ndarray,
    labels: torch.Tensor,
    config: Classifier,
    augmentation: Augmentation,
) -> None:
    """Minimise the cross-entropy of augmented batches of uint8 images (N, S, S, 3)."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=WEIGHT_DECAY)
    for step in progress_bar(range(config.steps), description="classifier", unit="step"):
        generator = torch_generator(config.seed, "classifier step", step)
        picked = torch.randint(len(images), (config.batch,), generator=generator)
        batch = image_tensor(images[picked.numpy()]).float() / 255
        wanted = labels[picked]
        if classifier.task == "quarter turns":
            wanted = torch.randint(TURNS, (config.batch,), generator=generator)
            batch = turned(batch, wanted)
        inputs = augmentation(batch, generator)
        loss = functional.cross_entropy(classifier(inputs)[0], wanted)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _standardise(classifier: ImageClassifier, images: np.ndarray) -> None:
    """Make the features of uint8 images (N, S, S, 3) have mean 0 and standard deviation 1.

    Those that hardly differ get less: see ``LEAST_SPREAD``. A classifier of quarter turns is shown
    all turns: most of its features are the same for all upright images.
    """
    turns = range(TURNS if classifier.task == "quarter turns" else 1)
    arrays = [np.rot90(images, turn, (1, 2)) for turn in turns]
    parts = ArrayImages("training images", arrays).batches(piece_of(classifier.size))
    features = torch.cat([classifier(image_tensor(part))[1] for part in parts]).double()
    spread = features.std(0, correction=0)
    classifier.feature_mean.copy_(features.mean(0))
    least = max(LEAST_DEVIATION, LEAST_SPREAD * spread.square().mean().sqrt().item())
    classifier.feature_std.copy_(spread.clamp(min=least))
