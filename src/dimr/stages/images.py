"""``dimr images``: the raw images of a dataset, and their split."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dimr.config.schema import EMBEDDED, ConfigModel, DigitPairs, Images, ImagesData
from dimr.config.validation import validate
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml
from dimr.stages.job import Job
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


class ImagesStage(Stage):
    """scikit-learn's digits, single or in pairs, or a source's images: training and held-out."""

    name = "images"
    about = "write the raw images and their split"
    phase = "images"
    config = ConfigModel
    inputs = (Input("source", "the stored images of a source (dimr data)", required=False),)
    outputs: ClassVar = {"out": Output("images", "data/{dataset}/images")}
    is_short = True

    def sources(self, target: Target) -> dict[str, str]:
        """The source; none for the digits."""
        data = target.recipe.data
        if not isinstance(data, ImagesData) or data.source_name is None:
            return {}
        return {"source": f"data/{data.source_name}/source"}

    def cost(self, target: Target) -> "Cost":
        """The two arrays; 24 GB for MS-COCO."""
        from dimr.stages.costs import image_bytes

        project, dataset = target.project, target.dataset
        images = project.training_images(dataset) + project.heldout_images(dataset)
        return replace(super().cost(target), disk=images * image_bytes(target.recipe))

    def load(self, path: Path) -> Any:
        """The configuration for the digits, or for a source's images."""
        value = read_yaml(path)
        named = value.get("source") if isinstance(value, dict) else None
        section: Any = EMBEDDED.get(str(named), Images)
        return validate(section, value, str(path))

    def work(self, job: Job) -> None:
        """Write the folder."""
        config, source = job.config, job.options.source
        if isinstance(config, Images) != (source is not None):
            wanted = "not taken, of the digits" if source else "needed: what dimr data made"
            raise DimrError(f"{job.path}: source: {config.source}: --source is {wanted}")
        with job.result() as result:
            if isinstance(config, Images):
                from dimr.data.own.crop import crop_images

                crop_images(source, result.folder, config, job.key)
            elif isinstance(config, DigitPairs):
                from dimr.data.digit_pairs import make_digit_pairs

                make_digit_pairs(result.folder, config)
            else:
                from dimr.data.digits import make_digits

                make_digits(
                    result.folder,
                    config.image_size,
                    config.train_per_class,
                    config.split_seed,
                    config.validation_per_class,
                )
