"""The paper's table of settings (table 4): the recipes of each dataset beside what is published."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from dimr.config.project import Project
from dimr.config.schema import ConfigModel
from dimr.config.validation import did_you_mean
from dimr.paper.published import SOURCES, PublishedValue, Settings, load_published
from dimr.paper.tables.counts import check_names
from dimr.paper.tables.sheet import Block, Cell, Column, Origin, Sheet, Table, cell

KEYS = [name for name in Settings.model_fields if name != "blank"]
"""The settings by name: those of published.yaml."""

ALWAYS = {"optimizer": "AdamW", "lr_schedule": "constant"}
"""What no recipe says, as ``dimr.training`` has nothing else; a test ensures that."""


class SettingRow(ConfigModel):
    """A setting: its key, title, format of numbers, words for our names, and tolerance.

    ``tolerance``: how far ours may be from the published value (epochs are printed rounded).
    """

    key: str
    title: str
    format: str = "{}"
    names: dict[str, str] = Field(default={})
    tolerance: Annotated[float, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _is_known(self) -> Self:
        if self.key not in KEYS:
            raise ValueError(f"no setting {self.key!r} {did_you_mean(self.key, KEYS)}")
        return self

    def agrees(self, ours: Any, theirs: Any) -> bool | None:
        """Whether ours is the published value; None where either is blank."""
        if ours is None or theirs is None:
            return None
        if isinstance(ours, list | tuple):
            parts = zip(ours, theirs, strict=False)
            return len(ours) == len(theirs) and all(self.agrees(a, b) for a, b in parts)
        if isinstance(ours, str):
            return ours == theirs
        return math.isclose(ours, theirs, rel_tol=1e-9, abs_tol=self.tolerance)


class DatasetColumn(ConfigModel):
    """A dataset of recipes.yaml as the heading of columns."""

    name: str
    title: str


class SettingsTable(Table):
    """``kind: settings``: one line per setting, and for each dataset ours beside the published."""

    kind: Literal["settings"]
    datasets: list[DatasetColumn]
    rows: list[SettingRow]

    def check(self, source: str, project: Project) -> None:  # noqa: ARG002 messages name files
        """Refuse unknown datasets, and published settings of unknown datasets."""
        check_names(project)
        for dataset in self.datasets:
            project.recipe(dataset.name, "dataset of a table")

    def count(self, project: Project) -> Sheet:
        """Put the values side by side; datasets that are only ours have no published side."""
        columns = [Column(key="setting", title="Setting", left=True)]
        rows: list[list[Cell]] = [[Cell(row.key, row.title)] for row in self.rows]
        notes = list(self.notes)
        for dataset in self.datasets:
            theirs = load_published(project).settings.get(dataset.name)
            ours = our_settings(dataset.name, project)
            key, group = dataset.name.replace("-", "_"), dataset.title
            columns.append(Column(key=key, title="ours", group=group))
            if theirs is not None:
                columns.append(Column(key=f"{key}_published", title="published", group=group))
                columns.append(Column(key=f"{key}_agree", title="met", group=group))
                notes.append(_note(dataset, self.rows, theirs))
            for row, cells in zip(self.rows, rows, strict=True):
                cells += _cells(row, ours[row.key], theirs, dataset.name)
        names = [(row.key,) for row in self.rows]
        return Sheet(self.title, [Block("", columns, rows, names)], notes)


def our_settings(dataset: str, project: Project) -> dict[str, Any]:
    """A recipe's settings by the keys of published.yaml; None where it says nothing."""
    from dimr.diffusion.loss import branch_weights  # imports torch

    recipe = project.recipe(dataset)
    train, sample, network = recipe.train, recipe.sample, recipe.network
    kinds = {setting.kind: setting for setting in reversed(sample.settings.values())}
    constant, cosine = kinds.get("constant"), kinds.get("power_cosine")
    named_alike = [name for name in KEYS if name in type(train).model_fields]
    return {
        **dict.fromkeys(KEYS),
        **ALWAYS,
        **{name: getattr(train, name) for name in named_alike},
        "epochs": train.steps * train.batch / project.training_images(dataset),
        "loss_weights": branch_weights(network.branches),
        "schedule": network.schedule,
        "solver": sample.solver,
        "evaluations": sample.steps,
        "samples": sample.count,
        "guidance_constant": constant and constant.scale,
        "guidance_power_cosine": cosine and (cosine.scale, cosine.power),
    }


def _cells(row: SettingRow, ours: Any, theirs: Settings | None, dataset: str) -> list[Cell]:
    """Ours; and if the dataset has a published side, that and whether they agree."""
    file = f"the recipe {dataset} in experiments/recipes.yaml"
    cells = [_named(ours, row, "blank: no recipe says" if ours is None else file)]
    if theirs is not None:
        stated: PublishedValue[Any] | None = getattr(theirs, row.key)
        value = stated.value if stated else None
        where = f"blank: {(stated and stated.note) or theirs.blank}"
        if stated and stated.source:
            where = f"published: {stated.source}, {SOURCES[stated.source]}"
        met = row.agrees(ours, value)
        how = "blank: one of the two is" if met is None else "whether ours is the published value"
        cells += [_named(value, row, where), cell(met, origin=Origin(how))]
    return cells


def _named(value: Any, row: SettingRow, how: str) -> Cell:
    """The cell of a value; our names are spelled out for people."""
    plain = cell(value, row.format)
    return Cell(plain.value, row.names.get(plain.text, plain.text), Origin(how))


def _note(dataset: DatasetColumn, rows: list[SettingRow], theirs: Settings) -> str:
    """Sources of a dataset's published values, and why the others are blank, in one line."""
    titles = {row.key: row.title for row in rows}
    stated = {key: getattr(theirs, key) for key in titles if getattr(theirs, key)}
    sources = dict.fromkeys(SOURCES[one.source] for one in stated.values() if one.source)
    said = [f"{titles[key]}: {one.note}." for key, one in stated.items() if one.note]
    start = f"{dataset.title}: published values from {' and '.join(sources)}."
    return " ".join([start, *said, f"Other blanks: {theirs.blank}."])
