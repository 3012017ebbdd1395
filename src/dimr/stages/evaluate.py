"""``dimr evaluate``: metrics of samples: numbers in one file, their origin in the other."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from dimr.config.phases import section_key
from dimr.config.schema import ConfigModel, EvaluateConfig, ImagesData
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.stages.job import Job
from dimr.stages.options import add_batch, add_device
from dimr.stages.provenance import sealed
from dimr.stages.stage import Input, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


COMPARED = "what samples are compared with (one of these)"
FEATURES = "whose features are compared (one of these)"


class EvaluateStage(Stage):
    """FID, sFID, Inception Score, precision, recall and memorisation of a run's samples.

    Features are Inception's, or those of the dataset's own classifier.
    """

    name = "evaluate"
    about = (
        "compute the metrics of samples: a folder of them (or of PNG or JPEG images of one size), "
        "an .npz (arr_0, labels in arr_1) or an .npy"
    )
    phase = "evaluate"
    config = EvaluateConfig
    inputs = (
        Input("samples"),
        Input("images", "the dataset's held-out images", required=False, group=COMPARED),
        Input(
            "classifier",
            "for extractors digits and classifier: the dataset's own",
            required=False,
            group=FEATURES,
        ),
        Input(
            "reference",
            "only for extractor inception-v3-compat: an ADM reference batch .npz, or a folder with "
            "one or with uint8 images",
            required=False,
            group=COMPARED,
        ),
        Input(
            "extractor_weights",
            "for extractor inception-v3-compat: torch-fidelity's weights",
            required=False,
            keyed=False,
            group=FEATURES,
        ),
        Input("model", "the model, to record its cost", required=False, keyed=False),
    )
    outputs: ClassVar = {
        "metrics": Output("metrics", "runs/{run}/metrics/{setting}.json"),
        "provenance": Output("provenance", "runs/{run}/provenance/{setting}.json"),
    }
    resource = "evaluate"

    @property
    def record(self) -> str:
        """The provenance."""
        return self.outputs["provenance"].place

    def config_of(self, target: Target) -> ConfigModel:
        """As every stage's; ``DimrError`` too for a setting that has no metrics."""
        setting = target.wildcards.get("setting", "")
        if not target.run.is_measured(setting):
            raise DimrError(
                f"{target.run.name}: {setting} has no metrics: its count of images is its own"
            )
        return super().config_of(target)

    def sources(self, target: Target) -> dict[str, str]:
        """The samples, the dataset's images or ADM's batch, the extractor, and the model, if any.

        If images are two arrays, the set's own held-out images are used: ADM has no batch for it.
        """
        run, data = target.run, target.data
        is_array = isinstance(run.recipe.data, ImagesData)
        weights = run.recipe.evaluate.weights
        places = {
            "samples": f"runs/{run.name}/samples/{target.setting}",
            "images": target.images if is_array else None,
            "classifier": None if weights else f"{data}/classifier",
            "reference": None if is_array else f"{data}/reference",
            "extractor_weights": f"data/extractors/{weights}" if weights else None,
            "model": f"runs/{run.name}/model" if run.network else None,
        }
        return {name: place for name, place in places.items() if place}

    def cost(self, target: Target) -> "Cost":
        """Inception on the samples and the reference, and all pairs of their features."""
        from dimr.stages.costs import FEATURES, INCEPTION_MACS, REFERENCE_IMAGES, gpus

        cost, recipe = super().cost(target), target.recipe
        if recipe.evaluate.is_own:
            return cost
        images, others = recipe.sample.count, REFERENCE_IMAGES
        if isinstance(recipe.data, ImagesData):
            others = target.project.heldout_images(target.dataset)
        pairs = images**2 + others**2 + images * others
        return replace(
            cost,
            resource="evaluate",
            flops=2 * (INCEPTION_MACS * (images + others) + FEATURES * pairs),
            images=images + others,
            gpus=gpus(recipe, "evaluate"),
        )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """How it is computed."""
        add_batch(parser)
        add_device(parser)

    def work(self, job: Job) -> None:
        """Measure, and write both files."""
        from dimr.evaluation.measure import PATHS, cost_of, measure

        options, config = job.options, job.config
        compared = {name: getattr(options, name) for name in PATHS}
        metrics, facts = measure(
            config, options.samples, device=job.device, batch_size=options.batch, **compared
        )
        record = {
            "key": section_key(config, *facts["inputs"].values()),
            "evaluate": config.model_dump(mode="json"),
            **facts,
            "cost": cost_of(options.model) if options.model else {},
            **job.origin,
        }
        job.refuse_if_changed()
        write_json(options.metrics, metrics)
        write_json(options.provenance, sealed(record, options.metrics))
