"""``dimr distortion-scores``: which samples raters see, by a classifier's confidence."""

import argparse
import os
from pathlib import Path
from typing import ClassVar

from dimr.config.schema import Distortion
from dimr.stages.job import Job
from dimr.stages.options import add_batch, add_device
from dimr.stages.stage import Input, Output, Stage, Target

WEIGHTS = "data/classifiers/{name}.safetensors"
SOURCE = "DIMR_CLASSIFIER"
"""Environment variable: a file of the timm classifier's weights."""


class ClassifierWeightsStage(Stage):
    """Weights of a timm model: from the hub, or a file."""

    name = "distortion_classifier"
    about = "fetch and check the weights of a timm classifier, from the hub or a file"
    phase = ""
    outputs: ClassVar = {"out": Output("classifier weights", WEIGHTS)}
    command = "distortion-classifier --name {name}"
    is_short = True

    @property
    def log(self) -> str:
        """One per classifier."""
        return "data/classifiers/{name}"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Which, and where it is."""
        parser.add_argument("--name", required=True, help="name in timm, with its tag")
        text = f"safetensors or pth with timm's names (default: ${SOURCE}, else the hub)"
        parser.add_argument("--source", type=Path, metavar="FILE", help=text)

    def work(self, job: Job) -> None:
        """Copy or download, and check."""
        from dimr.human_study.classifiers import fetch_timm

        given = os.environ.get(SOURCE)
        source = job.options.source or (Path(given) if given else None)
        fetch_timm(job.options.name, source, job.options.out)


class ScoresStage(Stage):
    """Confidence in every sample's own class, and the images that raters are shown."""

    name = "distortion"
    about = "score samples by the confidence of their own class, and choose images for raters"
    phase = "distortion"
    config = Distortion
    inputs = (
        Input("samples"),
        Input("classifier", "the classifier's folder, if it is digits", required=False),
        Input("weights", "weights of a timm classifier", required=False, keyed=False),
    )
    outputs: ClassVar = {"out": Output("scores", "runs/{run}/distortion/{setting}.json")}
    command = "distortion-scores"
    resource = "evaluate"

    def sources(self, target: Target) -> dict[str, str]:
        """The samples, and the digit classifier or a timm model's weights."""
        config = self.config_of(target)
        assert isinstance(config, Distortion)
        samples = {"samples": f"runs/{target.run.name}/samples/{target.setting}"}
        if config.classifier == "digits":
            return {**samples, "classifier": f"{target.data}/classifier"}
        return {**samples, "weights": WEIGHTS.format(name=config.classifier)}

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """How it is computed."""
        add_batch(parser)
        add_device(parser)

    def work(self, job: Job) -> None:
        """Write the summary (--out), and beside it confidences (.npy) and images (.npz)."""
        from dimr.human_study.classifiers import open_scorer
        from dimr.human_study.confidence import score_samples, write_scores

        options, config = job.options, job.config
        scorer = open_scorer(
            config, options.classifier, options.weights, job.device, options.threads
        )
        confidence, chosen, facts = score_samples(config, options.samples, scorer, options.batch)
        summary = {**facts, **job.origin}
        write_scores(options.out, confidence, chosen, summary, job.refuse_if_changed)
