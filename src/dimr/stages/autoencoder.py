"""``dimr autoencoder``: what turns a dataset's images into latents and back."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.schema import AUTOENCODERS, Autoencoder, Identity, ImagesData, Pretrained
from dimr.config.validation import load_choice
from dimr.runtime.errors import DimrError
from dimr.stages.job import Job
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


class AutoencoderStage(Stage):
    """Trained on the dataset's images, a published one, or none: ``kind`` of its configuration."""

    name = "autoencoder"
    about = "train or fetch the autoencoder (or note that there is none)"
    phase = "autoencoder"
    config = Autoencoder
    inputs = (Input("images", "to train on", required=False),)
    outputs: ClassVar = {"out": Output("autoencoder", "data/{dataset}/autoencoder")}

    def sources(self, target: Target) -> dict[str, str]:
        """Images, unless the autoencoder is published or the dataset has ImageNet's size."""
        data = target.recipe.data
        is_own = isinstance(data, ImagesData) and not isinstance(data.autoencoder, Pretrained)
        return {"images": target.images} if is_own else {}

    def cost(self, target: Target) -> "Cost":
        """A published one takes disk; without one there is nothing to do."""
        from dimr.stages.costs import count_autoencoder

        cost, autoencoder = super().cost(target), target.recipe.data.autoencoder
        if not isinstance(autoencoder, Pretrained):
            return replace(cost, nothing=isinstance(autoencoder, Identity))
        counted = count_autoencoder(target)
        return replace(cost, disk=4 * counted.parameters, assumed=counted.assumed)

    def load(self, path: Path) -> Any:
        """The configuration of whichever kind."""
        return load_choice(AUTOENCODERS, path, "kind")

    def work(self, job: Job) -> None:
        """Write the folder."""
        from dimr.data.autoencoder import save_pretrained
        from dimr.data.image_arrays import load_images
        from dimr.data.train_autoencoder import train_autoencoder

        config, images = job.config, job.options.images
        if isinstance(config, Autoencoder) and images is None:
            raise DimrError("--images: is needed, as this autoencoder is trained on images")
        with job.result() as result:
            result.facts = config.model_dump()
            if isinstance(config, Pretrained):
                result.facts |= save_pretrained(config.repo, config.revision, result.folder)
            elif isinstance(config, Autoencoder):
                assert images is not None
                _ = job.device  # sets its threads
                result.facts = {"kind": "trained"}
                train_autoencoder(
                    load_images(images, "train")[0],
                    load_images(images, "heldout")[0],
                    result.folder,
                    config,
                )
