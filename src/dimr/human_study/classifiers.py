"""The classifiers of the distortion study: the workflow's digit classifier, or a timm model.

A timm model's name says the architecture and how images are resized, cropped and normalised; its
weights come from the hub, or from a file with the hub's tensor names.
"""

import difflib
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimr.checkpoints.read import read_checkpoint
from dimr.config.schema import Distortion
from dimr.evaluation.classifier import load_classifier, load_tensors
from dimr.evaluation.image_sets import image_tensor
from dimr.runtime.async_io import to_device
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256, single_line
from dimr.runtime.record import recorded_key

DIGITS = "digits"
"""The name of the classifier that the workflow trains; all others are timm's."""


@dataclass(frozen=True)
class Scorer:
    """A classifier of K classes, on a device.

    Attributes:
        classes: K.
        key: identifies its weights.
        facts: for the record.
        prepare: its input (B, ...) from uint8 images (B, H, W, 3).
        logits: (B, K) from that input.
        device: where the classifier computes.
    """

    classes: int
    key: str
    facts: dict[str, Any]
    prepare: Callable[[NDArray[np.uint8]], Tensor]
    logits: Callable[[Tensor], Tensor]
    device: torch.device

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Softmax probabilities (B, K) of uint8 images (B, H, W, 3)."""
        with torch.inference_mode():
            logits = self.logits(to_device(self.prepare(images), self.device))
            return logits.double().softmax(1).cpu().numpy()


def open_scorer(
    config: Distortion,
    classifier: Path | None,
    weights: Path | None,
    device: torch.device,
    threads: int | None = None,
) -> Scorer:
    """The classifier that a configuration names.

    Args:
        config: its ``classifier`` is ``digits`` or a timm model.
        classifier: folder of the digit classifier; for ``digits`` only.
        weights: of the timm model; None: from the hub.
        device: where it computes.
        threads: that prepare images; None: one per core.

    Raises:
        DimrError: a path that the classifier does not take, or lacks.
    """
    if config.classifier != DIGITS:
        if classifier is not None:
            raise DimrError(
                f"--classifier: not used here: classifier {config.classifier} takes --weights"
            )
        return timm_scorer(config.classifier, weights, device, threads or os.cpu_count() or 1)
    if weights is not None:
        raise DimrError("--weights: not used here: classifier digits takes --classifier")
    if classifier is None:
        raise DimrError("--classifier: missing: the configuration's classifier is digits")
    return digit_scorer(classifier, device)


def digit_scorer(folder: Path, device: torch.device) -> Scorer:
    """The digit classifier in a folder of the workflow's.

    It takes images of the size that it was trained on; ``DimrError`` refuses others.
    """
    network = load_classifier(folder).to(device)

    def prepare(images: NDArray[np.uint8]) -> Tensor:
        if images.shape[1:3] != (network.size, network.size):
            found = "x".join(map(str, images.shape[1:3]))
            wanted = f"{network.size}x{network.size}"
            raise DimrError(f"images are {found}; the digit classifier takes {wanted}")
        return image_tensor(images)

    return Scorer(
        network.head.out_features,
        recorded_key(folder),
        {"name": DIGITS, "size": network.size},
        prepare,
        lambda inputs: network(inputs)[0],
        device,
    )


def timm_scorer(name: str, weights: Path | None, device: torch.device, threads: int = 1) -> Scorer:
    """A timm model, with the resizing, crop and normalisation that its name implies.

    Args:
        name: as timm lists it, with the tag of its weights: ``convnext_base.fb_in22k_ft_in1k``.
        weights: ``.safetensors`` or ``.pth`` with these tensors; None: from the hub.
        device: where the model computes.
        threads: that prepare images.
    """
    from PIL import Image
    from timm.data import create_transform, resolve_model_data_config

    network = load_timm(name, weights).to(device).eval().requires_grad_(False)
    data = resolve_model_data_config(network)
    transform: Any = create_transform(**data, is_training=False)
    pool = ThreadPoolExecutor(threads, "transform")

    def prepare(images: NDArray[np.uint8]) -> Tensor:
        return torch.stack(
            list(pool.map(lambda pixels: transform(Image.fromarray(pixels)), images))
        )

    key = sha256(weights) if weights else "of the hub"
    recipe = {key: list(v) if isinstance(v, tuple) else v for key, v in data.items()}
    facts = {"name": name, "weights": key, "data": recipe}
    classes = int(getattr(network, "num_classes", 0))
    return Scorer(classes, key, facts, prepare, network, device)


def load_timm(name: str, weights: Path | None) -> nn.Module:
    """A timm classifier with its weights.

    Raises:
        DimrError: a name that timm does not have, weights that cannot be fetched, or a file that is
            damaged, holds more than weights, or belongs to another model.
    """
    import timm

    if not timm.is_model_pretrained(name):
        near = difflib.get_close_matches(name, timm.list_models(pretrained=True), 3, cutoff=0.5)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise DimrError(f"classifier: timm has no pretrained model {name!r}{hint}")
    if weights is None:
        try:
            return timm.create_model(name, pretrained=True)
        except Exception as error:  # an OSError, an HTTP error, ...: what networks raise
            raise DimrError(
                f"{name}: its weights could not be fetched ({single_line(error)[:200]}); download "
                "them elsewhere and name the file"
            ) from None
    network = timm.create_model(name, pretrained=False)
    load_tensors(network, read_checkpoint(weights)[0], weights, name)
    return network


def fetch_timm(name: str, source: Path | None, out: Path) -> None:
    """Save a timm classifier's weights at ``out`` as safetensors, once they are known to fit.

    Args:
        name: as in ``load_timm``.
        source: a local file; None: the hub.
        out: the file.

    Raises:
        DimrError: as in ``load_timm``.
    """
    import safetensors.torch

    network = load_timm(name, source)
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    with atomic_file(out) as temporary:
        safetensors.torch.save_file(tensors, temporary, {"timm": name})
