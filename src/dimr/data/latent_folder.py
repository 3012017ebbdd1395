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
from dimr.data.autoencoder import Images
from dimr.data.check_latents import check_latents
from dimr.data.encode import Encoder, encode_missing, images_of, usual_batch
from dimr.data.imagenet import ImageStore, verify
from dimr.data.resumable_shards import Assembly, Part
from dimr.runtime.async_io import Waits
from dimr.runtime.atomic import size_text
from dimr.runtime.files import key_of, sha256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LatentWork:
    """Work on one folder.

    ``source`` is the folder of the images (``ImageStore``); ``key`` is of configuration and inputs,
    ``code`` the fingerprint of the sources that decide the latents.
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
    def encoder(self) -> Encoder:
        """Encodes them."""
        config = self.config
        return Encoder(
            self.autoencoder, config.image_size, self.device, config.mirror, config.dtype
        )

    @functools.cached_property
    def assembly(self) -> Assembly:
        """The shards, with a key of everything that decides them except the device's rounding.

        ``self.key`` only says where weights and images come from; others may lie there by now.
        """
        weights = [*self.autoencoder.glob("config.json"), *self.autoencoder.glob("*.safetensors")]
        sums, manifest = [sha256(path) for path in sorted(weights)], self.store.manifest
        images = [manifest.index.model_dump(), [tar.model_dump() for tar in manifest.tars]]
        key = key_of(self.key, sums, images, self.code)
        count = len(self.store) * self.encoder.copies
        kind, shape = self.encoder.kind, self.encoder.shape
        return Assembly(self.out, key, kind, shape, count, self.config.shard_size)

    def announce(self) -> None:
        """Log what the folder takes, and refuse if there is no room for what is missing."""
        work = self.assembly
        log.info(
            "%s: %s %s of %s %s: %s; %d of %d shards exist",
            self.out, f"{work.count:,}", "latents" if work.kind == "posterior" else "images",
            "x".join(map(str, work.shape)), work.dtype, size_text(work.nbytes),
            work.shards - len(work.missing()), work.shards,
        )  # fmt: skip
        work.require_space()

    def encode(self, part: Part | None, batch: int | None, workers: int | None) -> None:
        """Make the missing shards of a part; None: the usual ``batch`` and ``workers``."""
        if not (missing := self.assembly.missing(part)):
            return
        verify(self.source, self._classes(missing))
        threads, waits = torch.get_num_threads(), Waits()
        started = time.perf_counter()
        images = encode_missing(
            self.store,
            self.encoder,
            self.assembly,
            part,
            batch=batch or usual_batch(self.config.image_size, self.device.type == "cuda"),
            workers=workers if workers is not None else threads * (threads > 1),
            waits=waits,
        )
        seconds = time.perf_counter() - started
        log.info(
            "%s: %s images in %.0f s, %.1f per second; waited for data %.0f%%, for the disk %.0f%%",
            self.out, f"{images:,}", seconds, images / seconds,
            *(100 * waits.seconds[cause] / seconds for cause in ("data", "write")),
        )  # fmt: skip

    def _classes(self, shards: Sequence[int]) -> set[int]:
        """The classes whose images are in shards: their tars will be read."""
        labels, found = self.store.labels, set[int]()
        for number in shards:
            images = images_of(self.assembly, number, self.encoder.copies)
            found.update(np.unique(labels[images.start : images.stop]).tolist())
        return found

    def finish(self, record: Callable[[Path, dict[str, Any]], None]) -> None:
        """Check the latents against their images, and put the folder in place.

        ``record`` is called with the folder, while it is hidden, and the facts to note.
        """

        def add(folder: Path) -> None:
            check = check_latents(folder, self.original, self.encoder.vae)
            facts = {name: value for name, value in check.items() if not isinstance(value, list)}
            record(folder, {"images": len(self.store), "check": facts})

        labels = np.repeat(self.store.labels, self.encoder.copies)
        scale = self.encoder.scaling_factor
        self.assembly.finish(labels, self.store.class_names, scale, add)

    def original(self, number: int) -> Images:
        """The crop (H, W, 3), mirrored or not, that belongs to sample ``number``."""
        image, mirrored = divmod(number, self.encoder.copies)
        return self.store.crop(image, self.config.image_size, bool(mirrored))
