"""The classifiers of the distortion study: the workflow's digit classifier, or a timm model.

A timm model is made by its name, which says the architecture and how images are resized, cropped
and normalised; its weights come from the hub, or from a file with the hub's tensor names.
"""

import difflib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimr.checkpoints.read import read_checkpoint
from dimr.evaluation.classifier import load_classifier
from dimr.evaluation.image_sets import image_tensor
from dimr.runtime.async_io import to_device
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_file, sha256, single_line

DIGITS = "digits"
"""The name of the classifier that the workflow trains; all others are timm's."""


class DigitScorer:
    """The digit classifier in a folder of the workflow's."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.network, self.device = load_classifier(folder).to(device), device
        self.classes = self.network.head.out_features
        self.facts: dict[str, Any] = {"name": DIGITS, "size": self.network.size}

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Softmax probabilities (B, K) of images (B, S, S, 3) of the size that it was trained on.

        Raises:
            DimrError: another size.
        """
        size = self.network.size
        if images.shape[1:3] != (size, size):
            found = "x".join(map(str, images.shape[1:3]))
            raise DimrError(f"images are {found}; the digit classifier takes {size}x{size}")
        return _probabilities(self.network(to_device(image_tensor(images), self.device))[0])


class TimmScorer:
    """A timm model, with the resizing, crop and normalisation that its name stands for.

    Args:
        name: as timm lists it, with the tag of its weights: ``convnext_base.fb_in22k_ft_in1k``.
        weights: ``.safetensors`` or ``.pth`` with these tensors; None: from the hub.
        device: where the model computes.
        threads: that prepare images.
    """

    def __init__(
        self, name: str, weights: Path | None, device: torch.device, threads: int = 1
    ) -> None:
        from timm.data import create_transform, resolve_model_data_config

        network = load_timm(name, weights)
        self.network = network.to(device).eval().requires_grad_(False)
        self.device = device
        self.classes = int(getattr(network, "num_classes", 0))
        data = resolve_model_data_config(network)
        self.transform: Any = create_transform(**data, is_training=False)
        self.pool = ThreadPoolExecutor(max(1, threads), "transform")
        self.facts: dict[str, Any] = {
            "name": name,
            "weights": sha256(weights) if weights else "of the hub",
            "data": {key: list(v) if isinstance(v, tuple) else v for key, v in data.items()},
        }

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Softmax probabilities (B, K) of images (B, H, W, 3) of any size."""
        inputs = torch.stack(list(self.pool.map(self._prepare, images)))
        with torch.inference_mode():
            return _probabilities(self.network(to_device(inputs, self.device)))

    def _prepare(self, image: NDArray[np.uint8]) -> Tensor:
        from PIL import Image

        return self.transform(Image.fromarray(image))


def _probabilities(logits: Tensor) -> NDArray[np.float64]:
    return logits.double().softmax(1).cpu().numpy()


def load_timm(name: str, weights: Path | None) -> nn.Module:
    """A timm classifier with its weights.

    Raises:
        DimrError: a name that timm does not have, weights that cannot be fetched, or a file that is
            damaged, holds more than weights, or is of another model.
    """
    import timm

    check_name(name)
    if weights is None:
        try:
            return timm.create_model(name, pretrained=True)
        except Exception as error:  # an OSError, an HTTP error, ...: what networks raise
            raise DimrError(
                f"{name}: its weights could not be fetched ({single_line(error)[:200]}); fetch them "
                "elsewhere and name the file"
            ) from None
    network = timm.create_model(name, pretrained=False)
    tensors, _ = read_checkpoint(weights)
    _check_tensors(weights, name, tensors, network.state_dict())
    network.load_state_dict(tensors)
    return network


def check_name(name: str) -> None:
    """Raise ``DimrError`` with near names unless timm has weights of this name."""
    import timm

    if timm.is_model_pretrained(name):
        return
    near = difflib.get_close_matches(name, timm.list_models(pretrained=True), 3, cutoff=0.5)
    hint = f" (did you mean {' or '.join(near)}?)" if near else ""
    raise DimrError(f"classifier: timm has no pretrained model {name!r}{hint}")


def _check_tensors(
    path: Path, name: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor]
) -> None:
    """Names and shapes as the model has them, and all values finite."""
    if odd := sorted(found.keys() ^ expected.keys()):
        state = "missing" if odd[0] in expected else "unknown"
        more = f" (and {len(odd) - 1} more differ)" if len(odd) > 1 else ""
        raise DimrError(f"{path}: not the weights of {name}: {odd[0]} is {state}{more}")
    for key, value in expected.items():
        have = found[key]
        if have.shape != value.shape:
            raise DimrError(
                f"{path}: {key} is {tuple(have.shape)}; {name} has {tuple(value.shape)}"
            )
        if not have.isfinite().all():
            raise DimrError(f"{path}: {key} holds values that are not finite")


def fetch_timm(name: str, source: Path | None, out: Path) -> None:
    """Put a timm classifier's weights at ``out`` as safetensors, once they are known to fit.

    Args:
        name: as in ``load_timm``.
        source: a file at hand; None: the hub.
        out: the file.

    Raises:
        DimrError: as in ``load_timm``.
    """
    import safetensors.torch

    network = load_timm(name, source)
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    with atomic_file(out) as temporary:
        safetensors.torch.save_file(tensors, temporary, {"timm": name})
