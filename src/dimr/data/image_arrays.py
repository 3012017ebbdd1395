"""A folder of images of one size as arrays: training images and held-out ones.

The folder holds ``train.npy`` and ``heldout.npy`` (N, size, size, 3) uint8 in 0..255, their
``*_labels.npy`` (N,) int64 in 0..classes - 1, ``manifest.json``, ``captions.json`` if they have
captions (``dimr.data.text.image_captions``), and ``validation.npy`` if trials compare with some.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dimr.data.shards import MANIFEST, Checksum, Manifest, map_array
from dimr.data.text.image_captions import CAPTIONS, ImageCaptions, write_image_captions
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_array, sha256
from dimr.runtime.record import compare_files, verify

SPLITS = ("train", "heldout")
"""The splits that every folder has."""


class ImagesManifest(Manifest):
    """``manifest.json`` of a folder of images: ``files`` by name, ``counts`` by split."""

    format: Literal["dimr-images-1"]
    dataset: str
    size: int
    counts: dict[str, int]
    classes: int
    class_names: list[str]
    split: str
    key: str
    files: dict[str, Checksum]


def write_images(
    folder: Path,
    images: Mapping[str, Iterable[NDArray[np.uint8]]],
    labels: Mapping[str, NDArray[np.int64]],
    *,
    dataset: str,
    size: int,
    class_names: Sequence[str],
    split: str,
    key: str,
    captions: ImageCaptions | None = None,
) -> ImagesManifest:
    """Write the arrays, image by image, captions, and the manifest.

    Args:
        folder: an existing one.
        images: (size, size, 3) each, by split (``SPLITS``, and any others), as many as labels.
        labels: (N,) by split.
        dataset: what the images are.
        size: in pixels.
        class_names: by label.
        split: how it was made, in words.
        key: identifies what the folder holds.
        captions: of the images, in their order; None: they have none.
    """
    for name in labels:
        with open(folder / f"{name}.npy", "wb") as file:
            shape = (len(labels[name]), size, size, 3)
            head = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, head)
            for image in images[name]:
                file.write(image.tobytes())
        save_array(labels[name], folder / f"{name}_labels.npy")
    files = sorted(folder.glob("*.npy"))
    if captions is not None:
        write_image_captions(folder, captions)
        files.append(folder / CAPTIONS)
    return ImagesManifest.write(
        folder,
        format="dimr-images-1",
        dataset=dataset,
        size=size,
        counts={name: len(of_split) for name, of_split in labels.items()},
        classes=len(class_names),
        class_names=list(class_names),
        split=split,
        key=key,
        files={path.name: {"sha256": sha256(path)} for path in files},
    )


def load_images(folder: Path, split: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Memory-mapped images (N, size, size, 3) uint8 and labels (N,) int64 of one split.

    ``split`` is "train", "heldout" or another that the folder has. Shapes, dtypes and checksums are
    compared with the manifest; ``DimrError`` names the file that differs.
    """
    verify(folder, MANIFEST)
    manifest = ImagesManifest.read(folder)
    if split not in manifest.counts:
        raise DimrError(f"{folder}: no split {split!r}; use one of {', '.join(manifest.counts)}")
    names = f"{split}.npy", f"{split}_labels.npy"
    try:
        count, size = manifest.counts[split], manifest.size
        sums = {name: manifest.files[name].sha256 for name in names}
    except KeyError as error:
        raise DimrError(f"{folder / MANIFEST}: has no entry {error}") from None
    images = map_array(folder / names[0], (count, size, size, 3), "uint8")
    labels = map_array(folder / names[1], (count,), "int64")
    compare_files(folder, sums)
    return images, labels


def go_round(classes: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """All numbers: the first of each class, the second of each class that has one, and so on."""
    turns = np.concatenate([np.arange(len(numbers)) for numbers in classes])
    return np.concatenate(classes)[np.argsort(turns, kind="stable")]
