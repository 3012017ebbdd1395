"""The small digit classifier whose features stand in for Inception's on the digits datasets.

Shapes: B images, K classes, D = 64 features.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from dimr.config.schema import Classifier, ConfigModel
from dimr.config.validation import validate
from dimr.evaluation.image_sets import check_images, image_tensor
from dimr.runtime.atomic import atomic_directory
from dimr.runtime.errors import DimrError, TrainingFailed
from dimr.runtime.files import read_json, require_file, single_line, write_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.randomness import derived_seed, torch_generator
from dimr.runtime.record import verify
from dimr.runtime.schedules import linear_warmup
from dimr.runtime.tensors import first_difference, first_unsound

MIN_SIZE, MAX_SIZE = 16, 512  # of images, in pixels
FEATURES = 64
WEIGHTS = "classifier.safetensors"
WEIGHT_DECAY = 0.05
WARMUP_STEPS = 20


class ClassifierConfig(ConfigModel):
    """``config.json`` of a classifier's folder: what ``DigitClassifier`` takes, and how trained."""

    model: Literal["DigitClassifier"] = "DigitClassifier"
    width: Annotated[int, Field(ge=4, le=512, multiple_of=4)]
    classes: Annotated[int, Field(ge=2, le=10_000)]
    size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)]
    training: dict[str, Any] | None = None


class DigitClassifier(nn.Module):
    """Five convolutions, the mean over places (64 features), one linear layer of K logits.

    The features are averaged after the ReLU, as Inception's are. Averages before it would be
    linearly dependent, since GroupNorm fixes the mean of each group: a singular covariance. They
    see noise, blur and mixed digits better than a linear layer over all places does, which learns
    to ignore them. GroupNorm treats each image by itself; statistics of training batches would be
    one more thing that sets training images apart. The features are standardised by the training
    images, so that those have a total variance of 64 for every seed. FID still differs from seed to
    seed (in noise, several times): compare values of one classifier only.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor

    def __init__(self, width: int = 16, classes: int = 10, size: int = 32) -> None:
        super().__init__()
        self.size = size  # of the images, in pixels
        self.trunk = nn.Sequential(
            *_block(3, width, stride=2),
            *_block(width, 2 * width, stride=2),
            *_block(2 * width, 4 * width, stride=1),
            *_block(4 * width, FEATURES, stride=2),
            *_block(FEATURES, FEATURES, stride=1),
        )
        self.head = nn.Linear(FEATURES, classes)
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_std", torch.ones(FEATURES))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (B, K) and standardised features (B, 64), float32.

        Args:
            images: (B, 3, S, S), S of 16 or more, uint8, or floats in [0, 1].
        """
        if images.dtype == torch.uint8:
            images = images.float() / 255
        raw = self.trunk(2 * images - 1).mean((2, 3))
        return self.head(raw), (raw - self.feature_mean) / self.feature_std


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(4, outputs), nn.ReLU()]


