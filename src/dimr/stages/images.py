"""``dimr images``: the raw images of a dataset, and their split."""

from typing import ClassVar

from dimr.config.schema import Images
from dimr.stages.stage import Job, Output, Stage


class ImagesStage(Stage):
    """scikit-learn's digits, enlarged, as training and held-out images."""

    name = "images"
    about = "write the raw images and their split"
    phase = "images"
    config = Images
    outputs: ClassVar = {"out": Output("images", "data/{dataset}/images")}
    is_short = True

    def work(self, job: Job) -> None:
        """Write the folder."""
        from dimr.data.digits import make_digits

        config = job.config
        with job.result() as result:
            make_digits(result.folder, config.image_size, config.train_per_class, config.split_seed)
