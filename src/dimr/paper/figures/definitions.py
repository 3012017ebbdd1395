"""What each figure shows, as data: ``experiments/figures``. Imports neither torch nor matplotlib.

A definition's ``kind`` says which module draws it. It names the files that the figure is made from,
so that the workflow makes them first, and its caption says which runs and how many seeds it shows.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from dimr.config.project import Project
from dimr.config.schema import ConfigModel, Positive, Study, StudyRow
from dimr.config.validation import did_you_mean
from dimr.human_study.study import FOLDER as STUDIES
from dimr.paper.figures.definition import Definition
from dimr.paper.figures.rows import TrainedRow, block_lines, trained_rows
from dimr.paper.results import RunSetting, metrics_file, provenance_file
from dimr.paper.study.claims import FILE as CLAIMS
from dimr.paper.study.claims import Claims, load_claims
from dimr.runtime.errors import DimrError
from dimr.runtime.record import RECORD

Index = Annotated[int, Field(ge=0)]


class SampleRow(ConfigModel):
    """Images of a run at a setting; ``name`` is printed."""

    name: str
    run: str
    setting: str


class SampleBlock(ConfigModel):
    """Rows that share their columns: ``classes`` classes, evenly spaced; null: all."""

    title: str
    classes: Positive | None = None
    rows: list[SampleRow] = Field(min_length=1)


class SamplesFigure(Definition):
    """Generated images: rows are models with their settings, columns are classes."""

    module = "samples"
    reads = ("samples/{setting}/" + RECORD,)
    kind: Literal["samples"]
    per_class: Positive = 1  # images of a class in a row, the first ones drawn
    blocks: list[SampleBlock] = Field(min_length=1)

    def cells(self, project: Project) -> list[RunSetting]:  # noqa: ARG002
        """Of every row."""
        return [(row.run, row.setting) for block in self.blocks for row in block.rows]


class ClassFigure(Definition):
    """The first images of a class that a run drew: at most ``images``, ``columns`` per line."""

    module = "class_samples"
    reads = ("samples/{setting}/" + RECORD,)
    choice = "label"
    kind: Literal["class_samples"]
    run: str
    setting: str
    label: Index  # the class
    images: Positive
    columns: Positive

    def cells(self, project: Project) -> list[RunSetting]:  # noqa: ARG002
        """The run."""
        return [(self.run, self.setting)]

    def check(self, project: Project) -> None:
        """Refuse a class that the run does not have."""
        super().check(project)
        classes = project.run(self.run).recipe.network.num_classes
        if self.label >= classes:
            raise DimrError(f"label: {self.label} is not in 0..{classes - 1} of {self.run}")


class CaptionsFigure(Definition):
    """Images with their texts below them: rows are models, each with the first image it drew.

    ``prompts`` texts, evenly spaced; and, if captions are held out of training, as many of these.
    """

    module = "captions"
    reads = ("samples/{setting}/" + RECORD,)
    beside = ("recipes.yaml",)
    kind: Literal["captions"]
    prompts: Annotated[int, Field(ge=1, le=8)]
    rows: list[SampleRow] = Field(min_length=1)

    def cells(self, project: Project) -> list[RunSetting]:  # noqa: ARG002
        """Of every row."""
        return [(row.run, row.setting) for row in self.rows]

    def check(self, project: Project) -> None:
        """Refuse runs on datasets without captions."""
        super().check(project)
        found = {project.run(row.run).dataset for row in self.rows}
        if len(found) > 1:
            raise DimrError(f"rows: of several datasets: {', '.join(sorted(found))}")
        if project.recipe(found.pop()).data.text_encoder is None:
            raise DimrError(f"rows: {self.rows[0].run}: a dataset without captions")


class AdaLNFigure(Definition):
    """Principal components of adaLN-Zero's vectors, as a run's sampler meets them.

    ``images`` are the first of ``setting``. ``depths`` are numbers of blocks from 1, a row of
    panels each; null: one row, of all blocks.
    """

    module = "adaln_pca"
    reads = ("model/" + RECORD, "config/sample-{setting}.yaml")
    kind: Literal["adaln_pca"]
    run: str
    setting: str
    images: Positive
    depths: list[Positive] | None = Field(default=None, min_length=1, max_length=6)

    def cells(self, project: Project) -> list[RunSetting]:  # noqa: ARG002
        """The run."""
        return [(self.run, self.setting)]

    def check(self, project: Project) -> None:
        """Refuse a run whose network has no adaLN-Zero, or fewer blocks."""
        blocks = _adaln_sizes(self.run, project)["depth"]
        super().check(project)
        for depth in self.depths or []:
            if depth > blocks:
                raise DimrError(f"depths: {depth} is not in 1..{blocks} of {self.run}")


class TimeFigure(Definition):
    """TD-LN's scales and shifts over time beside adaLN-Zero's, and their numbers of parameters."""

    module = "td_ln"
    reads, named = ("model/" + RECORD,), ("td", "adaln")
    kind: Literal["td_ln"]
    td: str  # a run
    adaln: str  # a run

    def check(self, project: Project) -> None:
        """Refuse networks in which time enters in another way."""
        super().check(project)
        network = project.run(self.td).network
        sizes = network.sizes.arguments() if network else {}
        if sizes.get("norm") not in ("rms", "layer") or sizes["first"] != "transformer":
            raise DimrError(f"td: {self.td}: no TD-LN in its Transformer blocks (dimr has it)")
        _adaln_sizes(self.adaln, project)


class ArchitectureFigure(Definition):
    """A network, drawn from its own sizes."""

    module = "architecture"
    beside = ("variants.yaml", "recipes.yaml")
    choice = "variant"
    kind: Literal["architecture"]
    variant: str

    def files(self, project: Project) -> list[str]:
        """Sizes, and the code that builds a network from them."""
        networks = sorted((project.root / "src/dimr/models").glob("*.py"))
        code = [file.relative_to(project.root).as_posix() for file in networks]
        return [*super().files(project), *code]

    def check(self, project: Project) -> None:
        """Refuse an unknown variant."""
        project.variant(self.variant)


class TableFigure(Definition):
    """A figure of a table's runs (below ``experiments/tables``) that are trained on a dataset."""

    table: str
    dataset: str

    def rows(self, project: Project) -> list[TrainedRow]:
        """The models and their runs."""
        return trained_rows(self.table, self.dataset, project)


