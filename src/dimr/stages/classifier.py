"""``dimr classifier``: a dataset's own small classifier, whose features its metrics use."""

from typing import ClassVar

from dimr.config.schema import Classifier
from dimr.stages.job import Job
from dimr.stages.stage import Input, Output, Stage, Target

DIGITS = "digits"
"""The set whose classifier is trained for white strokes on black."""


class ClassifierStage(Stage):
    """A classifier of the dataset's own images and classes.

    For pictures of two digits it classifies single digits, cut out.
    """

    name = "classifier"
    about = "train the classifier of a dataset's images whose features the metrics use"
    phase = "classifier"
    config = Classifier
    inputs = (Input("images"),)
    outputs: ClassVar = {"out": Output("classifier", "data/{dataset}/classifier")}

    def sources(self, target: Target) -> dict[str, str]:
        """The raw images."""
        return {"images": target.images}

    def work(self, job: Job) -> None:
        """Train it, and measure it on the held-out images."""
        from dimr.data.digit_pairs import DATASET as PAIRS
        from dimr.data.digits import CLASSES
        from dimr.data.image_arrays import ImagesManifest, load_images
        from dimr.evaluation.digit_pairs import of_split
        from dimr.evaluation.train_classifier import PHOTOGRAPHS, STROKES, train_classifier

        config, images = job.config, job.options.images
        _ = job.device  # sets its threads
        manifest = ImagesManifest.read(images)
        pairs = manifest.dataset == PAIRS
        is_digits = pairs or manifest.dataset == DIGITS
        load = of_split if pairs else load_images
        train, labels = load(images, "train")
        heldout, heldout_labels = load(images, "heldout")
        with job.result() as result:
            train_classifier(
                train,
                labels,
                result.folder,
                config,
                heldout=heldout,
                heldout_labels=heldout_labels,
                classes=CLASSES if pairs else manifest.classes,
                class_names=() if is_digits else manifest.class_names,
                augmentation=STROKES if is_digits else PHOTOGRAPHS,
            )