@dataclass(frozen=True)
class Augmentation:
    """Half-widths of uniform random changes; each image of each step has its own."""

    rotation: float = 0.3  # radians
    scale: float = 0.2  # relative, height and width apart
    shift: float = 0.12  # of the image's size
    brightness: float = 0.3  # relative

    def __call__(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Changed copies of float images (B, 3, H, W) in [0, 1]; black comes in from outside."""
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
        moved = functional.grid_sample(images, grid, align_corners=False)
        return (moved * (1 + self.brightness * draws[5])[:, None, None, None]).clamp(0, 1)


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
    augmentation: Augmentation = Augmentation(),
) -> dict[str, Any]:
    """Train on ``images`` and write the folder ``out``; held-out images only measure accuracy.

    AdamW on batches drawn with replacement, with a linear warm-up and a cosine to zero.

    Args:
        images: uint8 (N, S, S, 3), S of 16 or more.
        labels: integers (N,) in [0, classes).
        out: the folder, replaced as a whole: ``classifier.safetensors`` (which images and settings
            determine), ``config.json`` (``ClassifierConfig``), ``accuracy.json`` (the result).
        config: steps, batch, peak learning rate, and the seed of weights, batches and augmentation.
        heldout: uint8 (M, S, S, 3).
        heldout_labels: integers (M,).
        width: channels of the first convolution, a multiple of 4.
        classes: K.
        augmentation: of the images of a batch.

    Returns:
        ``heldout_accuracy`` and ``train_accuracy`` in [0, 1], ``heldout_images``,
        ``train_images``, ``parameters``.

    Raises:
        DimrError: wrong images or labels.
        TrainingFailed: weights that are not finite.
    """
    import safetensors.torch

    size = max(MIN_SIZE, images.shape[1] if images.ndim == 4 else 0)
    _check_split("training", images, labels, classes, size)
    _check_split("held-out", heldout, heldout_labels, classes, size)
    with torch.random.fork_rng(devices=[]):  # torch's own random state stays as it was
        torch.manual_seed(derived_seed(config.seed, "classifier weights"))
        classifier = DigitClassifier(width, classes, size)
    inputs = image_tensor(images)
    _fit(classifier, inputs, torch.from_numpy(labels.astype(np.int64)), config, augmentation)
    _standardise(classifier, inputs)
    if not all(bool(value.isfinite().all()) for value in classifier.state_dict().values()):
        raise TrainingFailed(
            f"classifier: weights not finite after {config.steps} steps with lr {config.lr}"
        )
    classifier.eval().requires_grad_(False)
    accuracy = {
        "heldout_accuracy": class_accuracy(classifier, heldout, heldout_labels),
        "train_accuracy": class_accuracy(classifier, images, labels),
        "heldout_images": len(heldout),
        "train_images": len(images),
        "parameters": sum(value.numel() for value in classifier.parameters()),
    }
    training = {**config.model_dump(), "augmentation": asdict(augmentation)}
    settings = ClassifierConfig(width=width, classes=classes, size=size, training=training)
    with atomic_directory(Path(out)) as folder:
        safetensors.torch.save_file(classifier.state_dict(), folder / WEIGHTS)
        write_json(folder / "config.json", settings.model_dump())
        write_json(folder / "accuracy.json", accuracy)
    return accuracy


def learning_rate(step: int, config: Classifier) -> float:
    """Linear warm-up to the peak, then cosine to zero."""
    cosine = 0.5 + 0.5 * math.cos(math.pi * step / config.steps)
    return config.lr * linear_warmup(step, WARMUP_STEPS) * cosine


def load_classifier(folder: str | Path) -> DigitClassifier:
    """The classifier of a folder that ``train_classifier`` wrote, on the CPU, in evaluation mode.

    Raises:
        DimrError: a file is missing, damaged, or not a classifier's; nothing is half loaded.
    """
    import safetensors.torch

    path, config_file = Path(folder) / WEIGHTS, Path(folder) / "config.json"
    verify(Path(folder), config_file.name, WEIGHTS)
    config = validate(ClassifierConfig, read_json(config_file), str(config_file))
    require_file(path)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise DimrError(f"{path}: not readable as safetensors ({single_line(error)})") from None
    classifier = DigitClassifier(config.width, config.classes, config.size)
    load_tensors(classifier, tensors, path, config.model)
    return classifier.eval().requires_grad_(False)


def load_tensors(
    network: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path, name: str
) -> None:
    """Load weights into a classifier (``name``).

    Raises:
        DimrError: names the file (``path``) and the first tensor that is missing, too many, of
            another shape, or not finite.
    """
    if difference := first_difference(tensors, network.state_dict()):
        raise DimrError(f"{path}: not the weights of {name}: {difference}")
    if problem := first_unsound(tensors):
        raise DimrError(f"{path}: {problem}")
    network.load_state_dict(tensors)


def class_accuracy(
    classifier: nn.Module,
    images: np.ndarray,
    labels: np.ndarray,
    batch_size: int = 250,
    name: str = "labels",
) -> float:
    """Share in [0, 1] of uint8 images (N, H, W, 3) that the classifier gives their label (N,).

    ``classifier`` takes uint8 (B, 3, H, W) and returns (logits (B, K), features), in its own mode.
    ``name`` is what messages call the labels.

    Raises:
        DimrError: no such images, labels of another number, or of classes that it does not know.
    """
    check_images(images, "images")
    if labels.shape != (len(images),):
        raise DimrError(f"{name}: shape {labels.shape}; expected ({len(images)},)")
    device = next(classifier.parameters()).device
    parts = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    with torch.no_grad():
        logits = torch.cat([classifier(image_tensor(part).to(device))[0].cpu() for part in parts])
    if labels.min() < 0 or labels.max() >= logits.shape[1]:
        found = f"from {labels.min()} to {labels.max()}"
        raise DimrError(f"{name}: {found}; the classifier knows 0 to {logits.shape[1] - 1}")
    return float(np.mean(logits.argmax(1).numpy() == labels))


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
    classifier: DigitClassifier,
    images: torch.Tensor,
    labels: torch.Tensor,
    config: Classifier,
    augmentation: Augmentation,
) -> None:
    """Minimise the cross-entropy of augmented batches of uint8 images (N, 3, S, S)."""
    optimizer = torch.optim.AdamW(classifier.parameters(), weight_decay=WEIGHT_DECAY)
    for step in progress_bar(range(config.steps), description="classifier", unit="step"):
        generator = torch_generator(config.seed, "classifier step", step)
        picked = torch.randint(len(images), (config.batch,), generator=generator)
        inputs = augmentation(images[picked].float() / 255, generator)
        loss = functional.cross_entropy(classifier(inputs)[0], labels[picked])
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _standardise(classifier: DigitClassifier, images: torch.Tensor) -> None:
    """Make the features of uint8 images (N, 3, S, S) have mean 0 and standard deviation 1."""
    features = torch.cat([classifier(part)[1] for part in images.split(250)]).double()
    classifier.feature_mean.copy_(features.mean(0))
    classifier.feature_std.copy_(features.std(0, correction=0).clamp(min=1e-6))