class TrainingFigure(TableFigure):
    """Training curves."""

    module = "training"
    reads = ("log.csv",)
    kind: Literal["training"]

    def cells(self, project: Project) -> list[tuple[str, None]]:
        """All runs of the rows."""
        return [(run, None) for row in self.rows(project) for run in row.runs]


class CostFigure(TableFigure):
    """A metric over what it costs, at one setting of sampling."""

    module = "cost"
    reads = ("metrics/{setting}.json", "provenance/{setting}.json")
    kind: Literal["cost"]
    setting: str
    metric: str
    metric_title: str

    def rows(self, project: Project) -> list[TrainedRow]:
        """The models that the table shows at the setting; ``DimrError`` if none is."""
        rows = super().rows(project)
        found = [row for row in rows if self.setting in row.settings]
        if not found:
            allowed = list(dict.fromkeys(setting for row in rows for setting in row.settings))
            raise DimrError(f"setting: {self.setting!r} {did_you_mean(self.setting, allowed)}")
        return found

    def cells(self, project: Project) -> list[RunSetting]:
        """All runs of the rows."""
        return [(run, self.setting) for row in self.rows(project) for run in row.runs]


class PublishedCostFigure(Definition):
    """Published FID over what it costs, with our runs of a table's block where they exist."""

    module = "cost"
    beside = ("published.yaml", "tables/{table}.yaml", "sources.yaml")
    kind: Literal["published_cost"]
    table: str
    block: str  # title of the table's block

    def optional_cells(self, project: Project) -> list[RunSetting]:
        """Our runs that may be shown."""
        lines = block_lines(self.table, self.block, project)
        return list(dict.fromkeys(cell for line in lines for cell in line.cells))

    def check(self, project: Project) -> None:
        """Refuse an unknown table or block."""
        block_lines(self.table, self.block, project)


