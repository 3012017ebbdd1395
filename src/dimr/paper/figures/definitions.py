"""What each figure shows, as data: ``experiments/figures``. Imports neither torch nor matplotlib.

A definition's ``kind`` is the module that draws it. It names the files that the figure is made of,
so that the workflow makes them, and its caption says which runs and how many seeds are shown.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from dimr.config.recipes import ROOT, mapping
from dimr.config.runs import Run, find_variant, load_run
from dimr.config.schema import ConfigModel, Positive, Study, StudyRow
from dimr.config.validation import choose, did_you_mean, load_section, validate
from dimr.paper.figures.rows import TrainedRow, block_lines, check_runs, trained_rows
from dimr.paper.results import RunSetting, metrics_file, provenance_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

FOLDER = Path("experiments/figures")
ARCHITECTURE = "architecture"
"""The figure that is drawn of any variant."""
Index = Annotated[int, Field(ge=0)]


class Definition(ConfigModel):
    """What all kinds have: ``title``, also of the files, and ``caption``, without its runs."""

    title: str
    caption: str

    def runs(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """Names of the runs that are shown."""
        return []

    def files(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """What the figure is made of, as paths in the repository: the workflow makes them."""
        return []

    def check(self, root: Path = ROOT) -> None:
        """Refuse names of no run, setting, table or variant: ``DimrError``."""
        check_runs(self.runs(root), root)

    def full_caption(self, root: Path = ROOT) -> str:
        """The caption, with the runs and their seeds after it."""
        runs = runs_in_words(self.runs(root))
        return f"{' '.join(self.caption.split())}{f' Runs: {runs}.' if runs else ''}"


class SampleRow(ConfigModel):
    """Images of a run at a setting; ``name`` is printed."""

    name: str
    run: str
    setting: str


class SampleBlock(ConfigModel):
    """Rows that share their columns: so many ``classes``, evenly spaced; null: all."""

    title: str
    classes: Positive | None = None
    rows: list[SampleRow] = Field(min_length=1)


class SamplesFigure(Definition):
    """Generated images: rows are models with their settings, columns are classes."""

    kind: Literal["samples"]
    per_class: Positive = 1  # images of a class in a row, the first ones drawn
    blocks: list[SampleBlock] = Field(min_length=1)

    def cells(self) -> list[RunSetting]:
        """Every (run, setting)."""
        return [(row.run, row.setting) for block in self.blocks for row in block.rows]

    def runs(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """Names of the runs, once."""
        return list(dict.fromkeys(run for run, _ in self.cells()))

    def files(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """Folders of images."""
        return [f"runs/{run}/samples/{setting}" for run, setting in self.cells()]

    def check(self, root: Path = ROOT) -> None:
        """Refuse unknown runs and settings."""
        for run, setting in self.cells():
            settings = load_run(run, root).settings
            if setting not in settings:
                raise DimrError(f"{run}: no setting {setting!r} {did_you_mean(setting, settings)}")


class AdaLNFigure(Definition):
    """Principal components of adaLN-Zero's vectors over time; ``blocks`` are drawn in the plane."""

    kind: Literal["adaln_pca"]
    run: str
    blocks: list[Index] = Field(min_length=1, max_length=3)
    label: Index | None = None  # of the class that is the condition beside time; null: no class

    def runs(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """The one run."""
        return [self.run]

    def files(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """Its model."""
        return [f"runs/{self.run}/model"]

    def check(self, root: Path = ROOT) -> None:
        """Refuse a run whose network has no adaLN-Zero, or fewer blocks or classes."""
        run = load_run(self.run, root)
        check_adaln(run)
        sizes = run.network.sizes.arguments() if run.network else {}
        _check_below("blocks", max(self.blocks), sizes["depth"], self.run)
        if self.label is not None:
            _check_below("label", self.label, sizes["num_classes"], self.run)


class TimeFigure(Definition):
    """TD-LN's scales and shifts over time beside adaLN-Zero's, and their numbers of parameters."""

    kind: Literal["td_ln"]
    td: str  # a run
    adaln: str  # a run

    def runs(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """The two runs."""
        return [self.td, self.adaln]

    def files(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """Their models."""
        return [f"runs/{run}/model" for run in self.runs()]

    def check(self, root: Path = ROOT) -> None:
        """Refuse networks in which time enters in another way."""
        run = load_run(self.td, root)
        if run.network is None or run.network.family != "dimr":
            raise DimrError(f"td: {self.td}: no network with TD-LN in its branches (dimr has)")
        check_adaln(load_run(self.adaln, root))


class ArchitectureFigure(Definition):
    """A network, drawn from its own sizes."""

    kind: Literal["architecture"]
    variant: str

    def files(self, root: Path = ROOT) -> list[str]:
        """Sizes, and the code that makes a network of them."""
        networks = sorted((root / "src/dimr/models").glob("*.py"))
        return [
            "experiments/variants.yaml",
            "experiments/recipes.yaml",
            *(file.relative_to(root).as_posix() for file in networks),
        ]

    def check(self, root: Path = ROOT) -> None:
        """Refuse an unknown variant."""
        find_variant(self.variant, root)


class TrainingFigure(Definition):
    """Training curves of the runs of a table that are trained on a dataset."""

    kind: Literal["training"]
    table: str  # below experiments/tables
    dataset: str

    def rows(self, root: Path = ROOT) -> list[TrainedRow]:
        """The models and their runs."""
        return trained_rows(self.table, self.dataset, root)

    def runs(self, root: Path = ROOT) -> list[str]:
        """All runs of the rows."""
        return [run for row in self.rows(root) for run in row.runs]

    def files(self, root: Path = ROOT) -> list[str]:
        """Their logs."""
        return [f"runs/{run}/log.csv" for run in self.runs(root)]


class CostFigure(Definition):
    """A metric over what it costs, for the runs of a table at one setting of guidance."""

    kind: Literal["cost"]
    table: str
    dataset: str
    setting: str
    metric: str
    metric_title: str

    def rows(self, root: Path = ROOT) -> list[TrainedRow]:
        """The models and their runs."""
        return [
            row
            for row in trained_rows(self.table, self.dataset, root)
            if self.setting in row.settings
        ]

    def runs(self, root: Path = ROOT) -> list[str]:
        """All runs of the rows."""
        return [run for row in self.rows(root) for run in row.runs]

    def files(self, root: Path = ROOT) -> list[str]:
        """Their metrics, and what made them."""
        return [
            f"runs/{file(run, self.setting)}"
            for run in self.runs(root)
            for file in (metrics_file, provenance_file)
        ]

    def check(self, root: Path = ROOT) -> None:
        """Refuse a setting that no row has."""
        super().check(root)
        if not self.rows(root):
            rows = trained_rows(self.table, self.dataset, root)
            allowed = list(dict.fromkeys(setting for row in rows for setting in row.settings))
            raise DimrError(f"setting: {self.setting!r} {did_you_mean(self.setting, allowed)}")


class PublishedCostFigure(Definition):
    """Published FID over what it costs, with runs of ours from a table's block where made."""

    kind: Literal["published_cost"]
    table: str
    block: str  # title of the table's block

    def files(self, root: Path = ROOT) -> list[str]:  # noqa: ARG002
        """What is published; runs of ours are shown where they are at hand."""
        return [
            "experiments/published.yaml",
            f"experiments/tables/{self.table}.yaml",
            "experiments/sources.yaml",
        ]

    def cells(self, root: Path = ROOT) -> list[RunSetting]:
        """Every (run, setting) of ours that may be shown."""
        lines = block_lines(self.table, self.block, root)
        return list(dict.fromkeys(cell for line in lines for cell in line.cells))

    def check(self, root: Path = ROOT) -> None:
        """Refuse an unknown table or block."""
        block_lines(self.table, self.block, root)


class LowFidelityFigure(Definition):
    """The first images of each model that a distortion study shows to raters."""

    kind: Literal["low_fidelity"]
    study: str  # below experiments/distortion
    shown: Positive

    def study_rows(self, root: Path = ROOT) -> tuple[StudyRow, ...]:
        """The models."""
        folder = root / "experiments/distortion"
        known = sorted(file.stem for file in folder.glob("*.yaml"))
        if self.study not in known:
            raise DimrError(f"study: no study {self.study!r} {did_you_mean(self.study, known)}")
        return load_section(Study, folder / f"{self.study}.yaml").rows

    def runs(self, root: Path = ROOT) -> list[str]:
        """Their runs."""
        return [row.run for row in self.study_rows(root)]

    def files(self, root: Path = ROOT) -> list[str]:
        """Scores, chosen images, metrics and what made them; what is published of the models."""
        made = [
            f"runs/{row.run}/{file}"
            for row in self.study_rows(root)
            for file in (
                f"distortion/{row.setting}.json",
                f"distortion/{row.setting}.npz",
                f"metrics/{row.setting}.json",
                f"provenance/{row.setting}.json",
            )
        ]
        return [*made, f"experiments/distortion/{self.study}.yaml", "experiments/published.yaml"]


KINDS: dict[str, type[Definition]] = {
    "samples": SamplesFigure,
    "adaln_pca": AdaLNFigure,
    "td_ln": TimeFigure,
    "architecture": ArchitectureFigure,
    "training": TrainingFigure,
    "cost": CostFigure,
    "published_cost": PublishedCostFigure,
    "low_fidelity": LowFidelityFigure,
}
"""The section of a definition by its ``kind``."""


def check_adaln(run: Run) -> None:
    """Refuse a run of a network without adaLN-Zero."""
    sizes: dict[str, Any] = run.network.sizes.arguments() if run.network else {}
    family = run.network.family if run.network else "no network"
    if family != "dit" and sizes.get("time") != "adaln_zero":
        raise DimrError(f"{run.name}: {family} without adaLN-Zero (dit has it, and uvit-*-adaln-*)")


def _check_below(key: str, value: int, count: int, run: str) -> None:
    if value >= count:
        raise DimrError(f"{key}: {value} is not in 0..{count - 1} of {run}")


def runs_in_words(runs: Iterable[str]) -> str:
    """``digits/dit-xs-2 (3 seeds: 0, 1, 2); imagenet256/dimr-xl-2r (authors' weights)``."""
    by_model: dict[str, list[str]] = {}
    for run in dict.fromkeys(runs):
        model, _, seed = run.rpartition("/")
        by_model.setdefault(model, []).append(seed)
    return "; ".join(f"{model} ({_seeds_in_words(seeds)})" for model, seeds in by_model.items())


def _seeds_in_words(seeds: list[str]) -> str:
    numbers = [seed for seed in seeds if seed != "published"]
    words = ["authors' weights"] if len(numbers) < len(seeds) else []
    if len(numbers) == 1:
        words.append(f"seed {numbers[0]}")
    elif numbers:
        words.append(f"{len(numbers)} seeds: {', '.join(numbers)}")
    return "; ".join(words)


def names(root: Path = ROOT) -> list[str]:
    """Every defined figure: ``td_ln``, ``digits/td_ln``."""
    folder = root / FOLDER
    files = folder.rglob("*.yaml")
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def load_figure(name: str, root: Path = ROOT) -> Definition:
    """The definition of a figure by its name, with what it names checked.

    Raises:
        DimrError: an unknown figure with the known ones; a mistake in a definition with its file.
    """
    if name not in (known := names(root)):
        raise DimrError(f"{FOLDER}: no figure {name!r} {did_you_mean(name, known)}")
    path = FOLDER / f"{name}.yaml"
    value = mapping(read_yaml(root / path), str(path))
    definition = validate(choose(KINDS, value, "kind", str(path)), value, str(path))
    try:
        definition.check(root)
    except DimrError as error:
        raise DimrError(f"{path}: {error}") from None
    return definition


def define(name: str, variant: str | None = None, root: Path = ROOT) -> Definition:
    """The figure of a name; with a ``variant``, that of its architecture.

    Any variant's can be asked for: it needs no definition of its own.
    """
    if variant is None:
        return load_figure(name, root)
    if name != ARCHITECTURE:
        raise DimrError(f"--variant: {variant}: is of figure {ARCHITECTURE} alone, not of {name}")
    find_variant(variant, root)
    own = {"title": f"Architecture of {variant}", "variant": variant}
    return load_figure(ARCHITECTURE, root).model_copy(update=own)
