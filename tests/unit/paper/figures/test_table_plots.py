"""Pictures of tables: bars and curves of the frame's numbers, and samples."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.support.shards import write_shards

from dimr.paper.figures import table_plots
from dimr.paper.tables.runs import RunsTable

SETTINGS = {"ours": ["a10", "a100"], "other": ["b10"]}
NUMBERS = {  # by setting: evaluations, and the FID of each seed
    "a10": (10, [4.0, 5.0]), "a100": (100, [1.0, 2.0]), "b10": (10, [2.0, 4.0]),
}  # fmt: skip


def table(**changes):
    rows = [{"name": name, "run": "d/m", "settings": own} for name, own in SETTINGS.items()]
    columns = [
        {"key": "evaluations", "title": "Evaluations", "format": "{:.0f}"},
        {"key": "fid", "title": "FID", "format": "{:.2f}"},
    ]
    value = {"title": "T", "seeds": 2, "columns": columns, "rows": rows}
    return RunsTable.model_validate({**value, **changes})


@pytest.fixture
def frame():
    lines = [
        (f"d/m/{seed}", setting, metric, value)
        for setting, (steps, fids) in NUMBERS.items()
        for seed, fid in enumerate(fids)
        for metric, value in (("evaluations", steps), ("fid", fid))
    ]
    return pd.DataFrame(lines, columns=["run", "setting", "metric", "value"])


def test_a_curve_goes_through_the_means_and_shows_every_seed(frame):
    (axes,) = table_plots.curves(table(curve=("evaluations", "fid")), frame).axes
    points = [line.get_xydata().tolist() for line in axes.lines]
    assert points == [
        [[10, 4], [10, 5]], [[100, 1], [100, 2]], [[10, 4.5], [100, 1.5]],  # seeds, means
        [[10, 2], [10, 4]], [[10, 3]],
    ]  # fmt: skip
    assert [text.get_text() for text in axes.get_legend().texts] == list(SETTINGS)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["10", "100"]
    assert axes.get_ylabel() == "FID (lower is better)"
    assert axes.get_ylim()[0] == 0


def test_bars_are_means_with_a_panel_per_setting(frame):
    figure = table_plots.bars(table(paired="fid"), frame)
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(NUMBERS)
    for axes, (_, fids) in zip(figure.axes, NUMBERS.values(), strict=True):
        (bar,) = axes.patches
        assert bar.get_width() == np.mean(fids)
        *_, dots = axes.lines
        assert dots.get_xdata().tolist() == fids
        assert [text.get_text() for text in axes.texts] == [f"{np.mean(fids):.2f}"]
    assert figure.axes[-1].get_xlabel() == "FID (lower is better)"


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("fid", " (lower is better)"),
        ("fid_digits", " (lower is better)"),
        ("recall", " (higher is better)"),
        ("train_seconds", ""),
    ],
)
def test_an_axis_says_which_way_is_better(key, said):
    assert table_plots.direction(key) == said


def test_samples_are_the_first_two_of_each_class(tmp_path):
    images = np.arange(8, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    for settings in SETTINGS.values():
        for setting in settings:
            write_shards(
                tmp_path / "d/m/0/samples" / setting, [images], np.arange(8) % 3, kind="pixels",
                classes=3, class_names=list("abc"), scaling_factor=None, key="k", shard_size=5,
            )  # fmt: skip
    picture = np.asarray(table_plots.samples(table(), tmp_path))
    block = 2 * (8 + 2) - 2  # two rows of images of 4 pixels, twice as large
    top = 2 + table_plots.HEADING
    for line in range(3):
        start = top + line * (block + table_plots.HEADING + 6)
        shown = picture[start : start + block : 10, 2:32:10, 0]
        assert shown.tolist() == [[0, 1, 2], [3, 4, 5]], line


@pytest.mark.parametrize("change", [{"curve": ("evaluations", "fid")}, {"paired": "fid"}])
def test_the_same_numbers_give_the_same_file(frame, tmp_path, change):
    for name in ("a", "b"):
        table_plots.draw_table(table(**change), frame, tmp_path, tmp_path / f"{name}.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert Image.open(tmp_path / "a.png").info["Software"] == "dimr"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curve": ("steps", "fid")}, "curve: 'steps' is no column"),
        ({"paired": "fid", "curve": ("evaluations", "fid")}, "a table has one picture"),
    ],
)
def test_what_cannot_be_drawn(change, message):
    with pytest.raises(ValueError, match=message):
        table(**change)
