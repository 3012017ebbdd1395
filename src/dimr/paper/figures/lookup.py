"""From a figure's name to its definition: a file of ``experiments/figures``.

A name is a file's (``td_ln``, ``digits/td_ln``), a file's with what it should show after it
(``architecture/dimr-g-2r``, ``class_samples/270``), or another name of either that
``experiments/figures.yaml`` lists (``figure4``, ``figure7``).
"""

from pathlib import Path
from typing import NamedTuple

from dimr.config.project import Project
from dimr.config.validation import choose, did_you_mean, mapping, validate
from dimr.paper.figures.definition import Definition
from dimr.paper.figures.definitions import KINDS
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_yaml

FOLDER = Path("experiments/figures")
NUMBERS = Path("experiments/figures.yaml")


class Place(NamedTuple):
    """Where a figure's definition is.

    Attributes:
        definition: its name.
        choice: which of its possible subjects the figure shows; None: the definition's own.
    """

    definition: str
    choice: str | None

    @property
    def file(self) -> Path:
        """In the repository."""
        return FOLDER / f"{self.definition}.yaml"

    @property
    def name(self) -> str:
        """The figure's name, whichever other name was used to find it."""
        return self.definition if self.choice is None else f"{self.definition}/{self.choice}"


def names(project: Project) -> list[str]:
    """Every definition: ``td_ln``, ``digits/td_ln``."""
    folder = project.root / FOLDER
    files = folder.rglob("*.yaml")
    return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def other_names(project: Project) -> dict[str, str]:
    """The paper's numbers and other further names: ``figure4`` is ``td_ln``."""
    listed = mapping(read_yaml(project.root / NUMBERS), str(NUMBERS))
    return {str(name): str(meant) for name, meant in listed.items()}


def find(name: str, project: Project) -> Place:
    """Where the definition of a figure is; ``DimrError`` names what there is."""
    known, others = names(project), other_names(project)
    meant = others.get(name, name)
    if meant in known:
        return Place(meant, None)
    definition, _, choice = meant.rpartition("/")
    if definition in known:
        return Place(definition, choice)
    where = FOLDER if meant == name else f"{NUMBERS}: {name}"
    raise DimrError(f"{where}: no figure {meant!r} {did_you_mean(meant, [*known, *others])}")


def define(name: str, project: Project) -> Definition:
    """The definition of a figure by its name, with what it names checked.

    Raises:
        DimrError: an unknown figure with the known ones; a mistake in a definition with its file.
    """
    place = find(name, project)
    path, choice = place.file, place.choice
    value = mapping(read_yaml(project.root / path), str(path))
    kind = choose(KINDS, value, "kind", str(path))
    if choice is not None:
        if kind.choice is None:
            raise DimrError(f"{path}: {choice!r}: a figure of kind {value['kind']} has no choice")
        value[kind.choice] = int(choice) if choice.isdecimal() else choice
    definition = validate(kind, value, str(path))
    try:
        definition.check(project)
    except DimrError as error:
        raise DimrError(f"{path}: {error}") from None
    return definition
