"""``dimr baseline``: real images and reconstructions, in the form of samples: the sanity rows."""

import argparse
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.runs import BASELINE_SETTING, BASELINES
from dimr.config.schema import BaselineConfig, Pretrained
from dimr.runtime.errors import DimrError
from dimr.runtime.record import RECORD
from dimr.stages.job import Job
from dimr.stages.options import add_device
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

log = logging.getLogger(__name__)


class BaselineStage(Stage):
    """The dataset's training images, as they are or through the autoencoder.

    A source's are written shard by shard: an interrupted command resumes.
    """

    name = "baseline"
    about = "real images or reconstructions, in the form of samples"
    phase = f"sample-{BASELINE_SETTING}"
    config = BaselineConfig
    inputs = (
        Input("images", "raw images, or the store of a source's (dimr data)"),
        Input("autoencoder", "for reconstructions", required=False),
    )
    outputs: ClassVar = {"out": Output("samples", f"runs/{{run}}/samples/{BASELINE_SETTING}")}
    resource = "encode"
    resumes = True
    wildcards: ClassVar = {"run": rf"[\w-]+/(?:{'|'.join(BASELINES)})/(?:0|[1-9]\d*)"}

    @property
    def log(self) -> str:
        """Like those of samples."""
        return f"{self.folder.removeprefix('runs/')}/{self.phase}"

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images; for reconstructions the autoencoder too."""
        images = {"images": target.images}
        if target.run.name.split("/")[1] == "real":
            return images
        return {**images, "autoencoder": f"{target.data}/autoencoder"}

    def cost(self, target: Target) -> "Cost":
        """Shards of uint8 images, and the same as .npz; a published autoencoder's passes."""
        from dimr.stages.costs import count_autoencoder, gpus, image_bytes

        recipe, count = target.recipe, target.recipe.sample.count
        disk = 2 * count * image_bytes(recipe)
        cost = replace(super().cost(target), setting=BASELINE_SETTING, images=count, disk=disk)
        is_encoded = "autoencoder" in self.sources(target)
        if not is_encoded or not isinstance(recipe.data.autoencoder, Pretrained):
            return cost
        counted = count_autoencoder(target)
        return replace(
            cost,
            resource=self.resource,
            flops=2 * (counted.encode + counted.decode) * count,
            gpus=gpus(recipe, "encode"),
            assumed=counted.assumed,
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Where to compute."""
        add_device(parser)

    def work(self, job: Job) -> None:
        """Write the folder."""
        if job.config.image_size is None:
            self._array(job)
        else:
            self._source(job)

    def _array(self, job: Job) -> None:
        """Take images that are one array."""
        import numpy as np

        from dimr.data.autoencoder import reconstruct
        from dimr.data.image_arrays import ImagesManifest, load_images
        from dimr.sampling.folder import write_samples
        from dimr.sampling.own_images import in_turn

        options, config = job.options, job.config
        images, labels = load_images(options.images, "train")
        _check_count(job, len(images))
        numbers = in_turn(labels, config.count, shuffled=False)
        chosen = np.array(images[numbers])
        if (vae := _autoencoder(job)) is not None:
            chosen = reconstruct(vae, chosen)
        names = ImagesManifest.read(options.images).class_names
        write_samples(options.out, chosen, labels[numbers], names, job.key, _sealing(job))

    def _source(self, job: Job) -> None:
        """Take what is missing of a source's images, shard by shard."""
        import numpy as np

        from dimr.data.imagenet import ImageStore, verify
        from dimr.runtime.files import key_of, sha256
        from dimr.sampling import folder as samples
        from dimr.sampling.own_images import StoredImages, in_turn

        options, config = job.options, job.config
        store = ImageStore(options.images)
        _check_count(job, len(store))
        numbers = in_turn(store.labels, config.count, shuffled=True)
        files = sorted(options.autoencoder.glob("*.safetensors")) if options.autoencoder else []
        manifest = store.manifest.model_dump(include={"index", "tars"})
        key = key_of(job.key, manifest, list(map(sha256, files)), job.code)
        work = samples.plan(options.out, key, (config.image_size,) * 2, config.count)
        if samples.is_complete(work) and (options.out / RECORD).is_file():
            log.info("%s: complete, with all of its images: nothing to do", options.out)
            return
        work.require_space(work.nbytes)  # for the .npz too
        with work.claimed():
            wanted = [number for shard in work.missing() for number in work.samples(shard)]
            verify(options.images, set(store.labels[numbers[wanted]].tolist()))
            own = StoredImages(store, numbers, config.image_size, _autoencoder(job))
            samples.fill(work, own.draw, min(own.batch, work.shard_size))
            labels = np.array(store.labels[numbers])
            samples.complete(work, labels, store.class_names, add=_sealing(job))


def _check_count(job: Job, images: int) -> None:
    if job.config.count > images:
        problem = f"count {job.config.count} is more than the {images} training images"
        raise DimrError(f"{job.path}: {problem}")


def _autoencoder(job: Job) -> Any:
    """What reconstructs the images; None: they stay as they are."""
    from dimr.data.autoencoder import is_identity, load_autoencoder

    folder = job.options.autoencoder
    if job.config.source == "real":
        return None
    if folder is None:
        raise DimrError("baseline: reconstructions need --autoencoder")
    return None if is_identity(folder) else load_autoencoder(folder, str(job.device))


def _sealing(job: Job) -> Callable[[Path], None]:
    from dimr.data.shards import checksums

    config = job.config.model_dump(mode="json")
    return lambda folder: job.seal(folder, checksums(folder), config=config)
