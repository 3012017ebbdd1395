"""Sections about the distortion study: which images people are asked about, and of which runs."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from dimr.config.schema.base import ConfigModel, Count, Seed, repeated


class Distortion(ConfigModel):
    """Which images of a run are shown to raters; ``config/distortion.yaml`` of a run.

    ``classifier`` is ``digits`` (the digit classifier of the workflow) or a timm model by name.
    An image is low-fidelity if its own class has a probability below ``threshold`` (paper, section
    5.3: 0.2); at most ``shown`` of these are drawn at random.
    """

    classifier: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    threshold: Annotated[float, Field(gt=0, le=1)]
    shown: Count
    seed: Seed


Raters = Annotated[int, Field(gt=0, le=1000)]


class StudyRow(ConfigModel):
    """A model of the study: a run and the setting whose images are rated.

    ``measured`` is the setting whose FID stands beside them (null: the same), ``published`` the
    model's name in published.yaml.
    """

    name: str
    run: str
    setting: str
    measured: str | None = None
    published: str | None = None

    @property
    def fid_setting(self) -> str:
        """The setting whose FID stands beside the images."""
        return self.measured or self.setting


class Study(ConfigModel):
    """A distortion study (``experiments/distortion``): the models whose images are rated together.

    The page is for ``raters`` people, and each image goes to ``per_image`` of them (paper: 5).
    ``seed`` is of who is shown what, and in which order.
    """

    title: str
    seed: Seed
    raters: Raters
    per_image: Raters
    rows: Annotated[tuple[StudyRow, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _enough_raters(self) -> Self:
        if self.raters < self.per_image:
            raise ValueError(f"raters: {self.raters} are fewer than per_image: {self.per_image}")
        return self

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        cells = [f"{row.run}: {row.setting}" for row in self.rows]
        for values in ([row.name for row in self.rows], cells):
            if (twice := repeated(values)) is not None:
                raise ValueError(f"rows: {twice!r} is listed twice")
        return self
