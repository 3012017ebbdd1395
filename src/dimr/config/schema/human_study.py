"""Sections about the distortion study: which images people are asked about, and of which runs."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dimr.config.schema.base import ConfigModel, Count, Seed, repeated


class Distortion(ConfigModel):
    """Which images of a run are shown to raters; ``config/distortion.yaml`` of a run.

    ``classifier`` is ``digits`` (the digit classifier of the workflow) or a timm model by name.
    Of all images the ``share`` that it is least confident of is taken, and ``shown`` of these are
    drawn at random.
    """

    classifier: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    share: Annotated[float, Field(gt=0, le=1)]
    shown: Count
    seed: Seed


class StudyRow(ConfigModel):
    """A model of the study: a run and a setting; ``published`` is its name in published.yaml."""

    name: str
    run: str
    setting: str
    published: str | None = None


class Study(ConfigModel):
    """A distortion study (``experiments/distortion``): the models whose images are rated together.

    ``seed`` is of the order in which a page shows them.
    """

    title: str
    seed: Seed
    rows: Annotated[tuple[StudyRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        cells = [f"{row.run}: {row.setting}" for row in self.rows]
        for values in ([row.name for row in self.rows], cells):
            if (twice := repeated(values)) is not None:
                raise ValueError(f"rows: {twice!r} is listed twice")
        return self
