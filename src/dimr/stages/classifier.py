"""``dimr classifier``: the small classifier whose features the metrics on digits use."""

from typing import ClassVar

from dimr.config.schema import Classifier
from dimr.stages.stage import Input, Job, Output, Stage, Target


class ClassifierStage(Stage):
    """A classifier of the dataset's own images."""

    name = "classifier"
    about = "train the digit classifier whose features the metrics use"
    phase = "classifier"
    config = Classifier
    inputs = (Input("images"),)
    outputs: ClassVar = {"out": Output("classifier", "data/{dataset}/classifier")}

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images."""
        return {"images": target.images}

    def work(self, job: Job) -> None:
        """Train it, and measure it on the held-out images."""
        from dimr.data.image_arrays import load_images
        from dimr.evaluation.classifier import train_classifier

        config, images = job.config, job.options.images
        _ = job.device  # sets its threads
        train, labels = load_images(images, "train")
        heldout, heldout_labels = load_images(images, "heldout")
        with job.result() as result:
            train_classifier(
                train, labels, result.folder, config, heldout=heldout, heldout_labels=heldout_labels
            )
