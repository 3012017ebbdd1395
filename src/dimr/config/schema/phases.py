"""What each phase's file holds, and checks of values that are valid alone but not together.

A phase's inputs from other phases are known by their keys.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from dimr.config.schema.base import ConfigModel, Count, Seed
from dimr.config.schema.data import ClassName, ImageSize
from dimr.config.schema.networks import AnyNetwork, NetworkConfig
from dimr.config.schema.runs import Evaluate, Evaluations, Guidance, SamplingConfig, Solver, Train

LEARNS = "a network that learns its variance (a DiT of the sizes *-sigma)"


def objective_problem(objective: str, network: NetworkConfig) -> str | None:
    """Why a network cannot be trained with an objective, in one line; None: it can."""
    if objective != "hybrid":
        return None
    if not network.sizes.learns_variance:
        return f"hybrid needs {LEARNS}"
    return "hybrid needs a discrete schedule, not pixel" if network.schedule == "pixel" else None


def sampling_problem(
    sample: "SamplingConfig | SampleConfig", count: int, network: NetworkConfig
) -> str | None:
    """Why images cannot be drawn from a network in a way, in one line; None: they can.

    Args:
        sample: solver and guidance.
        count: how many images.
        network: the one that draws them.
    """
    guidance = sample.guidance if isinstance(sample, SampleConfig) else sample
    if guidance.channels is not None and guidance.channels > network.channels:
        return f"channels: {guidance.channels}: there are {network.channels}"
    classes = network.num_classes
    if classes and count % classes and guidance.kind != "unconditional":
        return (
            f"count: {count} is no multiple of the {classes} classes, which must have the same "
            "number of images each"
        )
    if sample.solver == "ancestral" and not network.sizes.learns_variance:
        return f"solver: ancestral needs {LEARNS}"
    return None


class TrainConfig(ConfigModel):
    """``config/train.yaml`` of a run."""

    dataset: str
    seed: Seed
    network: AnyNetwork
    train: Train

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (problem := objective_problem(self.train.objective, self.network)) is not None:
            raise ValueError(f"train.objective: {problem}")
        return self


class ImportConfig(ConfigModel):
    """``config/import.yaml`` of a run with published weights; names of classes of one's own."""

    dataset: str
    network: AnyNetwork
    class_names: tuple[ClassName, ...] = Field(default=(), exclude_if=lambda value: not value)
    repo: str
    file: str
    revision: str | None = None


class SampleConfig(ConfigModel):
    """``config/sample-<setting>.yaml`` of a run that a network draws."""

    seed: Seed
    count: Count
    steps: Evaluations
    solver: Solver
    guidance: Guidance


class BaselineConfig(ConfigModel):
    """``config/sample-<setting>.yaml`` of a run whose images come from the dataset itself.

    ``image_size`` is the side of the centre crop of a source's images; others are cropped already.
    """

    source: Literal["real", "reconstruction"]
    count: Count
    image_size: ImageSize | None = Field(default=None, exclude_if=lambda value: value is None)


class EvaluateConfig(Evaluate):
    """``config/evaluate.yaml`` of a run: with the number of images that metrics are taken of.

    ``compared`` is the split of the dataset's images that they are compared with.
    """

    count: Count
    compared: Literal["heldout", "validation"] = Field(
        default="heldout", exclude_if=lambda value: value == "heldout"
    )
