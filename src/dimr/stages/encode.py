"""``dimr encode``: training images as latents (posterior moments), or as pixels, in shards."""

import argparse
import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.schema import ConfigModel, Latents, Pretrained, SourceLatents
from dimr.config.validation import validate
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml
from dimr.runtime.record import RECORD
from dimr.stages.job import Job
from dimr.stages.options import add_device, add_shards, batch_size, whole
from dimr.stages.shards import processes_for, run_processes
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost

log = logging.getLogger(__name__)


class EncodeStage(Stage):
    """A small dataset at once; a source's images shard by shard, so that it can resume."""

    name = "encode"
    about = "encode the training images to shards of posterior moments (or of pixels)"
    phase = "latents"
    config = Latents
    inputs = (Input("images"), Input("autoencoder"))
    outputs: ClassVar = {"out": Output("latents", "data/{dataset}/latents")}
    resource = "encode"
    resumes = True

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images and the autoencoder."""
        return {"images": target.images, "autoencoder": f"{target.data}/autoencoder"}

    def cost(self, target: Target) -> "Cost":
        """Posterior moments in float16, twice the latent's channels; or pixels in uint8."""
        from dimr.stages.costs import count_autoencoder, gpus

        recipe = target.recipe
        data, network = recipe.data, recipe.network
        copies = 2 if data.latents.mirror else 1
        images = copies * target.project.training_images(target.dataset)
        values = network.channels * network.input_size**2
        size = values if data.autoencoder.kind == "identity" else 2 * values * 2
        cost = replace(
            super().cost(target), resource=self.resource, images=images, disk=images * size
        )
        if not isinstance(data.autoencoder, Pretrained):
            return cost
        counted = count_autoencoder(target)
        return replace(
            cost,
            flops=2 * counted.encode * images,
            gpus=gpus(recipe, "encode"),
            assumed=counted.assumed,
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """How it is computed."""
        add_device(parser)
        add_shards(parser)
        parser.add_argument(
            "--batch",
            type=batch_size,
            help="images at a time; changes speed and memory only (default: by the images' size)",
        )
        parser.add_argument(
            "--workers",
            type=whole(0, 256),
            help="processes that read and crop images (default: one per thread; none for one)",
        )

    def load(self, path: Path) -> Any:
        """The configuration for a source's images, or for a small dataset's."""
        value = read_yaml(path)
        sized = isinstance(value, dict) and "image_size" in value
        kind: type[ConfigModel] = SourceLatents if sized else Latents
        return validate(kind, value, str(path))

    def work(self, job: Job) -> None:
        """Write the folder."""
        if isinstance(job.config, SourceLatents):
            self._source(job)
        elif job.options.shard or job.options.processes:
            raise DimrError(f"{job.path}: --shard and --processes are for a source's images")
        else:
            self._images(job)

    def _images(self, job: Job) -> None:
        """Encode images that are one array."""
        from dimr.data.encode import encode_images
        from dimr.data.shards import checksums

        options = job.options
        with job.result() as result:
            encode_images(
                options.images, options.autoencoder, result.folder, job.config, job.device, job.key
            )
            result.known = checksums(result.folder)

    def _source(self, job: Job) -> None:
        """What is missing of a source's images, or of a share of them."""
        from dimr.data.latent_folder import LatentWork
        from dimr.data.shards import checksums

        options, out = job.options, job.options.out
        images, autoencoder = options.images, options.autoencoder
        work = LatentWork(out, job.key, job.code, job.config, images, autoencoder, job.device)
        if work.assembly.is_complete() and (out / RECORD).is_file():
            log.info("%s: already complete", out)
            return
        work.announce()
        if options.shard is None:  # before this process claims everything: they claim shares
            processes = processes_for(options, job.device)
            run_processes(processes, options.device or job.device, options.threads)
        with work.assembly.claimed(options.shard):
            work.encode(options.shard, options.batch, options.workers)
            if options.shard is None:
                job.refuse_if_changed()
                work.finish(lambda folder, facts: job.seal(folder, checksums(folder), **facts))
