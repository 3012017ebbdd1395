"""What the definitions of all figures have (``dimr.paper.figures.definitions``)."""

from collections.abc import Sequence
from typing import ClassVar

from dimr.config.project import Project
from dimr.config.schema import ConfigModel
from dimr.config.validation import did_you_mean
from dimr.paper.figures.rows import runs_in_words
from dimr.paper.results import RunSetting
from dimr.runtime.errors import DimrError


class Definition(ConfigModel):
    """What all kinds have: ``title``, which the files also get, and ``caption``, without its runs.

    In both, the name in braces of the field that ``choice`` names stands for its value.
    """

    module: ClassVar[str]
    """In ``dimr.paper.figures``: its ``make(definition, project, runs)`` draws the figure."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Files needed of each shown run, at the shown setting."""
    beside: ClassVar[tuple[str, ...]] = ()
    """Files needed below ``experiments``, with fields of the definition in braces."""
    named: ClassVar[tuple[str, ...]] = ()
    """Fields that each name a run."""
    choice: ClassVar[str | None] = None
    """Field that a longer name sets: ``architecture/dimr-g-2r`` sets ``variant``."""
    title: str
    caption: str

    def cells(self, project: Project) -> Sequence[tuple[str, str | None]]:  # noqa: ARG002
        """Runs that are shown, each with its setting of sampling if it matters."""
        return [(getattr(self, field), None) for field in self.named]

    def runs(self, project: Project) -> list[str]:
        """Names of the runs, without duplicates."""
        return list(dict.fromkeys(run for run, _ in self.cells(project)))

    def optional_cells(self, project: Project) -> list[RunSetting]:  # noqa: ARG002
        """Runs that are shown too where they exist, each with its setting."""
        return []

    def files(self, project: Project) -> list[str]:
        """What the figure is made from, as paths in the repository: the workflow makes them."""
        of_runs = [
            f"runs/{run}/{file.format(setting=setting)}"
            for run, setting in self.cells(project)
            for file in self.reads
        ]
        beside = [f"experiments/{file.format(**self.model_dump())}" for file in self.beside]
        return [*dict.fromkeys(of_runs), *beside]

    def check(self, project: Project) -> None:
        """Refuse names of no run, setting, table or variant: ``DimrError``."""
        for run, setting in self.cells(project):
            settings = project.run(run).settings
            if setting is not None and setting not in settings:
                raise DimrError(f"{run}: no setting {setting!r} {did_you_mean(setting, settings)}")

    def filled(self, text: str) -> str:
        """The title or the caption on one line, with the choice's value where it is named."""
        line = " ".join(text.split())
        name = self.choice
        return line.replace(f"{{{name}}}", str(getattr(self, name))) if name else line

    def full_caption(self, project: Project) -> str:
        """The caption, with the runs and their seeds after it."""
        runs = runs_in_words(self.runs(project))
        return f"{self.filled(self.caption)}{f' Runs: {runs}.' if runs else ''}"
