"""The small classifier whose features stand in for Inception's: of digits, or of any set of images.

Shapes: B images, K logits, D = 64 features.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from dimr.config.schema import LEAST_CLASSIFIED, ConfigModel
from dimr.config.validation import validate
from dimr.evaluation.image_sets import ArrayImages, ImageSet, as_image_set, image_tensor
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, require_file, single_line
from dimr.runtime.record import verify
from dimr.runtime.tensors import first_difference, first_unsound

MIN_SIZE, MAX_SIZE = LEAST_CLASSIFIED, 512  # of images, in pixels
MAX_CLASSES = 10_000
FEATURES = 64
PLACES = 64
"""Most places per side that the convolutions see."""
LOW_FIDELITY = 0.2
"""Below this probability of its own class an image is low-fidelity (paper, section 5.3)."""
WEIGHTS = "classifier.safetensors"
TURNS = 4
"""Quarter turns of an image, which the classifier of a one-class set tells apart."""

Task = Literal["classes", "quarter turns"]
"""What a classifier tells apart. A set of one class has no classes to tell apart: its classifier
says by how many quarter turns an image was turned, counterclockwise (RotNet, Gidaris et al. 2018).
"""


class ClassifierConfig(ConfigModel):
    """``config.json`` of a classifier's folder: the network's input, and how it was trained.

    ``model`` is ``DigitClassifier`` for the digits, ``ImageClassifier`` for other sets: the same
    network. ``classes`` is the number of logits.
    """

    model: Literal["DigitClassifier", "ImageClassifier"] = "DigitClassifier"
    width: Annotated[int, Field(ge=4, le=512, multiple_of=4)]
    classes: Annotated[int, Field(ge=2, le=MAX_CLASSES)]
    size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)]
    task: Task = Field(default="classes", exclude_if=lambda value: value == "classes")
    class_names: tuple[str, ...] = Field(default=(), exclude_if=lambda value: not value)
    training: dict[str, Any] | None = None


class ImageClassifier(nn.Module):
    """Five convolutions, the mean over places (64 features), one linear layer of K logits.

    The features are averaged after the ReLU, as Inception's are. Averages before it would be
    linearly dependent, since GroupNorm fixes the mean of each group: a singular covariance. They
    see noise, blur and mixed digits better than a linear layer over all places does, which learns
    to ignore them. GroupNorm treats each image by itself; statistics of training batches would be
    one more thing that sets training images apart. The features are standardised on the training
    images, which therefore have a total variance of 64 for every seed (less where features hardly
    differ). FID still differs from seed to seed (for noise, by several times): compare only values
    of one classifier.

    In images of more than 64 pixels, each square of pixels becomes the channels of one place: as
    cheap as averaging the squares, which would hide blur and noise from the features.
    """

    feature_mean: torch.Tensor
    feature_std: torch.Tensor

    def __init__(
        self, width: int = 16, classes: int = 10, size: int = 32, task: Task = "classes"
    ) -> None:
        super().__init__()
        self.size = size  # of the images, in pixels
        self.task: Task = task
        self.square = -(-size // PLACES)  # pixels of a side that are one place
        self.trunk = nn.Sequential(
            *_block(3 * self.square**2, width, stride=2),
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
        raw = self.trunk(self._places(2 * images - 1)).mean((2, 3))
        return self.head(raw), (raw - self.feature_mean) / self.feature_std

    def _places(self, images: torch.Tensor) -> torch.Tensor:
        """Squares of pixels as channels; sides are padded to whole squares with edge values."""
        if self.square == 1:
            return images
        lacks = -self.size % self.square
        whole = functional.pad(images, (0, lacks, 0, lacks), mode="replicate")
        return functional.pixel_unshuffle(whole, self.square)


def _block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return [convolution, nn.GroupNorm(4, outputs), nn.ReLU()]


def load_classifier(folder: str | Path) -> ImageClassifier:
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
    classifier = ImageClassifier(config.width, config.classes, config.size, config.task)
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


def own_class(
    classifier: nn.Module,
    images: ImageSet | np.ndarray,
    labels: np.ndarray,
    batch_size: int | None = None,
    name: str = "labels",
) -> dict[str, float]:
    """What the classifier says about uint8 images (N, H, W, 3) and their intended labels (N,).

    Args:
        classifier: takes uint8 (B, 3, H, W) and returns (logits (B, K), features), in its own mode.
        images: as many as there are labels.
        labels: those that the images should have, in their order.
        batch_size: images at a time; None: as many as 250 of 64 pixels.
        name: what messages call the labels.

    Returns:
        ``class_accuracy``, the share in [0, 1] that it gives their label; ``low_fidelity_share``,
        that whose label it gives a probability below 0.2 (paper, section 5.3).

    Raises:
        DimrError: no such images, labels of another number, or of classes that it does not know.
    """
    images = as_image_set(images, "images")
    if labels.shape != (images.shape[0],):
        raise DimrError(f"{name}: shape {labels.shape}; expected ({images.shape[0]},)")
    logits = _logits(classifier, images, batch_size)
    if labels.min() < 0 or labels.max() >= (known := logits.shape[1]):
        found = f"from {labels.min()} to {labels.max()}"
        raise DimrError(f"{name}: {found}; the classifier knows 0 to {known - 1}")
    own = logits.double().softmax(1)[torch.arange(len(labels)), torch.tensor(labels)]
    return {
        "class_accuracy": float(np.mean(logits.argmax(1).numpy() == labels)),
        "low_fidelity_share": float((own < LOW_FIDELITY).double().mean()),
    }


def read_classes(
    classifier: nn.Module, images: ImageSet, batch_size: int | None = None
) -> np.ndarray:
    """The class (N,) that the classifier gives each image."""
    return _logits(classifier, images, batch_size).argmax(1).numpy()


def turn_accuracy(
    classifier: nn.Module, images: np.ndarray, batch_size: int | None = None
) -> float:
    """Share in [0, 1] of the quarter turns of uint8 images (N, S, S, 3) that it recognises."""
    turned = (np.rot90(images, turn, (1, 2)) for turn in range(TURNS))
    told = [read_classes(classifier, ArrayImages("images", [each]), batch_size) for each in turned]
    return float(np.mean([np.mean(each == turn) for turn, each in enumerate(told)]))


def piece_of(size: int) -> int:
    """How many images of side ``size`` are classified together: 250 up to 64 pixels."""
    return max(1, 250 * PLACES**2 // max(PLACES, size) ** 2)


@torch.no_grad()
def _logits(classifier: nn.Module, images: ImageSet, batch_size: int | None) -> torch.Tensor:
    """The classifier's (N, K), on the CPU."""
    device = next(classifier.parameters()).device
    parts = images.batches(batch_size or piece_of(images.shape[1]))
    return torch.cat([classifier(image_tensor(part).to(device))[0].cpu() for part in parts])
