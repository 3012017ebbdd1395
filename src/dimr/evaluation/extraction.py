"""Features of image sets through torch-fidelity's extractors, which are always named (contract D).

Nothing is read from or written to torch-fidelity's cache. Its extractors get their batches from a
loop of ours: images are read ahead in a thread, features are fetched one batch behind, and memory
stays constant. (Its own loop has no workers with ``save_cpu_ram``, and the features that it gathers
keep the allocator from using the memory of images again: all of them stay resident.)
"""

import collections
import contextlib
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from dimr.evaluation.image_sets import ImageSet, image_tensor
from dimr.runtime.async_io import start_copy, to_device
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar

INCEPTION = "inception-v3-compat"
"""torch-fidelity's name of the network of the original FID, with TensorFlow's resizing."""
METRICS = ("isc", "fid", "prc")
READ_AHEAD = 4  # batches

T = TypeVar("T")


def call_options(**options: Any) -> dict[str, Any]:
    """The arguments that every call into torch-fidelity gets, and ``options``."""
    fixed = {"cache": False, "save_cpu_ram": True, "samples_shuffle": False, "verbose": False}
    return {**fixed, **options}


def resolve_layers(extractor: str, **chosen: str | None) -> dict[str, str]:
    """The layer of each metric (``isc``, ``fid``, ``prc``): as chosen, or the extractor's choice.

    Raises:
        DimrError: an extractor or layer that is not there.
    """
    own = _extractor_class(extractor)
    provided = own.get_provided_features_list()
    for layer in chosen.values():
        if layer is not None and layer not in provided:
            raise DimrError(f"{extractor}: no layer {layer}; allowed are {', '.join(provided)}")
    return {
        metric: chosen.get(metric) or own.get_default_feature_layer_for_metric(metric)
        for metric in METRICS
    }


def load_extractor(
    name: str, weights: str | Path | None, layers: Iterable[str], cuda: bool = False
) -> Any:
    """torch-fidelity's extractor of these layers, ready to run.

    Args:
        name: a registered extractor.
        weights: the weights file of torch-fidelity's own extractors (they would download it
            otherwise); None for those that carry theirs. It is a pickle, which torch-fidelity
            would run: it must first load as plain tensors.
        layers: names of the layers; each once, whatever is given.
        cuda: put it on the GPU.

    Raises:
        DimrError: no such extractor, weights that are missing, not wanted, unsafe or foreign.
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
    try:
        network = create_feature_extractor(name, wanted, cuda=False, **options)
    except Exception as error:  # what names and shapes that do not fit raise has no common class
        reason = single_line(error)[:200]
        raise DimrError(f"{weights}: not the weights of {name} ({reason})") from None
    return network.cuda() if cuda else network


@torch.no_grad()
def extract_features(
    images: ImageSet, network: Any, *, batch_size: int, cuda: bool, progress: bool = False
) -> dict[str, Tensor]:
    """Features (N, D) by layer, on the CPU, of images in their order.

    Convolutions are float32 on every device: cuDNN's rounding to TF32 is switched off meanwhile.

    Args:
        images: N of them.
        network: of ``load_extractor``, on the GPU with ``cuda``.
        batch_size: images at a time.
        cuda: run on the GPU.
        progress: show how far it is.
    """
    count, layers = images.shape[0], network.get_requested_features_list()
    found: dict[str, Tensor] = {}
    done = 0
    name = f"features of {Path(images.name).name}"
    with (
        _full_float32(),
        contextlib.closing(read_ahead(map(image_tensor, images.batches(batch_size)))) as pieces,
        progress_bar(total=count, description=name, unit="image", shown=progress) as bar,
    ):
        for arrays in _one_behind(_launched(pieces, network, "cuda" if cuda else "cpu")):
            for layer, array in zip(layers, arrays, strict=True):
                values = torch.from_numpy(array())
                if layer not in found:
                    found[layer] = values.new_empty(count, *values.shape[1:])
                found[layer][done : done + len(values)] = values
            done += len(values)
            bar.update(len(values))
    return found


def _launched(
    pieces: Iterable[Tensor], network: Any, device: str
) -> Iterator[list[Callable[[], NDArray[Any]]]]:
    """For each batch, functions that wait for the arrays of its layers."""
    for piece in pieces:
        layers = network(to_device(piece, torch.device(device)))
        yield [start_copy(layer) if layer.is_cuda else layer.numpy for layer in layers]


def _one_behind(items: Iterable[T]) -> Iterator[T]:
    """The same items, each when the next one is there."""
    held: list[T] = []
    for item in items:
        yield from held
        held = [item]
    yield from held


def read_ahead(items: Iterable[T], depth: int = READ_AHEAD) -> Generator[T, None, None]:
    """The same items, the next ``depth`` of which are made in a thread; its errors are raised."""
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        pending = collections.deque(pool.submit(next, source, end) for _ in range(depth))
        while (item := pending.popleft().result()) is not end:
            pending.append(pool.submit(next, source, end))
            yield item  # type: ignore[misc]


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
    except Exception as error:  # what a damaged pickle raises has no common class
        reason = single_line(error).split(". ")[0]
        raise DimrError(f"{path}: not readable as plain weights ({reason})") from None