class EffectsFigure(Definition):
    """What the claims of claims.yaml found, beside the paper's effects.

    Computed from the recorded numbers, like the study's page: both say the same.
    """

    module = "effects"
    beside = (CLAIMS, "published.yaml")
    kind: Literal["effects"]
    recorded: str  # below results: the study's numbers, seed by seed

    def claims(self, project: Project) -> Claims:
        """The claims."""
        return load_claims(project.experiments / CLAIMS)

    def cells(self, project: Project) -> list[RunSetting]:
        """Both runs of every comparison, with its seeds."""
        return self.claims(project).cells()

    def files(self, project: Project) -> list[str]:
        """The recorded numbers, and the claims."""
        return [f"results/{self.recorded}", *super().files(project)]


class LowFidelityFigure(Definition):
    """Low-fidelity images of the models of a distortion study, a random draw of each.

    They are those below the study's threshold or, for the same rejection rate of all models, the
    least confident ``share`` of each one's images.
    """

    module = "low_fidelity"
    reads = (
        "distortion/{setting}.json",
        "distortion/{setting}.npy",
        "samples/{setting}/" + RECORD,
    )
    beside = ("distortion/{study}.yaml", "published.yaml")
    kind: Literal["low_fidelity"]
    study: str  # below experiments/distortion
    models: list[str] = Field(default=[])  # names in the study, in the figure's order; []: all
    share: Annotated[float, Field(gt=0, le=1)] | None = None  # null: those below the threshold
    shown: Positive  # images of each model, at most

    def rows(self, project: Project) -> list[StudyRow]:
        """The models."""
        known = sorted(file.stem for file in (project.experiments / STUDIES).glob("*.yaml"))
        if self.study not in known:
            raise DimrError(f"study: no study {self.study!r} {did_you_mean(self.study, known)}")
        rows = project.load(Study, f"{STUDIES}/{self.study}.yaml").rows
        by_name = {row.name: row for row in rows}
        for name in self.models:
            if name not in by_name:
                raise DimrError(f"models: no model {name!r} {did_you_mean(name, list(by_name))}")
        return [by_name[name] for name in self.models or by_name]

    def cells(self, project: Project) -> list[RunSetting]:
        """Their runs, with the settings whose images are shown."""
        return [(row.run, row.setting) for row in self.rows(project)]

    def fid_cells(self, project: Project) -> list[RunSetting]:
        """Their runs, with the settings whose FID is shown with the images."""
        return [(row.run, row.fid_setting) for row in self.rows(project)]

    def files(self, project: Project) -> list[str]:
        """Images, and metrics."""
        kinds = (metrics_file, provenance_file)
        measured = [f"runs/{kind(*cell)}" for cell in self.fid_cells(project) for kind in kinds]
        return [*super().files(project), *measured]


KINDS: dict[str, type[Definition]] = {
    "samples": SamplesFigure,
    "class_samples": ClassFigure,
    "captions": CaptionsFigure,
    "adaln_pca": AdaLNFigure,
    "td_ln": TimeFigure,
    "architecture": ArchitectureFigure,
    "training": TrainingFigure,
    "cost": CostFigure,
    "published_cost": PublishedCostFigure,
    "effects": EffectsFigure,
    "low_fidelity": LowFidelityFigure,
}
"""The section of a definition by its ``kind``."""


def _adaln_sizes(name: str, project: Project) -> dict[str, Any]:
    """Sizes of a run's network; ``DimrError`` if it has no adaLN-Zero."""
    network = project.run(name).network
    sizes: dict[str, Any] = network.sizes.arguments() if network else {}
    if network is None or (network.family != "dit" and sizes.get("time") != "adaln_zero"):
        family = network.family if network else "no network"
        raise DimrError(f"{name}: {family} without adaLN-Zero (dit has it, and uvit-*-adaln-*)")
    return sizes
