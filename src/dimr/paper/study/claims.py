"""Claims of the paper as comparisons over seeds: ``experiments/claims.yaml``.

The size of the paper's effect is never typed: it is computed from ``published.yaml``.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from dimr.config.schema import ConfigModel
from dimr.config.schema.base import repeated
from dimr.config.validation import did_you_mean, load_section
from dimr.evaluation.names import METRICS, better
from dimr.paper.published import PublishedValues
from dimr.paper.results import RunSetting
from dimr.paper.statistics import Change
from dimr.runtime.errors import DimrError

FILE = "claims.yaml"
MINUS = "\N{MINUS SIGN}"
FID = "fid_digits"
"""The FID that comparisons "at an equal FID" use."""
Direction = Literal["lower", "higher"]


MOST_SHOWN = 10.0
"""Relative effects above it are not printed to the percent."""


def percent(share: float) -> str:
    """A relative effect: −25%, +130%; for a larger one, that it is above +1000%."""
    if share > MOST_SHOWN:
        return f"> {MOST_SHOWN:+.0%}"
    return f"{share:+.0%}".replace("-", MINUS)


class Metric(ConfigModel):
    """A metric that is compared.

    ``counted``: a share of the images, which may be 0: half an image is added to both sides of a
    relative change.
    """

    key: str
    title: str
    format: str = Field(default="{:.3f}", pattern=r"^\{:[^{}]+\}$")
    counted: bool = False

    @field_validator("key")
    @classmethod
    def _has_a_better_way(cls, key: str) -> str:
        allowed = [name for name in METRICS if better(name)]
        if key not in allowed:
            raise ValueError(f"no metric {key!r} {did_you_mean(key, allowed)}")
        return key

    def text(self, value: float, sign: str = "") -> str:
        """A value in the metric's format; ``sign="+"`` for differences."""
        return self.format.replace(":", f":{sign}", 1).format(value).replace("-", MINUS)

    def difference(self, change: Change) -> str:
        """The mean difference, its interval, if there is one, and which way it is."""
        text = self.text(change.mean, "+")
        if change.low is not None and change.high is not None:
            text += f" [{self.text(change.low, '+')}, {self.text(change.high, '+')}]"
        return f"{text}, {change.verdict(lower_is_better=better(self.key) == 'lower')}"


class PrintedPair(ConfigModel):
    """Two rows of a list of published.yaml, and the column that they are compared in."""

    list: str
    run: str
    against: str
    column: Literal["fid", "fid_unguided"]


class RatedPair(ConfigModel):
    """Two models of the paper's human study: shares of distorted images."""

    run: str
    against: str


class Comparison(ConfigModel):
    """Two runs, named without seeds, that differ in what the claim is about.

    The paper's numbers for its own networks are ``paper`` or ``distortion``; neither: it has none.
    ``expects`` is the side on which the claim puts the first of the two (default: that of the
    paper's number). ``equal_fid``: the other's value is taken at the first one's FID, between the
    ``settings``.
    """

    run: str  # dataset/model
    against: str
    settings: list[str] = Field(min_length=1)
    seeds: Annotated[int, Field(ge=1)] | None = None  # by default the least of the rule
    paper: PrintedPair | None = None
    distortion: RatedPair | None = None
    expects: Direction | None = None
    equal_fid: bool = False
    note: str = ""  # what else differs between the two

    @model_validator(mode="after")
    def _has_a_direction(self) -> Self:
        if self.paper and self.distortion:
            raise ValueError("paper and distortion: one effect of the paper's is compared")
        if not (self.paper or self.distortion or self.expects):
            raise ValueError("expects: lower or higher, as the paper has no number here")
        return self


class Claim(ConfigModel):
    """A claim of the paper, and the comparisons that speak for or against it."""

    key: str
    title: str
    about: str  # what the paper says, and what the comparison here can say of it
    metric: str | None = None  # that decides, by default the first
    comparisons: list[Comparison] = Field(min_length=1)


class SeedsRule(ConfigModel):
    """How many seeds: ``least`` for every comparison; for one that is then open, up to ``most``."""

    least: Annotated[int, Field(ge=2)]
    most: Annotated[int, Field(ge=2)]

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"least: {self.least} is more than most: {self.most}")
        return self


