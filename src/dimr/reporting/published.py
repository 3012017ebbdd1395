"""What papers say, with where it was seen: ``experiments/published.yaml``.

What no source confirms is blank, with the reason beside it: a value without a source and a blank
without a reason are refused.
"""

from pathlib import Path
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import Field, model_validator

from dimr.experiment import ROOT, load_section
from dimr.settings import PrintedCount, Schedule, Section

Source = Literal["repo", "counted", "citing", "seed"]
SOURCES: dict[Source, str] = {
    "repo": "the authors' public repository",
    "counted": "the authors' network, built and counted",
    "citing": "a later paper that cites this one",
    "seed": "the summary of the paper that this project began with",
}
"""Where a value was seen."""

Value = TypeVar("Value")


class Stated(Section, Generic[Value]):
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


class Size(Section):
    """A variant as it is printed: parameters like ``505M``, GMACs ("Gflops") as a whole number."""

    parameters: PrintedCount | None
    gmacs: Annotated[int, Field(gt=0)] | None
    source: Source


class Settings(Section):
    """Published settings of a dataset. ``blank`` says why those that are not listed are blank."""

    blank: str
    steps: Stated[int] | None = None
    epochs: Stated[int] | None = None
    batch: Stated[int] | None = None
    optimizer: Stated[str] | None = None
    lr: Stated[float] | None = None
    betas: Stated[tuple[float, float]] | None = None
    weight_decay: Stated[float] | None = None
    lr_schedule: Stated[str] | None = None
    warmup_steps: Stated[int] | None = None
    ema_decay: Stated[float] | None = None
    label_dropout: Stated[float] | None = None
    gpus: Stated[str] | None = None
    objective: Stated[str] | None = None
    loss_weights: Stated[list[float]] | None = None  # of the branches, lowest resolution first
    schedule: Stated[Schedule] | None = None  # of the noise, by our name
    solver: Stated[str] | None = None  # by our name
    evaluations: Stated[int] | None = None  # of the network, for one image
    samples: Stated[int] | None = None
    guidance_constant: Stated[float] | None = None  # scale
    guidance_power_cosine: Stated[tuple[float, float]] | None = None  # scale and power


class Result(Section):
    """A model's line in a table of results. All values are from ``source``.

    ``epochs`` are the paper's own; ``gmacs`` is what papers call "Gflops". What is null is blank in
    the source; ``note`` says why, where it is not the list's ``blank``.
    """

    type: str | None = None
    epochs: Annotated[int, Field(gt=0)] | None = None
    parameters: PrintedCount | None = None
    gmacs: Annotated[int, Field(gt=0)] | None = None
    fid: Annotated[float, Field(ge=0)] | None = None
    inception_score: Annotated[float, Field(ge=1)] | None = None
    precision: Annotated[float, Field(ge=0, le=1)] | None = None
    recall: Annotated[float, Field(ge=0, le=1)] | None = None
    source: Source
    note: str | None = None


class Results(Section):
    """Published results on a dataset, by the model's name; ``blank`` is why others are blank."""

    blank: str
    rows: dict[str, Result]


class DistortionRate(Section):
    """Share of a model's low-fidelity images that raters call distorted, and the model's FID."""

    fid: Annotated[float, Field(ge=0)]
    rate: Annotated[float, Field(ge=0, le=1)]
    source: Source


class PublishedValues(Section):
    """published.yaml: sizes by name of the variant, settings by dataset, lists of results.

    ``distortion``: the human study, by the model's name.
    """

    variants: dict[str, Size]
    settings: dict[str, Settings]
    results: dict[str, Results]
    distortion: dict[str, DistortionRate]


def load_published(root: Path = ROOT) -> PublishedValues:
    """Read published.yaml; ``DimrError`` names the key that is wrong."""
    return load_section(PublishedValues, root / "experiments/published.yaml")
