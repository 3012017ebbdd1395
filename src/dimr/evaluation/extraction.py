"""Features of image sets through torch-fidelity's extractors, which are always named (contract D).

torch-fidelity's cache is neither read nor written. Its extractors get their batches from our loop:
images are read ahead in a thread, features are fetched one batch behind, and memory stays constant.
(Its own loop has no workers with ``save_cpu_ram``, and the features that it gathers keep the
allocator from reusing the images' memory: all of it stays resident.)
"""

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.evaluation.classifier import WEIGHTS, ImageClassifier, load_classifier
from dimr.evaluation.image_sets import ImageSet, image_tensor
from dimr.runtime.async_io import one_behind, prefetch, start_copy, to_device
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256, single_line
from dimr.runtime.progress import progress_bar

INCEPTION = "inception-v3-compat"
"""torch-fidelity's name of the network of the original FID, with TensorFlow's resizing."""
METRICS = ("isc", "fid", "prc")
SPATIAL = "mixed_6/conv"
"""ADM's name of sFID's layer, which torch-fidelity's Inception has but does not return."""
SPATIAL_CHANNELS = 7


def call_options(**options: Any) -> dict[str, Any]:
    """The arguments that every call into torch-fidelity gets, and ``options``."""
    fixed = {"cache": False, "save_cpu_ram": True, "samples_shuffle": False, "verbose": False}
    return {**fixed, **options}


def resolve_layers(extractor: str, chosen: Mapping[str, str] | None = None) -> dict[str, str]:
    """The layer of each metric (``isc``, ``fid``, ``prc``): as chosen, or the extractor's default.

    Inception has one for ``sfid`` too.

    Raises:
        DimrError: an unknown extractor or layer.
    """
    own, chosen = _extractor_class(extractor), chosen or {}
    provided = own.get_provided_features_list()
    for layer in chosen.values():
        if layer not in provided:
            raise DimrError(f"{extractor}: no layer {layer}; allowed are {', '.join(provided)}")
    layers = {
        metric: chosen.get(metric, own.get_default_feature_layer_for_metric(metric))
        for metric in METRICS
    }
    return {**layers, "sfid": SPATIAL} if extractor == INCEPTION else layers


def load_extractor(
    name: str, weights: str | Path | None, layers: Iterable[str], cuda: bool = False
) -> Any:
    """torch-fidelity's extractor of these layers, ready to run.

    Args:
        name: a registered extractor.
        weights: the weights file of torch-fidelity's own extractors (they would download it
            otherwise); None for those that carry theirs. It is a pickle, which torch-fidelity
            would run: it must first load as plain tensors.
        layers: names of the layers; duplicates are dropped, and ``SPATIAL`` is put last.
        cuda: put it on the GPU.

    Raises:
        DimrError: no such extractor; weights that are missing, unused, unsafe or of another model.
    """
    from torch_fidelity.utils import create_feature_extractor

    own = _extractor_class(name)
    built_in = own.__module__.startswith("torch_fidelity.")
    if built_in and weights is None:
        raise DimrError(f"{name}: needs a weights file; without one it would be downloaded")
    if not built_in and weights is not None:
        raise DimrError(f"{name}: carries its own weights; {weights} would be ignored")
    options = call_options(feature_extractor_weights_path=None if weights is None else str(weights))
    wanted = list(dict.fromkeys(layers))
    if weights is None:
        return create_feature_extractor(name, wanted, cuda=cuda, **options)
    _check_plain(Path(weights))
    given = [layer for layer in wanted if layer != SPATIAL]
    try:
        network = create_feature_extractor(name, given, cuda=False, **options)
    except Exception as error:  # errors of wrong names and shapes have no common class
        reason = single_line(error)[:200]
        raise DimrError(f"{weights}: not the weights of {name} ({reason})") from None
    network = _SpatialInception(network) if SPATIAL in wanted else network
    return network.cuda() if cuda else network


class _SpatialInception(torch.nn.Module):
    """Inception's layers, then ADM's spatial features: (B, 17 * 17 * 7), channels innermost.

    They are the first channels of Mixed_6d's 1x1 convolution, after its norm and ReLU
    (``mixed_6/conv:0`` of the TensorFlow graph), in TensorFlow's order, as ``mu_s`` is.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        network.Mixed_6d.branch1x1.register_forward_hook(self._keep)

    def _keep(self, _module: torch.nn.Module, _inputs: Any, output: Tensor) -> None:
        self.kept = output[:, :SPATIAL_CHANNELS].permute(0, 2, 3, 1).flatten(1)

    def get_requested_features_list(self) -> list[str]:
        """Names of the layers that it gives."""
        return [*self.network.get_requested_features_list(), SPATIAL]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The layers of uint8 images (B, 3, H, W)."""
        return (*self.network(images), self.kept)


