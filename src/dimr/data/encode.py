"""Images encoded as samples of a shard folder: posterior moments of an autoencoder, or pixels.

``encode_images`` does it for an array. For a source, ``encode_missing`` overlaps reading, encoding,
copying and writing: images are decoded and cropped by worker processes, encoded on the device,
fetched one batch behind, and written by one thread. Sample j of the result is image j, or, with
mirror images, image j // 2, mirrored if j is odd. Batches start again with each shard: what a shard
holds depends neither on the parts that the work was split into nor on where an earlier start was
interrupted. The size of a batch changes it only by rounding.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from dimr.config.schema import Latents
from dimr.data.autoencoder import (
    Autoencoder,
    as_pixels,
    is_identity,
    load_autoencoder,
    posterior_moments,
)
from dimr.data.image_arrays import ImagesManifest, load_images
from dimr.data.imagenet import ImageStore
from dimr.data.resumable_shards import Assembly, Part
from dimr.data.shards import ShardManifest, complete, shard_name, write_shard
from dimr.runtime.async_io import BackgroundWriter, Waits, one_behind, start_copy
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.record import read_record

Samples = NDArray[Any]
Fetch = Callable[[], Samples]
"""Waits for a batch that is being computed, and returns it."""
BATCH = 250
"""Images of an array that are encoded together, at most."""
DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Encoder:
    """The function from uint8 images to samples that a dataset's ``autoencoder`` folder defines.

    ``size`` is the side of the images; with ``mirror`` each is encoded mirrored too, in the same
    batch; ``dtype`` is what the autoencoder computes in.
    """

    folder: Path
    size: int
    device: torch.device
    mirror: bool = False
    dtype: str = "float32"

    @property
    def copies(self) -> int:
        """Samples of an image."""
        return 2 if self.mirror else 1

    @cached_property
    def kind(self) -> str:
        """Of the shards."""
        return "pixels" if is_identity(self.folder) else "posterior"

    @cached_property
    def shape(self) -> tuple[int, int, int]:
        """Of a sample, from the configuration only.

        ``DimrError`` if that is not one, or the size is not a multiple of its factor.
        """
        if self.kind == "pixels":
            return self.size, self.size, read_record(self.folder)["channels"]
        path = self.folder / "config.json"
        config = read_json(path)
        try:
            factor = 2 ** (len(config.get("block_out_channels", (64,))) - 1)
            channels = int(config.get("latent_channels", 4))
        except (AttributeError, TypeError, ValueError):
            raise DimrError(f"{path}: not the configuration of an autoencoder") from None
        if self.size % factor:
            raise DimrError(f"image_size: {self.size} is not a multiple of {factor} ({path})")
        return 2 * channels, self.size // factor, self.size // factor

    @cached_property
    def vae(self) -> Autoencoder | None:
        """The autoencoder; None for pixels."""
        if self.kind == "pixels":
            return None
        vae = load_autoencoder(self.folder, str(self.device))
        move = torch.nn.Module.to  # diffusers' own warns needlessly
        if self.device.type == "cuda":
            vae = move(vae, memory_format=torch.channels_last)  # fastest for convolutions
        return move(vae, DTYPES[self.dtype])

    @property
    def scaling_factor(self) -> float | None:
        """Of the manifest."""
        return None if self.vae is None else float(self.vae.config.scaling_factor)

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Fetch:
        """Begin to encode uint8 images (n, H, W, 3).

        The result is (n * copies, *shape): moments in float16, the copies of an image one after the
        other.
        """
        x = images.to(self.device, non_blocking=True) if self.vae is not None else images
        if self.mirror:
            x = torch.stack([x, x.flip(2)], dim=1).flatten(0, 1)
        if self.vae is None:
            pixels = as_pixels(self.folder, x.numpy())
            return lambda: pixels
        on_gpu = self.device.type == "cuda"
        layout = torch.channels_last if on_gpu else torch.contiguous_format
        x = (x.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(memory_format=layout)
        return start_copy(posterior_moments(self.vae, x).half().contiguous())


def encode_images(
    images_folder: Path,
    autoencoder_folder: Path,
    out_folder: Path,
    config: Latents,
    device: torch.device,
    key: str,
) -> ShardManifest:
    """Write the training images (``dimr.data.image_arrays``) into ``out_folder`` as shards.

    A shard has ``config.shard_size`` images, and with ``config.mirror`` the mirror image after each
    of them. ``key`` identifies the inputs.
    """
    images, labels = load_images(images_folder, "train")
    encode = Encoder(autoencoder_folder, images.shape[1], device, config.mirror)
    batch_size = min(BATCH, usual_batch(encode.size, device.type == "cuda"))
    shards: list[dict[str, Any]] = []
    with progress_bar(total=len(images), description="encode", unit="image") as bar:
        for start in range(0, len(images), config.shard_size):
            shard, parts = images[start : start + config.shard_size], []
            for first in range(0, len(shard), batch_size):
                batch = np.array(shard[first : first + batch_size])
                parts.append(encode(torch.from_numpy(batch))())
                bar.update(len(batch))
            path, samples = out_folder / shard_name(len(shards)), np.concatenate(parts)
            before = start * encode.copies
            shards.append(write_shard(path, samples, encode.kind, encode.shape, before, out_folder))
    return complete(
        out_folder,
        shards,
        np.repeat(labels, encode.copies),
        kind=encode.kind,
        shape=encode.shape,
        class_names=ImagesManifest.read(images_folder).class_names,
        key=key,
        scaling_factor=encode.scaling_factor,
    )


def usual_batch(size: int, on_gpu: bool) -> int:
    """Images per batch: about 10 GB of activations with mirror images on a GPU, else 2 GB."""
    return max(1, (1 << (21 if on_gpu else 18)) // size**2)


def encode_missing(
    store: ImageStore,
    encode: Encoder,
    assembly: Assembly,
    part: Part | None = None,
    *,
    batch: int,
    workers: int = 0,
    waits: Waits | None = None,
) -> int:
    """Make the shards (of a part) that are missing; return the number of images encoded.

    Args:
        store: the images.
        encode: encodes ``batch`` of them at a time.
        assembly: what is made, of ``encode.copies`` samples per image.
        part: of the shards; None: all.
        batch: images at a time.
        workers: processes that read images; 0: this one does.
        waits: for ``data``, ``device`` (a CPU computes meanwhile) and ``write``.

    Raises:
        DimrError: names an image that does not decode, or whose latent is not finite. Finished
            shards are kept.
    """
    missing, part, waits = assembly.missing(part), part or Part(), waits or Waits()
    if not missing:
        return 0
    copies = encode.copies
    images = {n: images_of(assembly, n, copies) for n in range(assembly.shards)[part.slice]}
    plan = {n: [images[n][i : i + batch] for i in range(0, len(images[n]), batch)] for n in missing}
    total, left = sum(map(len, images.values())), sum(len(images[n]) for n in missing)
    batches = list(itertools.chain.from_iterable(plan.values()))
    crops = _read_crops(store, encode, batches, workers, waits)

    def begun() -> Iterator[Fetch]:
        for pixels in crops:
            with waits.on("device"):
                fetch = encode(pixels)
            yield fetch

    results = one_behind(begun())
    bar = progress_bar(total=total, initial=total - left, description="encode", unit="image")
    with bar, BackgroundWriter(waits) as writer:
        for number, parts in plan.items():
            samples = assembly.samples(number)
            shard: Samples = np.empty((len(samples), *assembly.shape), assembly.dtype)
            for some in parts:
                fetch = next(results)
                with waits.on("device"):
                    found = fetch()
                first = some.start * copies
                _check_finite(found, first, store, copies, assembly.out)
                offset = first - samples.start  # -1: that copy is another shard's
                kept = slice(max(0, offset), min(len(shard), offset + len(found)))
                shard[kept] = found[kept.start - offset : kept.stop - offset]
                bar.update(len(some))
            writer.submit(assembly.write, number, shard)
    return left


def images_of(assembly: Assembly, number: int, copies: int) -> range:
    """Images of a shard, including one that has only one of its copies in it."""
    samples = assembly.samples(number)
    return range(samples.start // copies, -(-samples.stop // copies))


class Crops:
    """Batches of centre crops for the workers of a DataLoader: range -> uint8 (n, size, size, 3).

    An error is returned, not raised: a worker's exception would arrive as a traceback's text.
    """

    def __init__(self, store: ImageStore, size: int) -> None:
        self.store, self.size = store, size

    def __getitem__(self, numbers: Sequence[int]) -> Tensor | DimrError:
        try:
            crops = [self.store.crop(number, self.size) for number in numbers]
        except DimrError as error:
            return error
        return torch.from_numpy(np.stack(crops))


def _read_crops(
    store: ImageStore, encode: Encoder, batches: Sequence[range], workers: int, waits: Waits
) -> Iterator[Tensor]:
    """The crops of each batch. Worker processes start now, before there are any threads."""
    loader = iter(
        DataLoader(
            Crops(store, encode.size),  # type: ignore[arg-type]  # indexed by ranges
            batch_size=None,  # the sampler's items are batches already
            sampler=batches,
            collate_fn=_unchanged,
            num_workers=workers,
            pin_memory=encode.device.type == "cuda",
        )
    )

    def received() -> Iterator[Tensor]:
        for _ in batches:
            try:
                with waits.on("data"):
                    crops: Any = next(loader)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                raise DimrError(
                    "encode: a process that reads images was killed (out of memory, or of shared "
                    "memory?): use fewer --workers"
                ) from None
            if isinstance(crops, DimrError):
                raise crops
            yield crops

    return received()


def _unchanged(value: Any) -> Any:
    """Pass a worker's item on as it is (a named function, so that it can be pickled)."""
    return value


def _check_finite(found: Samples, first: int, store: ImageStore, copies: int, out: Path) -> None:
    """Name the image of the first sample that is not finite; ``first`` is their number."""
    if found.dtype.kind != "f" or np.isfinite(found).all():
        return
    bad = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
    image, mirrored = divmod(first + int(bad.argmax()), copies)
    name = store.name(image) + (", mirrored," if mirrored else "")
    raise DimrError(
        f"{out}: the latent of {name} is not finite in float16: the autoencoder is not usable, or "
        "only with dtype: float32"
    )
