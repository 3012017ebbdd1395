"""What papers say, with where it was seen: ``experiments/published.yaml``.

What no source confirms is blank, with a reason: a value without a source and a blank without a
reason are refused.
"""

from collections.abc import Iterator
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, model_validator

from dimr.config.project import PROJECT, Project
from dimr.config.schema import ConfigModel, PrintedCount, Schedule

Source = Literal["paper", "image", "repo", "counted", "citing", "seed", "uvit", "derived"]
SOURCES: dict[Source, str] = {
    "paper": "the text of the paper",
    "image": "the authors' picture of the table on their project page",
    "repo": "the authors' public repository",
    "counted": "the authors' network, built and counted",
    "citing": "a later paper that cites this one",
    "seed": "the summary of the paper that this project began with",
    "uvit": "U-ViT's paper, or its authors' public repository",
    "derived": "follows from two confirmed numbers",
}
"""Where a value was seen."""

Value = TypeVar("Value")


class PublishedValue(ConfigModel, Generic[Value]):
    """A published value and its source; or a blank and why it is one."""

    value: Value | None
    source: Source | None = None
    note: str | None = None

    @model_validator(mode="after")
    def _has_a_source(self) -> Self:
        if self.value is not None and self.source is None:
            raise ValueError(f"value {self.value!r} has no source (blank it, with a note)")
        if self.value is None and (self.source is not None or self.note is None):
            raise ValueError("a blank value has no source, but a note that says why")
        return self


class Size(ConfigModel):
    """A variant as it is printed: parameters like ``505M``, GMACs ("Gflops") as a whole number.

    ``appendix``: the parameters in the paper's own table of variants, where they are others.
    """

    parameters: PrintedCount | None
    appendix: PrintedCount | None = None
    gmacs: Annotated[int, Field(gt=0)] | None
    source: Source


class Settings(ConfigModel):
    """Published settings of a dataset. ``blank`` says why those that are not listed are blank."""

    blank: str
    steps: PublishedValue[int] | None = None
    epochs: PublishedValue[int] | None = None
    batch: PublishedValue[int] | None = None
    optimizer: PublishedValue[str] | None = None
    lr: PublishedValue[float] | None = None
    betas: PublishedValue[tuple[float, float]] | None = None
    weight_decay: PublishedValue[float] | None = None
    lr_schedule: PublishedValue[str] | None = None
    warmup_steps: PublishedValue[int] | None = None
    ema_decay: PublishedValue[float] | None = None
    label_dropout: PublishedValue[float] | None = None
    gpus: PublishedValue[str] | None = None
    objective: PublishedValue[str] | None = None
    loss_weights: PublishedValue[list[float]] | None = (
        None  # of the branches, lowest resolution first
    )
    schedule: PublishedValue[Schedule] | None = None  # of the noise, by our name
    solver: PublishedValue[str] | None = None  # by our name
    evaluations: PublishedValue[int] | None = None  # of the network, for one image
    samples: PublishedValue[int] | None = None
    guidance_constant: PublishedValue[float] | None = None  # scale
    guidance_power_cosine: PublishedValue[tuple[float, float]] | None = None  # scale and power


class Result(ConfigModel):
    """A model's line in a table of results; ``sources``: of values that are not from ``source``.

    ``epochs`` are the paper's own; ``gmacs`` is what papers call "Gflops"; ``fid_unguided`` is the
    FID without guidance, where a line has both. What is null is blank in the source; ``note`` says
    why, where it is not the list's ``blank``, or how a value was derived.
    """

    type: str | None = None
    epochs: Annotated[int, Field(gt=0)] | None = None
    parameters: PrintedCount | None = None
    gmacs: Annotated[int, Field(gt=0)] | None = None
    fid_unguided: Annotated[float, Field(ge=0)] | None = None
    fid: Annotated[float, Field(ge=0)] | None = None
    inception_score: Annotated[float, Field(ge=1)] | None = None
    precision: Annotated[float, Field(ge=0, le=1)] | None = None
    recall: Annotated[float, Field(ge=0, le=1)] | None = None
    source: Source
    sources: dict[str, Source] = Field(default={})
    note: str | None = None

    def source_of(self, key: str) -> Source:
        """Where a value of the line was seen."""
        return self.sources.get(key, self.source)

    def numbers(self, setting: str) -> Iterator[tuple[str, str, float]]:
        """Setting, metric and value of every number; ``setting`` is the list's."""
        for key in NUMBERS:
            if (value := as_number(getattr(self, key))) is not None:
                yield setting, key, value
        if self.fid_unguided is not None:
            yield "unguided", "fid", self.fid_unguided


NUMBERS = ("epochs", "parameters", "gmacs", "fid", "inception_score", "precision", "recall")
"""Numbers that a line may have at the setting of its list."""


class Results(ConfigModel):
    """A list of published results, by the model's name.

    Attributes:
        where: the table that prints them, and where that was seen.
        dataset: on which they are.
        setting: of guidance (for ``fid``).
        blank: why values that are not listed are blank.
        rows: the lines.
    """

    where: str
    dataset: str
    setting: str
    blank: str
    rows: dict[str, Result]


class DistortionRate(ConfigModel):
    """Share of a model's low-fidelity images that raters call distorted, and the model's FID."""

    fid: Annotated[float, Field(ge=0)]
    rate: Annotated[float, Field(ge=0, le=1)]
    source: Source


class PublishedValues(ConfigModel):
    """published.yaml: sizes by name of the variant, settings by dataset, lists of results.

    ``distortion``: the human study, by the model's name.
    """

    variants: dict[str, Size]
    settings: dict[str, Settings]
    results: dict[str, Results]
    distortion: dict[str, DistortionRate]


def load_published(project: Project = PROJECT) -> PublishedValues:
    """Read published.yaml; ``DimrError`` names the key that is wrong."""
    return project.load(PublishedValues, "published.yaml")


UNITS = {"M": 1e6, "B": 1e9}


def as_number(printed: str | float | None) -> float | None:
    """505M is 505,000,000; numbers are themselves."""
    if not isinstance(printed, str):
        return printed
    return float(printed[:-1]) * UNITS[printed[-1]]
