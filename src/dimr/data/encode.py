"""Latents of a whole source of images, shard by shard: read, encoded, copied and written at once.

Images are decoded and cropped by worker processes, encoded on the device, fetched one batch behind
(so that a GPU has its next batch before the last is looked at), and written by one thread. Sample j
of the result is image j, or, with mirror images, image j // 2, mirrored if j is odd. Batches begin
anew with each shard: what a shard holds depends neither on the parts that the work was split into
nor on where an earlier start was interrupted. The size of a batch changes it by rounding alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from dimr.data.autoencoder import Autoencoder, Images, is_identity, posterior_moments
from dimr.data.imagenet import crop_pixels
from dimr.data.resumable_shards import Assembly, Part
from dimr.runtime.async_io import BackgroundWriter, Waits, start_copy
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json
from dimr.runtime.progress import progress_bar
from dimr.runtime.record import read_record

Samples = NDArray[Any]
Fetch = Callable[[], Samples]
"""Waits for a batch that is being computed, and returns it."""


class Store(Protocol):
    """Images by number, as ``dimr.data.imagenet.ImageStore`` has them."""

    def __len__(self) -> int:
        """How many."""

    def image(self, number: int) -> Any:
        """A PIL image in RGB; ``DimrError`` names the file that does not decode."""

    def name(self, number: int) -> str:
        """What people call it."""


class Encoder(Protocol):
    """From images to samples: ``copies`` of each, one after the other."""

    copies: int

    def __call__(self, images: torch.Tensor) -> Fetch:
        """Begin with uint8 (n, H, W, 3); the result is (n * copies, *shape of a sample)."""


def stored_as(autoencoder: Path, size: int) -> tuple[str, tuple[int, int, int]]:
    """Kind and shape of the samples of images of side ``size``, from an autoencoder's folder.

    ``DimrError`` if its configuration does not say, or the side is no multiple of its factor.
    """
    if is_identity(autoencoder):
        return "pixels", (size, size, read_record(autoencoder)["channels"])
    path = autoencoder / "config.json"
    config = read_json(path)
    try:
        factor = 2 ** (len(config.get("block_out_channels", (64,))) - 1)
        channels = int(config.get("latent_channels", 4))
    except (AttributeError, TypeError, ValueError):
        raise DimrError(f"{path}: not the configuration of an autoencoder") from None
    if size % factor:
        raise DimrError(f"image_size: {size} is no multiple of {factor}, as {path} needs")
    return "posterior", (2 * channels, size // factor, size // factor)


def usual_batch(size: int, on_gpu: bool) -> int:
    """Images at a time: with their mirror images about 10 GB of activations on a GPU, 2 GB else."""
    return max(1, (1 << (21 if on_gpu else 18)) // size**2)


class PosteriorEncoder:
    """Moments (2C, h, w) float16 of an autoencoder's posterior.

    Args:
        vae: on its device, in the dtype to compute in.
        mirror: also of the mirror image, in the same batch.
    """

    def __init__(self, vae: Autoencoder, mirror: bool) -> None:
        self.vae, self.copies = vae, 2 if mirror else 1
        self.on_gpu = vae.device.type == "cuda"
        if self.on_gpu:  # the layout that its convolutions are fastest in
            torch.nn.Module.to(vae, memory_format=torch.channels_last)

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> Fetch:
        """As ``Encoder``."""
        x = images.to(self.vae.device, non_blocking=True).permute(0, 3, 1, 2).float() / 127.5 - 1
        if self.copies == 2:
            x = torch.stack([x, x.flip(3)], dim=1).flatten(0, 1)
        layout = torch.channels_last if self.on_gpu else torch.contiguous_format
        moments = posterior_moments(self.vae, x.contiguous(memory_format=layout)).half()
        if not self.on_gpu:
            return moments.cpu().numpy
        return start_copy(moments.contiguous())


class PixelEncoder:
    """The images themselves; ``convert`` checks them and picks their channels."""

    def __init__(self, convert: Callable[[Images], Images], mirror: bool) -> None:
        self.convert, self.copies = convert, 2 if mirror else 1

    def __call__(self, images: torch.Tensor) -> Fetch:
        """As ``Encoder``."""
        pixels = self.convert(images.numpy())
        if self.copies == 2:
            pixels = np.stack([pixels, pixels[:, :, ::-1]], axis=1).reshape(-1, *pixels.shape[1:])
        return lambda: pixels


class Crops:
    """Batches of centre crops for the workers of a DataLoader: range -> uint8 (n, size, size, 3).

    An error is returned, not raised: a worker's exception would arrive as a traceback's text.
    """

    def __init__(self, store: Store, size: int) -> None:
        self.store, self.size = store, size

    def __getitem__(self, numbers: Sequence[int]) -> torch.Tensor | DimrError:
        try:
            crops = [crop_pixels(self.store, number, self.size) for number in numbers]
        except DimrError as error:
            return error
        return torch.from_numpy(np.stack(crops))


@dataclass(frozen=True)
class _Batch:
    """Images that are encoded together; they are the first or last of their shard, or not."""

    shard: int
    images: range
    first: bool
    last: bool


@dataclass
class Encoding:
    """The work on one folder of latents.

    Args:
        store: the images.
        size: side of the centre crop.
        assembly: what is made, of ``encoder.copies`` samples an image.
        encoder: makes them.
        batch: images at a time.
        workers: processes that read images; 0: this one does.
        waits: what the main thread stood still for: "data", "device" (a CPU computes), "write".
    """

    store: Store
    size: int
    assembly: Assembly
    encoder: Encoder
    batch: int
    workers: int = 0
    waits: Waits = field(default_factory=Waits)

    def run(self, part: Part | None = None) -> int:
        """Make the shards (of a part) that are missing; return the number of images encoded.

        ``DimrError`` names an image that does not decode, or whose latent is not finite. Shards
        that were finished before are kept.
        """
        missing, part = self.assembly.missing(part), part or Part()
        own = range(part.index, self.assembly.shards, part.count)
        total, left = (sum(len(self._images(n)) for n in shards) for shards in (own, missing))
        if not missing:
            return 0
        batches = self._batches(missing)  # the workers start before the writer's thread does
        with (
            progress_bar(
                total=total, initial=total - left, description="encode", unit="image"
            ) as bar,
            BackgroundWriter(self.waits) as writer,
        ):
            samples: Samples = np.empty(0)
            for batch, fetch in batches:
                if batch.first:
                    shape = (len(self.assembly.samples(batch.shard)), *self.assembly.shape)
                    samples = np.empty(shape, self.assembly.dtype)
                self._take(samples, batch, fetch)
                bar.update(len(batch.images))
                if batch.last:
                    writer.submit(self.assembly.write, batch.shard, samples)
        return left

    def _images(self, number: int) -> range:
        """Images of a shard; where it begins or ends between two copies, that image too."""
        samples, copies = self.assembly.samples(number), self.encoder.copies
        return range(samples.start // copies, -(-samples.stop // copies))

    def _plan(self, missing: Sequence[int]) -> Iterator["_Batch"]:
        """The images in the order in which they are encoded; no batch is of two shards."""
        for number in missing:
            images = self._images(number)
            for start in range(0, len(images), self.batch):
                stop = start + self.batch
                yield _Batch(number, images[start:stop], start == 0, stop >= len(images))

    def _batches(self, missing: Sequence[int]) -> Iterator[tuple["_Batch", Fetch]]:
        """Each batch and its pending result, one behind the encoder."""
        plan = list(self._plan(missing))
        loader = iter(self._loader([batch.images for batch in plan]))

        def stream() -> Iterator[tuple[_Batch, Fetch]]:
            behind = None
            for batch in plan:
                crops = self._next(loader)
                if isinstance(crops, DimrError):
                    if behind:
                        yield behind  # it may complete a shard
                    raise crops
                with self.waits.on("device"):
                    fetch = self.encoder(crops)
                if behind:
                    yield behind
                behind = batch, fetch
            if behind:
                yield behind

        return stream()

    def _loader(self, batches: Sequence[range]) -> "DataLoader[Any]":
        return DataLoader(
            Crops(self.store, self.size),  # type: ignore[arg-type]  # indexed by ranges
            batch_size=None,  # the sampler's items are batches already
            sampler=batches,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            pin_memory=getattr(self.encoder, "on_gpu", False),
        )

    def _next(self, loader: Iterator[Any]) -> Any:
        try:
            with self.waits.on("data"):
                return next(loader)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise DimrError(
                f"{self.assembly.out}: a process that reads images was killed (out of memory, or "
                "of shared memory?): use fewer --workers"
            ) from None

    def _take(self, samples: Samples, batch: "_Batch", fetch: Fetch) -> None:
        """Wait for a batch and put its samples in their places of the shard."""
        with self.waits.on("device"):
            found = fetch()
        begin = batch.images.start * self.encoder.copies
        self._check_finite(found, begin)
        offset = begin - self.assembly.samples(batch.shard).start  # -1: that copy is not its own
        kept = slice(max(0, offset), min(len(samples), offset + len(found)))
        samples[kept] = found[kept.start - offset : kept.stop - offset]

    def _check_finite(self, found: Samples, first: int) -> None:
        if found.dtype.kind != "f" or np.isfinite(found).all():
            return
        bad = ~np.isfinite(found.reshape(len(found), -1)).all(axis=1)
        image, mirrored = divmod(first + int(bad.argmax()), self.encoder.copies)
        name = self.store.name(image) + (", mirrored," if mirrored else "")
        raise DimrError(
            f"{self.assembly.out}: the latent of {name} is not finite in float16: the autoencoder "
            "is not usable, or only with dtype: float32"
        )


def _as_it_is(value: Any) -> Any:
    """What a worker hands over (a named function, so that it can be sent to one)."""
    return value
