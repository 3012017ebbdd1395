"""A folder of images: shards, labels and manifest, an ADM-style .npz, and a grid to look at."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimr.data.shards import open_shards, write_shards
from dimr.files import atomic_directory
from dimr.progress import progress_bar
from dimr.sampling.grid import class_grid

SHARD_SIZE = 10_000


def write_samples(
    out: Path,
    batches: Iterable[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    key: str,
) -> None:
    """Write images (n, H, W, 3) uint8 that arrive in batches, with a progress bar.

    The folder holds ``00000.npy``..., ``labels.npy`` and ``manifest.json`` (see
    ``dimr.data.shards``), ``samples.npz`` with ``arr_0`` for other people's tools, and
    ``grid.png``.
    """
    with atomic_directory(out) as folder:
        with progress_bar(total=len(labels), description="sample", unit="image") as bar:

            def counted() -> Iterable[NDArray[np.uint8]]:
                for batch in batches:
                    yield batch
                    bar.update(len(batch))

            write_shards(
                folder,
                counted(),
                labels,
                kind="pixels",
                classes=len(class_names),
                class_names=class_names,
                scaling_factor=None,
                key=key,
                shard_size=SHARD_SIZE,
            )
        images = read_samples(folder)[0]
        np.savez(folder / "samples.npz", arr_0=images)
        class_grid(images, labels, class_names).save(folder / "grid.png")


def read_samples(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images (N, H, W, 3) uint8 and labels (N,); ``DimrError`` names a damaged file."""
    shards = open_shards(folder)
    arrays = shards.arrays
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)), shards.labels
