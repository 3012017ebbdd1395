"""A folder of images, made in pieces: shards, labels and manifest, an ADM-style .npz, and a grid.

The shards are those of ``dimr.data.shards``, assembled by ``dimr.data.resumable_shards``:
interrupted work resumes with the missing shards, and several processes or jobs may each make a
share.
"""

import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dimr.data.npz import write_npz
from dimr.data.resumable_shards import Assembly, Part
from dimr.data.shards import open_shards
from dimr.runtime.async_io import BackgroundWriter, Waits
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_png
from dimr.runtime.progress import progress_bar
from dimr.sampling.grid import overview
from dimr.sampling.sampler import in_batches

log = logging.getLogger(__name__)

SHARD_SIZE = 500
"""Images in a shard, which is what a killed job loses: minutes of one GPU, at 512 pixels too."""
ARCHIVE = "samples.npz"
GRID = "grid.png"


Draw = Callable[..., Iterator[NDArray[np.uint8]]]
"""The images of each of ``batches`` of numbers, uint8 (b, H, W, 3), in order; ``waits`` counts
waiting (``dimr.sampling.sampler.Sampler.draw``)."""


def plan(
    out: Path, key: str, side: tuple[int, int], count: int, shard_size: int | None = None
) -> Assembly:
    """Work on a folder of ``count`` images of ``side`` (H, W); ``key`` decides what they are."""
    return Assembly(out, key, "pixels", (*side, 3), count, shard_size or SHARD_SIZE)


def is_complete(assembly: Assembly) -> bool:
    """Whether the finished folder already exists, undamaged and with these very images."""
    files = [assembly.out / name for name in (ARCHIVE, GRID)]
    return assembly.is_complete() and all(file.is_file() for file in files)


def fill(assembly: Assembly, draw: Draw, batch: int, part: Part | None = None) -> Waits:
    """Make the shards that are missing, those of ``part`` if it is given.

    Batches end where shards do, so that it does not matter which shards existed before: image i is
    always drawn together with the same others. While a batch is drawn, the last shard is written.

    Args:
        assembly: the work.
        draw: makes images by their numbers.
        batch: images at a time, at most a shard.
        part: the share of the shards that is made; None: all.

    Returns:
        how long the loop waited for copies and writing.

    Raises:
        DimrError: no space for what is missing; a damaged shard.
        OSError: of writing.
    """
    missing = assembly.missing(part)
    _announce(assembly, missing, part)
    batches = [some for n in missing for some in in_batches(assembly.samples(n), batch)]
    own = range(assembly.shards)[(part or Part()).slice]
    total = sum(len(assembly.samples(n)) for n in own)
    left = sum(map(len, batches))
    waits, started = Waits(), time.perf_counter()
    images = draw(batches, waits=waits)
    with (
        progress_bar(total=total, initial=total - left, description="sample", unit="image") as bar,
        BackgroundWriter(waits) as writer,
    ):
        for number in missing:
            shard = np.empty((len(assembly.samples(number)), *assembly.shape), np.uint8)
            for places in in_batches(range(len(shard)), batch):
                found = next(images)
                if found.shape[1:] != assembly.shape:
                    raise DimrError(f"images of {found.shape[1:]}, not {assembly.shape}")
                shard[places[0] : places[-1] + 1] = found
                bar.update(len(found))
                writer.check()
            writer.submit(assembly.write, number, shard)
    if left:
        _report(left, time.perf_counter() - started, waits)
    return waits


def complete(
    assembly: Assembly,
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    *,
    named: bool = True,
    captioned: bool = False,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Add labels, manifest, ``samples.npz`` and ``grid.png``, and put the folder in place.

    Args:
        assembly: the work, with all shards made.
        labels: of the images.
        class_names: of all classes.
        named: whether the grid shows them.
        captioned: whether they are prompts, which the grid has below the images.
        add: called with the folder before it takes its final name, to put more into it.

    Raises:
        DimrError: shards that are missing or damaged; ``out`` is then as it was before.
    """

    def add_all(folder: Path) -> None:
        write_npz(folder, folder / ARCHIVE)
        save_png(overview(open_shards(folder), named, captioned), folder / GRID)
        if add is not None:
            add(folder)

    assembly.finish(labels, class_names, add=add_all)


def write_samples(
    out: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    class_names: Sequence[str],
    key: str,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write existing images (N, H, W, 3); arguments as for ``plan`` and ``complete``."""
    assembly = plan(out, key, images.shape[1:3], len(images))
    shutil.rmtree(assembly.folder, ignore_errors=True)  # from an interrupted attempt: not trusted

    def take(batches: Iterable[Sequence[int]], **_: Waits) -> Iterator[NDArray[np.uint8]]:
        return (images[numbers[0] : numbers[-1] + 1] for numbers in batches)

    fill(assembly, take, SHARD_SIZE)
    complete(assembly, labels, class_names, add=add)


def read_samples(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All images (N, H, W, 3) uint8 and labels (N,); ``DimrError`` names a damaged file."""
    shards = open_shards(folder)
    arrays = shards.arrays
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays)), shards.labels


def _announce(assembly: Assembly, missing: Sequence[int], part: Part | None) -> None:
    """Log what there is to do, and refuse to begin without the space for it."""
    assembly.require_space(assembly.nbytes if part is None else 0)
    log.info(
        "%s: %d images in %d shards of %.2g GB together, and %s as large; %d shards to do%s",
        assembly.out,
        assembly.count,
        assembly.shards,
        assembly.nbytes / 1e9,
        ARCHIVE,
        len(missing),
        f" in part {part.index + 1}/{part.count}" if part else "",
    )
    for other in assembly.out.parent.glob(f".{assembly.out.name}.part-*"):
        if other != assembly.folder:
            log.info("%s: made with other weights, settings or code; not resumed", other)


def _report(images: int, seconds: float, waits: Waits) -> None:
    stood = ", ".join(f"{what} {share / seconds:.1%}" for what, share in waits.seconds.items())
    log.info(
        "%d images in %.1f s: %.3g images/s; waited for %s",
        images, seconds, images / seconds, stood or "nothing",
    )  # fmt: skip
