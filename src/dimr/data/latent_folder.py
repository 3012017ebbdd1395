"""The folder of latents (or pixels) of a source's images, from announcement to check."""

import functools
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dimr.config.schema import SourceLatents
from dimr.data.autoencoder import Autoencoder, Images, as_pixels, load_autoencoder
from dimr.data.check_latents import check_latents, check_pixels
from dimr.data.encode import Encoding, PixelEncoder, PosteriorEncoder, stored_as, usual_batch
from dimr.data.imagenet import crop_pixels
from dimr.data.imagenet.store import ImageStore, verify
from dimr.data.resumable_shards import Assembly, Part
from dimr.runtime.files import key_of, sha256, size_text

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class LatentWork:
    """Work on one folder.

    Args:
        out: the folder.
        key: of its configuration and of what it is made of.
        code: fingerprint of the sources that decide the latents.
        config: what is made.
        source: folder of the images (``ImageStore``).
        autoencoder: its folder.
        device: where to compute.
    """

    out: Path
    key: str
    code: str
    config: SourceLatents
    source: Path
    autoencoder: Path
    device: torch.device

    @functools.cached_property
    def store(self) -> ImageStore:
        """The images."""
        return ImageStore(self.source)

    @functools.cached_property
    def vae(self) -> Autoencoder | None:
        """The autoencoder in the dtype to compute in; None for pixels."""
        if self.assembly.kind == "pixels":
            return None
        vae = load_autoencoder(self.autoencoder, str(self.device))
        return torch.nn.Module.to(vae, DTYPES[self.config.dtype])  # diffusers' own warns of nothing

    @property
    def copies(self) -> int:
        """Samples of an image."""
        return 2 if self.config.mirror else 1

    @functools.cached_property
    def work_key(self) -> str:
        """Identifies everything that decides the latents, but for the device's rounding.

        The key knows where weights and images come from; others may lie there by now.
        """
        weights = [*self.autoencoder.glob("config.json"), *self.autoencoder.glob("*.safetensors")]
        images = [self.store.manifest[name] for name in ("index", "tars")]
        return key_of(self.key, [sha256(path) for path in sorted(weights)], images, self.code)

    @functools.cached_property
    def assembly(self) -> Assembly:
        """The shards."""
        kind, shape = stored_as(self.autoencoder, self.config.image_size)
        count = len(self.store) * self.copies
        return Assembly(self.out, self.work_key, kind, shape, count, self.config.shard_size)

    def announce(self) -> None:
        """Say what the folder takes, and refuse if there is no room for what is missing of it."""
        work = self.assembly
        what = "latents" if work.kind == "posterior" else "images"
        shape = "x".join(map(str, work.shape))
        there = f"{work.shards - len(work.missing())} of {work.shards} shards are there"
        size = size_text(work.nbytes)
        log.info("%s: %s %s of %s %s: %s; %s",
                 self.out, f"{work.count:,}", what, shape, work.dtype, size, there)  # fmt: skip
        work.require_space()

    def encode(self, part: Part | None, batch: int | None, workers: int | None) -> None:
        """Make the missing shards of a part; ``batch`` and ``workers`` by default as is usual."""
        if not (missing := self.assembly.missing(part)):
            return
        verify(self.source, self._classes(missing))
        threads = torch.get_num_threads()
        encoding = Encoding(
            self.store,
            self.config.image_size,
            self.assembly,
            self._encoder(),
            batch or usual_batch(self.config.image_size, self.device.type == "cuda"),
            workers if workers is not None else threads * (threads > 1),
        )
        started = time.perf_counter()
        images = encoding.run(part)
        seconds = time.perf_counter() - started
        shares = {name: waited / seconds for name, waited in encoding.waits.seconds.items()}
        log.info(
            "%s: %s images in %.0f s, %.1f a second; waited for data %.0f%%, for the disk %.0f%%",
            self.out, f"{images:,}", seconds, images / seconds,
            100 * shares.get("data", 0), 100 * shares.get("write", 0),
        )  # fmt: skip

    def _classes(self, shards: Sequence[int]) -> set[int]:
        """The classes whose images are in shards: their tars will be read."""
        labels, found = self.store.labels, set[int]()
        for number in shards:
            samples = self.assembly.samples(number)
            images = slice(samples.start // self.copies, -(-samples.stop // self.copies))
            found.update(np.unique(labels[images]).tolist())
        return found

    def finish(self, record: Callable[[Path, dict[str, Any]], None]) -> None:
        """Check the latents against their images, and put the folder in place.

        ``record`` is called with the folder, while it is hidden, and the facts to note.
        """

        def add(folder: Path) -> None:
            if self.vae is None:
                check = check_pixels(folder, self.original)
            else:
                check = check_latents(folder, self.original, self.vae)
            facts = {name: value for name, value in check.items() if not isinstance(value, list)}
            record(folder, {"images": len(self.store), "check": facts})

        self.assembly.finish(
            np.repeat(self.store.labels, self.copies),
            self.store.class_names,
            None if self.vae is None else float(self.vae.config.scaling_factor),
            add,
        )

    def original(self, number: int) -> Images:
        """The crop (H, W, 3), mirrored or not, that sample ``number`` is of."""
        image, mirrored = divmod(number, self.copies)
        crop = crop_pixels(self.store, image, self.config.image_size)
        return crop[:, ::-1] if mirrored else crop

    def _encoder(self) -> PosteriorEncoder | PixelEncoder:
        if self.vae is None:
            convert = functools.partial(as_pixels, self.autoencoder)
            return PixelEncoder(convert, self.config.mirror)
        return PosteriorEncoder(self.vae, self.config.mirror)