@torch.no_grad()
def extract_features(
    images: ImageSet, network: Any, *, batch_size: int, cuda: bool, progress: bool = False
) -> dict[str, Tensor]:
    """Features (N, D) by layer, on the CPU, of images in their order.

    Convolutions are float32 on every device: cuDNN's rounding to TF32 is switched off meanwhile.

    Args:
        images: N of them.
        network: from ``load_extractor``; on the GPU with ``cuda``.
        batch_size: images at a time.
        cuda: run on the GPU.
        progress: show a progress bar.
    """
    count, layers = images.shape[0], network.get_requested_features_list()
    device = torch.device("cuda" if cuda else "cpu")
    found: dict[str, Tensor] = {}
    done = 0
    name = f"features of {Path(images.name).name}"
    with (
        _full_float32(),
        contextlib.closing(prefetch(map(image_tensor, images.batches(batch_size)))) as pieces,
        progress_bar(total=count, description=name, unit="image", shown=progress) as bar,
    ):
        for arrays in one_behind(_launched(pieces, network, device)):
            for layer, array in zip(layers, arrays, strict=True):
                values = torch.from_numpy(array())
                if layer not in found:
                    found[layer] = values.new_empty(count, *values.shape[1:])
                found[layer][done : done + len(values)] = values
            done += len(values)
            bar.update(len(values))
    return found


def _launched(
    pieces: Iterable[Tensor], network: Any, device: torch.device
) -> Iterator[list[Callable[[], NDArray[Any]]]]:
    """For each batch, functions that wait for the arrays of its layers."""
    for piece in pieces:
        yield [start_copy(layer) for layer in network(to_device(piece, device))]


def register_classifier(folder: str | Path, extractor: str = "digits") -> str:
    """Register the classifier in ``folder`` with torch-fidelity; return its name there.

    The name is ``extractor`` and the first digits of the weights' SHA-256: it identifies the
    features wherever a result quotes it, and registering the same weights again is no error. The
    weights are read now, so later changes to the folder have no effect.

    The extractor takes uint8 (B, 3, S, S) of the size S that the classifier was trained on. It
    provides ``64`` (FID, precision and recall) and ``logits`` (Inception Score), as float64:
    torch-fidelity computes in the dtype that it is given.

    Raises:
        DimrError: as ``load_classifier``.
    """
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    classifier = load_classifier(folder)
    name = f"{extractor}-{sha256(Path(folder) / WEIGHTS)[:12]}"
    if name not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(name, _classifier_extractor(classifier))
    return name


def _classifier_extractor(classifier: ImageClassifier) -> type:
    """A torch-fidelity extractor class for these weights; each instance has its own copy."""
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class ClassifierExtractor(FeatureExtractorBase):
        """The features of one classifier."""

        def __init__(self, name: str, features_list: list[str], **_: object) -> None:
            super().__init__(name, features_list)
            self.classifier = copy.deepcopy(classifier)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            """Names of its layers."""
            return "64", "logits"

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            """The layer that a metric uses by default."""
            return "logits" if metric == "isc" else "64"

        @staticmethod
        def can_be_compiled() -> bool:
            """Not worth it at this size."""
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            """The requested layers (B, 64) or (B, K), float64, of uint8 images (B, 3, S, S)."""
            size = self.classifier.size
            if images.dtype != torch.uint8 or images.shape[1:] != (3, size, size):
                raise DimrError(
                    f"{self.name}: images are {images.dtype} {tuple(images.shape)}; "
                    f"expected uint8 (B, 3, {size}, {size})"
                )
            logits, features = self.classifier(images)
            layers = {"64": features.double(), "logits": logits.double()}
            return tuple(layers[layer] for layer in self.features_list)

    return ClassifierExtractor


@contextlib.contextmanager
def _full_float32() -> Iterator[None]:
    """TF32 convolutions off; the other settings of cuDNN stay."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _extractor_class(name: str) -> Any:
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as registry

    if name not in registry:
        raise DimrError(f"{name}: no such feature extractor; known are {', '.join(registry)}")
    return registry[name]


def _check_plain(path: Path) -> None:
    """Refuse a file that is more than tensors."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except Exception as error:  # errors of damaged pickles have no common class
        reason = single_line(error).split(". ")[0]
        raise DimrError(f"{path}: not readable as plain weights ({reason})") from None
