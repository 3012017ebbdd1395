"""FID, Inception Score, precision and recall through torch-fidelity, and the images they take.

The extractor is always named: torch-fidelity's defaults are one network for FID and Inception Score
and another for precision and recall. Nothing is read from or written to its cache.

- FID is the squared Frechet distance of two Gaussians fitted to D features. N images bias it by
  about D / N, so values compare only at equal counts.
- Inception Score is exp(mean KL(p(y|x) || p(y))) within each split, then the mean and standard
  deviation over splits. Split k of S is images kN/S to (k+1)N/S in the order given, as in the ADM
  suite; nothing is shuffled. The order must interleave the classes: a split of one class has the
  score 1, however good its images.
- Precision is the share of generated images within the reference's manifold, recall the share of
  the reference within that of the generated images. A manifold is the union of balls around its
  images, each up to its k-th nearest neighbour.
"""

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimr.errors import DimrError
from dimr.files import one_line


def check_images(
    images: np.ndarray, name: str, count: int | None = None, size: int | None = None
) -> np.ndarray:
    """Return ``images`` if they are uint8 (N, H, W, 3) with N > 0, else raise ``DimrError``.

    Args:
        images: what to check.
        name: a file or a set, as the message calls it.
        count: the N to insist on.
        size: the height and width to insist on.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        kind = images.dtype if isinstance(images, np.ndarray) else type(images).__name__
        raise DimrError(f"{name}: images are {kind}; expected a uint8 array")
    if images.ndim != 4 or images.shape[3] != 3 or 0 in images.shape:
        raise DimrError(f"{name}: images have shape {images.shape}; expected (N, H, W, 3)")
    if count is not None and len(images) != count:
        raise DimrError(f"{name}: {len(images)} images; expected {count}")
    if size is not None and images.shape[1:3] != (size, size):
        height, width = images.shape[1:3]
        raise DimrError(f"{name}: images are {height}x{width}; expected {size}x{size}")
    return images


def load_npz_images(path: str | Path) -> np.ndarray:
    """The images of an ADM-style ``.npz``: its ``arr_0``, uint8 (N, H, W, 3), read whole."""
    return check_images(_npz_arrays(path, ["arr_0"])[0], str(path))


def _npz_arrays(path: str | Path, names: list[str]) -> list[np.ndarray]:
    """Named arrays of a ``.npz``; a missing, damaged or foreign file raises ``DimrError``."""
    try:
        archive: Any = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DimrError(f"{path}: a single array; expected an .npz with {', '.join(names)}")
        with archive:
            for name in names:
                if name not in archive:
                    held = ", ".join(archive.files) or "nothing"
                    raise DimrError(f"{path}: holds {held}; expected an array {name}")
            return [archive[name] for name in names]
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DimrError(f"{path}: not readable as .npz ({one_line(error)})") from None


def image_tensor(images: np.ndarray) -> torch.Tensor:
    """A copy of uint8 images (..., H, W, 3) as a contiguous uint8 tensor (..., 3, H, W)."""
    return torch.from_numpy(np.moveaxis(images, -1, -3).copy())


class _ImageDataset(torch.utils.data.Dataset):
    """uint8 images (N, H, W, 3), possibly a memory map, as uint8 tensors (3, H, W)."""

    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return image_tensor(self.images[index])


def fidelity(
    images: np.ndarray,
    reference: np.ndarray,
    *,
    extractor: str,
    weights: str | Path | None = None,
    layer_fid: str | None = None,
    layer_isc: str | None = None,
    layer_prc: str | None = None,
    isc_splits: int = 10,
    batch_size: int = 64,
    cuda: bool = False,
    prc_neighborhood: int = 3,
) -> dict[str, float]:
    """``fid``, ``inception_score``, ``inception_score_std``, ``precision`` and ``recall``.

    Args:
        images: generated, uint8 (N, H, W, 3), classes interleaved.
        reference: real, uint8 (M, H, W, 3).
        extractor: the name of a registered extractor: ``inception-v3-compat``, or what
            ``register_digits_extractor`` returned.
        weights: the weights file that torch-fidelity's own extractors need (they would download
            it otherwise); ``None`` for extractors that carry theirs.
        layer_fid: feature layer of FID; ``None`` is the extractor's choice, here and below.
        layer_isc: layer of logits for the Inception Score.
        layer_prc: feature layer of precision and recall.
        isc_splits: splits S of the Inception Score.
        batch_size: images at a time through the extractor.
        cuda: run the extractor on the GPU.
        prc_neighborhood: the k of precision and recall.

    Raises:
        DimrError: wrong images, too few of them, an unknown extractor or layer, unusable weights.
    """
    import torch_fidelity

    _check_counts(images, reference, isc_splits, prc_neighborhood)
    options = _extractor_options(extractor, weights, batch_size, cuda)
    try:
        values = torch_fidelity.calculate_metrics(
            input1=_ImageDataset(images),  # the generated side: torch-fidelity's convention
            input2=_ImageDataset(reference),
            **_layer_options(extractor, isc=layer_isc, fid=layer_fid, prc=layer_prc),
            isc_splits=isc_splits,
            prc_neighborhood=prc_neighborhood,
            **options,
        )
    except np.linalg.LinAlgError as error:
        raise DimrError(f"{extractor}: its features give no FID ({one_line(error)})") from None
    found = {
        "fid": max(float(values["frechet_inception_distance"]), 0.0),  # rounding can leave -1e-9
        "inception_score": float(values["inception_score_mean"]),
        "inception_score_std": float(values["inception_score_std"]),
        "precision": float(values["precision"]),
        "recall": float(values["recall"]),
    }
    if not np.isfinite(list(found.values())).all():
        raise DimrError(f"{extractor}: its features give metrics that are not finite: {found}")
    return found


def class_accuracy(
    classifier: torch.nn.Module, images: np.ndarray, labels: np.ndarray, batch_size: int = 250
) -> float:
    """Share in [0, 1] of uint8 images (N, H, W, 3) that the classifier gives their label (N,).

    ``classifier`` takes uint8 (B, 3, H, W) and returns (logits (B, K), features), in its own mode.
    """
    check_images(images, "images")
    if labels.shape != (len(images),):
        raise DimrError(f"labels: shape {labels.shape}; expected ({len(images)},)")
    device = next(classifier.parameters()).device
    parts = (images[start : start + batch_size] for start in range(0, len(images), batch_size))
    with torch.no_grad():
        found = [classifier(image_tensor(part).to(device))[0].argmax(1).cpu() for part in parts]
    return float(np.mean(torch.cat(found).numpy() == labels))


def _check_counts(
    images: np.ndarray, reference: np.ndarray, isc_splits: int, neighborhood: int
) -> None:
    for name, array in (("generated images", images), ("reference images", reference)):
        if len(check_images(array, name)) <= neighborhood:
            raise DimrError(f"{name}: {len(array)} of them; expected more than {neighborhood}")
    if images.shape[1:] != reference.shape[1:]:
        own, other = images.shape[1:], reference.shape[1:]
        raise DimrError(f"generated images: {own} each; the reference images are {other}")
    if not 1 <= isc_splits <= len(images):
        raise DimrError(f"isc_splits: {isc_splits}; allowed are 1 to {len(images)}")
    if neighborhood < 1:
        raise DimrError(f"prc_neighborhood: {neighborhood}; expected at least 1")


def _extractor_options(
    extractor: str, weights: str | Path | None, batch_size: int, cuda: bool
) -> dict[str, Any]:
    """The arguments that every call into torch-fidelity gets (contract D); checks the weights."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as registry

    if extractor not in registry:
        raise DimrError(f"{extractor}: no such feature extractor; known are {', '.join(registry)}")
    built_in = registry[extractor].__module__.startswith("torch_fidelity.")
    if built_in and weights is None:
        raise DimrError(f"{extractor}: needs a weights file; without one it would be downloaded")
    if not built_in and weights is not None:
        raise DimrError(f"{extractor}: carries its own weights; {weights} would be ignored")
    if weights is not None:
        _check_weights(registry[extractor], extractor, Path(weights))
    return {
        "feature_extractor": extractor,
        "feature_extractor_weights_path": None if weights is None else str(weights),
        "batch_size": batch_size,
        "cuda": cuda,
        "cache": False,
        "save_cpu_ram": True,
        "samples_shuffle": False,
        "verbose": False,
    }


def _layer_options(extractor: str, **layers: str | None) -> dict[str, Any]:
    """torch-fidelity's arguments for these metrics; refuses layers that the extractor lacks."""
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY as registry

    provided = registry[extractor].get_provided_features_list()
    for layer in layers.values():
        if layer is not None and layer not in provided:
            raise DimrError(f"{extractor}: no layer {layer}; allowed are {', '.join(provided)}")
    named = {f"feature_layer_{metric}": layer for metric, layer in layers.items()}
    return {**dict.fromkeys(layers, True), **named}


def _check_weights(extractor_class: Any, name: str, path: Path) -> None:
    """Refuse a file that is more than tensors, which torch-fidelity would unpickle, or foreign."""
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except Exception as error:  # what a damaged pickle raises has no common class
        reason = one_line(error).split(". ")[0]
        raise DimrError(f"{path}: not readable as plain weights ({reason})") from None
    try:
        layer = extractor_class.get_provided_features_list()[0]
        extractor_class(name, [layer], feature_extractor_weights_path=str(path))
    except Exception as error:  # the same, for names and shapes that do not fit
        raise DimrError(f"{path}: not the weights of {name} ({one_line(error)[:200]})") from None
