"""``dimr baseline``: real images and reconstructions, in the form of samples: the sanity rows."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from dimr.config.runs import BASELINE_SETTING, BASELINES
from dimr.config.schema import BaselineConfig
from dimr.runtime.errors import DimrError
from dimr.stages.options import add_device
from dimr.stages.stage import Input, Job, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


class BaselineStage(Stage):
    """The dataset's training images, as they are or through the autoencoder."""

    name = "baseline"
    about = "real images or reconstructions, in the form of samples"
    phase = f"sample-{BASELINE_SETTING}"
    config = BaselineConfig
    inputs = (
        Input("images"),
        Input("autoencoder", "for reconstructions", required=False),
    )
    outputs: ClassVar = {"out": Output("samples", f"runs/{{run}}/samples/{BASELINE_SETTING}")}
    wildcards: ClassVar = {"run": rf"[\w-]+/(?:{'|'.join(BASELINES)})/(?:0|[1-9]\d*)"}

    @property
    def log(self) -> str:
        """As those of samples."""
        return f"{self.folder.removeprefix('runs/')}/{self.phase}"

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images; for reconstructions the autoencoder too."""
        images = {"images": target.images}
        if target.run.name.split("/")[1] == "real":
            return images
        return {**images, "autoencoder": f"{target.data}/autoencoder"}

    def cost(self, target: Target) -> "Cost":
        """Shards of uint8 images, and the same as .npz."""
        from dimr.stages.costs import image_bytes

        disk = 2 * target.recipe.sample.count * image_bytes(target.recipe)
        return replace(super().cost(target), setting=BASELINE_SETTING, disk=disk)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Where to compute."""
        add_device(parser)

    def work(self, job: Job) -> None:
        """Write the folder."""
        import numpy as np

        from dimr.data.autoencoder import is_identity, load_autoencoder, reconstruct
        from dimr.data.classes import short_class_names
        from dimr.data.image_arrays import load_images
        from dimr.data.shards import checksums
        from dimr.sampling.folder import write_samples

        options, config = job.options, job.config
        images, labels = load_images(options.images, "train")
        if config.count > len(images):
            raise DimrError(
                f"{job.path}: count {config.count} is more than the {len(images)} training images"
            )
        chosen = np.array(images[: config.count])
        if config.source == "reconstruction":
            if options.autoencoder is None:
                raise DimrError("baseline: reconstructions need --autoencoder")
            if not is_identity(options.autoencoder):
                vae = load_autoencoder(options.autoencoder, str(job.device))
                chosen = reconstruct(vae, chosen)

        def add(folder: Path) -> None:
            job.seal(folder, checksums(folder), config=config.model_dump(mode="json"))

        names = short_class_names(int(labels.max()) + 1)
        write_samples(options.out, chosen, np.array(labels[: config.count]), names, job.key, add)
