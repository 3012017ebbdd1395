"""Generated images with the texts that they should show, uncurated: the first for each text."""

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dimr.config.project import Project
from dimr.config.schema import DigitPairs
from dimr.data.classes import evenly_spaced
from dimr.data.shards import open_shards
from dimr.paper.figures.definitions import CaptionsFigure
from dimr.paper.figures.samples import Tiles, draw, first_of_class, row_name
from dimr.runtime.errors import DimrError
from dimr.sampling.grid import heading

SEEN, HELDOUT = "Captions of training", "Captions that training never shows"


def make(definition: CaptionsFigure, project: Project, runs: Path) -> Figure:
    """The figure of a definition."""
    return draw(load(definition, project, runs))


def load(definition: CaptionsFigure, project: Project, runs: Path) -> list[Tiles]:
    """Read the images of a block, or of two: captions of training, and held-out ones.

    Raises:
        DimrError: samples that are missing, or of prompts other than the first row's.
    """
    folders = [runs / row.run / "samples" / row.setting for row in definition.rows]
    opened = [open_shards(folder) for folder in folders]
    prompts = opened[0].manifest.class_names
    for folder, shards in zip(folders, opened, strict=True):
        if (
            shards.manifest.class_names != prompts
            or shards.manifest.shape != opened[0].manifest.shape
        ):
            raise DimrError(f"{folder}: of other prompts or sizes than {folders[0]}")
    heldout = heldout_captions(project, project.run(definition.rows[0].run).dataset)
    tiles = []
    for title, labels in chosen(prompts, heldout, definition.prompts):
        rows = [
            [first_of_class(shards, label, 1, folder) for label in labels]
            for folder, shards in zip(folders, opened, strict=True)
        ]
        texts = [heading(prompts, label, "text") for label in labels]
        names = [row_name(row) for row in definition.rows]
        tiles.append(Tiles(title, names, texts, np.array(rows), below=True))
    return tiles


def heldout_captions(project: Project, dataset: str) -> set[str]:
    """The captions of a dataset that, by its recipe, none of its training images has."""
    from dimr.data.digit_pairs import heldout_combinations  # scikit-learn is slow to import

    images = getattr(project.recipe(dataset).data, "images", None)
    if not isinstance(images, DigitPairs):
        return set()
    return {text for one in heldout_combinations(images) for text in one.captions}


def chosen(
    prompts: Sequence[str], heldout: Collection[str], count: int
) -> list[tuple[str, list[int]]]:
    """For each kind that there is, its title and the numbers of ``count`` evenly spaced prompts.

    They are spaced as for one more: two halves of a list often say the same in other words.
    """
    kinds = {
        SEEN: [n for n, text in enumerate(prompts) if text not in heldout],
        HELDOUT: [n for n, text in enumerate(prompts) if text in heldout],
    }
    return [
        (title, [numbers[n] for n in evenly_spaced(len(numbers), count + 1)[:count]])
        for title, numbers in kinds.items()
        if numbers
    ]
