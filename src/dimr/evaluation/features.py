"""Our feature extractor for torch-fidelity; its own are known to it by name already."""

from pathlib import Path

import torch

from dimr.evaluation.classifier import WEIGHTS, DigitClassifier, load_classifier
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256


def register_digits_extractor(folder: str | Path) -> str:
    """Register the classifier in ``folder`` with torch-fidelity and return the extractor's name.

    The name holds the first digits of the weights' SHA-256: it identifies the features wherever a
    result quotes it, and registering the same weights again is no error. The weights are read now,
    so that later changes of the folder have no effect.

    The extractor takes uint8 (B, 3, S, S) of the size S that the classifier was trained on. It
    provides ``64`` (FID, precision and recall) and ``logits`` (Inception Score), as float64:
    torch-fidelity computes in the dtype that it is given.

    Raises:
        DimrError: as ``load_classifier``.
    """
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    classifier = load_classifier(folder)
    name = f"digits-{sha256(Path(folder) / WEIGHTS)[:12]}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, _extractor_class(classifier))
    return name


def _extractor_class(classifier: DigitClassifier) -> type:
    """A torch-fidelity extractor class for these weights; each instance has its own copy."""
    import copy

    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class DigitsExtractor(FeatureExtractorBase):
        """The features of one digit classifier."""

        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.classifier = copy.deepcopy(classifier)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            """The layers that can be asked for."""
            return "64", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            """The layer that a metric uses if none is named."""
            return {"isc": "logits", "fid": "64", "kid": "64", "prc": "64"}[metric]

        @staticmethod
        def can_be_compiled() -> bool:
            """Not worth it at this size."""
            return False

        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
            """The requested layers (B, 64) or (B, K), float64, of uint8 images (B, 3, S, S)."""
            size = self.classifier.size
            if images.dtype != torch.uint8 or images.shape[1:] != (3, size, size):
                shape = tuple(images.shape)
                raise DimrError(
                    f"{self.name}: images are {images.dtype} {shape}; "
                    f"expected uint8 (B, 3, {size}, {size})"
                )
            logits, features = self.classifier(images)
            layers = {"64": features.double(), "logits": logits.double()}
            return tuple(layers[layer] for layer in self.features_list)

    return DigitsExtractor
