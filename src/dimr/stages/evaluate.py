"""``dimr evaluate``: metrics of samples: numbers in one file, what they are from in the other."""

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from dimr.config.phases import section_key
from dimr.config.schema import ConfigModel, EvaluateConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.stages.options import add_batch, add_device
from dimr.stages.provenance import sealed
from dimr.stages.stage import Input, Job, Output, Stage, Target

if TYPE_CHECKING:
    from dimr.stages.costs import Cost


def _form(extractor: str, name: str, about: str, keyed: bool = True) -> Input:
    return Input(name, about, required=False, keyed=keyed, group=f"extractor {extractor}")


class EvaluateStage(Stage):
    """FID, sFID, Inception Score, precision, recall and memorisation of a run's samples."""

    name = "evaluate"
    about = (
        "compute the metrics of samples: a folder of them (or of PNG or JPEG images of one size), "
        "an .npz (arr_0, labels in arr_1) or an .npy"
    )
    phase = "evaluate"
    config = EvaluateConfig
    inputs = (
        Input("samples"),
        _form("digits", "images", "the dataset's images"),
        _form("digits", "classifier", "whose features are used"),
        _form(
            "inception-v3-compat",
            "reference",
            "an ADM reference batch .npz, or a folder of one or of uint8 images",
        ),
        _form(
            "inception-v3-compat", "extractor_weights", "torch-fidelity's Inception weights", False
        ),
        Input("model", "whose cost is recorded", required=False, keyed=False),
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
        """The samples, what the extractor compares with, and the model, unless it is a baseline."""
        run, data = target.run, target.data
        weights = run.recipe.evaluate.weights
        compared = {"images": target.images, "classifier": f"{data}/classifier"}
        if weights:
            compared = {
                "reference": f"{data}/reference",
                "extractor_weights": f"data/extractors/{weights}",
            }
        model = {"model": f"runs/{run.name}/model"} if run.network else {}
        return {"samples": f"runs/{run.name}/samples/{target.setting}", **compared, **model}

    def cost(self, target: Target) -> "Cost":
        """Inception on the samples and the reference, and all pairs of their features."""
        from dimr.stages.costs import FEATURES, INCEPTION_MACS, REFERENCE_IMAGES, gpus

        cost, recipe = super().cost(target), target.recipe
        if recipe.evaluate.extractor == "digits":
            return cost
        images, others = recipe.sample.count, REFERENCE_IMAGES
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
        from dimr.evaluation.measure import TAKES, cost_of, measure

        options, config = job.options, job.config
        compared = {name: getattr(options, name) for names in TAKES.values() for name in names}
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