class Claims(ConfigModel):
    """``experiments/claims.yaml``. The first metric decides where a claim names no other."""

    seeds: SeedsRule
    names: dict[str, str]  # by dataset/model
    metrics: list[Metric] = Field(min_length=1)
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (twice := repeated([claim.key for claim in self.claims])) is not None:
            raise ValueError(f"claims: two are {twice!r}")
        metrics = [metric.key for metric in self.metrics]
        for claim in self.claims:
            if claim.metric is not None and claim.metric not in metrics:
                hint = did_you_mean(claim.metric, metrics)
                raise ValueError(f"claims.{claim.key}.metric: {claim.metric!r} {hint}")
            for number, one in enumerate(claim.comparisons):
                if not self.seeds.least <= self.seeds_of(one) <= self.seeds.most:
                    allowed = f"{self.seeds.least} to {self.seeds.most}"
                    where = f"claims.{claim.key}.comparisons.{number}.seeds"
                    raise ValueError(f"{where}: {one.seeds} is not {allowed} (seeds)")
        return self

    def name(self, run: str) -> str:
        """What the page calls a run (dataset/model)."""
        if run not in self.names:
            raise DimrError(f"{FILE}: names: no {run!r} {did_you_mean(run, list(self.names))}")
        return self.names[run]

    def metric_of(self, claim: Claim) -> Metric:
        """The one that decides a claim."""
        return next(one for one in self.metrics if claim.metric in (None, one.key))

    def seeds_of(self, comparison: Comparison) -> int:
        """How many seeds, counted from 0, a comparison should have."""
        return comparison.seeds or self.seeds.least

    def settings(self, run: str) -> list[str]:
        """Settings at which a run is compared, without duplicates."""
        compared = [one for claim in self.claims for one in claim.comparisons]
        named = [one.settings for one in compared if run in (one.run, one.against)]
        return list(dict.fromkeys(setting for settings in named for setting in settings))

    def cells(self) -> list[RunSetting]:
        """Every (run, setting) that the claims need, once: both runs of a comparison, its seeds."""
        return list(dict.fromkeys(
            (f"{run}/{seed}", setting)
            for claim in self.claims
            for one in claim.comparisons
            for run in (one.run, one.against)
            for setting in one.settings
            for seed in range(self.seeds_of(one))
        ))  # fmt: skip


def load_claims(path: Path) -> Claims:
    """Read the claims; ``DimrError`` names the file and the key."""
    return load_section(Claims, path)


def load_papers(claims: Path) -> PublishedValues:
    """What the paper prints: published.yaml beside the claims."""
    return load_section(PublishedValues, claims.parent / "published.yaml")


def paper_effect(one: Comparison, papers: PublishedValues, where: str) -> float | None:
    """The paper's relative effect, -0.25 for 25% lower; None: it has no number.

    Args:
        one: the comparison.
        papers: published.yaml.
        where: of the comparison, for messages.

    Raises:
        DimrError: a list, row or value that published.yaml does not have.
    """
    if one.distortion is not None:
        where, rates = f"{where}.distortion", papers.distortion
        pair = [rates[_known(name, list(rates), f"{where}: no model")].rate
                for name in (one.distortion.run, one.distortion.against)]  # fmt: skip
        return pair[0] / pair[1] - 1
    if one.paper is None:
        return None
    where, lists, values = f"{where}.paper", papers.results, []
    rows = lists[_known(one.paper.list, list(lists), f"{where}: no list")].rows
    for name in (one.paper.run, one.paper.against):
        row = rows[_known(name, list(rows), f"{where}: {one.paper.list}: no row")]
        value = getattr(row, one.paper.column)
        if not value:
            blank = f"published.yaml has no {one.paper.column} of {one.paper.list}, {name}"
            raise DimrError(f"{where}: {blank}")
        values.append(float(value))
    return values[0] / values[1] - 1


def _known(name: str, allowed: list[str], problem: str) -> str:
    if name not in allowed:
        raise DimrError(f"{problem} {name!r} in published.yaml {did_you_mean(name, allowed)}")
    return name


def expected(one: Comparison, effect: float | None, where: str) -> Direction:
    """The side on which the claim puts the first of the two; ``DimrError`` if nothing says it."""
    papers: Direction | None = None if not effect else "lower" if effect < 0 else "higher"
    if one.expects and papers and one.expects != papers:
        raise DimrError(f"{where}.expects: {one.expects}: the paper's effect is {papers}")
    found = one.expects or papers
    if found is None:
        raise DimrError(f"{where}.expects: lower or higher, as the paper's effect is 0")
    return found
