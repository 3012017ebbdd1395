"""The figure of images with the texts that they should show."""

from itertools import pairwise

import numpy as np
import pytest

from dimr.config.project import ROOT, Project
from dimr.config.schema import DigitPairs
from dimr.data.digit_pairs import COMBINATIONS, MEANING, heldout_combinations
from dimr.paper.figures import captions
from dimr.paper.figures.lookup import define
from dimr.runtime.errors import DimrError
from dimr.sampling.folder import write_samples
from dimr.sampling.sampler import labels_in_order

PROJECT = Project(ROOT)
TEXTS = [one.captions[turn] for turn in (0, 1) for one in COMBINATIONS]


@pytest.fixture
def definition():
    return define("digits/text", PROJECT)


@pytest.fixture
def runs(tmp_path, definition):
    """Samples of each run: the colour of image i is its number and its row."""

    def write(texts=TEXTS, rows=slice(None), side=8):
        for row, one in list(enumerate(definition.rows))[rows]:
            images = np.empty((2 * len(texts), side, side, 3), np.uint8)
            numbers = np.arange(len(images))
            images[:] = np.stack([numbers // 256, numbers % 256, 0 * numbers + row], -1)[
                :, None, None
            ]
            folder = tmp_path / one.run / "samples" / one.setting
            labels = labels_in_order(len(images), len(texts))
            write_samples(folder, images, labels, texts, "k")
        return tmp_path

    return write


def test_half_of_the_captions_are_held_out(definition, runs):
    seen, heldout = captions.load(definition, PROJECT, runs())
    images = PROJECT.recipe("digits-text").data.images
    assert isinstance(images, DigitPairs)
    never = {text for one in heldout_combinations(images) for text in one.captions}
    assert len(seen.classes) == len(heldout.classes) == definition.prompts
    assert not never & set(seen.classes)
    meant = [MEANING[text] for text in (*seen.classes, *heldout.classes)]
    assert len(set(meant)) == 2 * definition.prompts  # no combination in other words
    assert never > set(heldout.classes)
    assert (seen.title, heldout.title) == (captions.SEEN, captions.HELDOUT)
    for block in (seen, heldout):
        assert block.below
        assert block.rows == ["DiMR-XS/2R\nguided", "U-ViT-XS/2\nguided"]
        for row in range(2):
            for column, text in enumerate(block.classes):
                number = TEXTS.index(text)  # the first image of each
                shown = block.images[row, column, 0]
                assert (shown == (number // 256, number % 256, row)).all()


def test_captions_stand_below_the_images(definition, runs):
    figure = captions.make(definition, PROJECT, runs())
    figure.draw_without_rendering()
    first, second = figure.axes
    top, bottom = (axes.get_window_extent() for axes in (first, second))
    for axes, below in ((first, bottom.y1), (second, 0)):
        place = axes.get_window_extent()
        boxes = [label.get_window_extent() for label in axes.get_xticklabels()]
        assert all(below <= box.y0 < box.y1 <= place.y0 for box in boxes)
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))
    assert top.y0 > bottom.y1


def test_other_captions_are_one_block():
    texts = [f"text {n}" for n in range(10)]
    ((title, labels),) = captions.chosen(texts, set(), 4)
    assert (title, labels) == (captions.SEEN, [0, 2, 4, 6])
    assert captions.heldout_captions(PROJECT, "digits") == set()


def test_rows_of_other_prompts_are_refused(definition, runs):
    runs(rows=slice(0, 1))
    folder = runs(TEXTS[:10], rows=slice(1, 2))
    with pytest.raises(DimrError, match="uvit-xs-2/0/samples/guided: of other prompts or sizes"):
        captions.load(definition, PROJECT, folder)


@pytest.mark.parametrize(
    ("runs_of", "message"),
    [
        (["digits/dimr-xs-2r/0"], "rows: digits/dimr-xs-2r/0: a dataset without captions"),
        (
            ["digits/dimr-xs-2r/0", "digits-text/dimr-xs-2r/0"],
            "rows: of several datasets: digits, digits-text",
        ),
        (
            ["digits-text/dimr-xs-2r/0", "digits-text/dit-xs-2/0"],
            "'dit-xs-2' does not fit digits-text",
        ),
    ],
)
def test_runs_without_captions_are_refused(runs_of, message, definition):
    rows = [definition.rows[0].model_copy(update={"run": run}) for run in runs_of]
    with pytest.raises(DimrError, match=message):
        definition.model_copy(update={"rows": rows}).check(PROJECT)
