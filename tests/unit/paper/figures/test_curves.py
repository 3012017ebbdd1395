"""A column over another: the table's evaluations, and the points of the picture."""

import csv

import numpy as np
import pytest
from PIL import Image
from tests.support.results import frame_of

from dimr.config.project import PROJECT
from dimr.paper.figures.bars import table_bars
from dimr.paper.figures.curves import table_curves
from dimr.paper.tables.render import to_csv, to_markdown
from dimr.paper.tables.runs import RunsTable

POINTS = {"ours": {"a10": (10, 4.0), "a100": (100, 1.0)}, "other": {"b10": (10, 2.0)}}
FRAME = frame_of({
    ("d/m/0", name): {"evaluations": steps, "fid": fid}
    for settings in POINTS.values()
    for name, (steps, fid) in settings.items()
})  # fmt: skip


@pytest.fixture
def table():
    return RunsTable.model_validate({
        "title": "T", "notes": [], "seeds": 1, "curve": ("evaluations", "fid"),
        "columns": [
            {"key": "evaluations", "title": "Evaluations", "format": "{:.0f}"},
            {"key": "fid", "title": "FID", "format": "{:.2f}"},
        ],
        "rows": [
            {"name": name, "run": "d/m", "settings": list(settings)}
            for name, settings in POINTS.items()
        ],
    })  # fmt: skip


def test_the_table_says_the_evaluations(table):
    sheet = table.fill(PROJECT, FRAME)
    lines = list(csv.DictReader(to_csv(sheet).splitlines()))
    assert [(line["setting"], line["evaluations"], line["fid"]) for line in lines] == [
        ("a10", "10", "4"), ("a100", "100", "1"), ("b10", "10", "2"),
    ]  # fmt: skip
    assert "| 100 |" in " ".join(to_markdown(sheet).split())


def markers(picture, colour):
    """Centres of a colour's largest runs of columns, and its topmost row."""
    found = (np.abs(picture.astype(int) - colour) < 40).all(-1)
    return np.argwhere(found)


def test_the_curve_goes_through_the_points(table, tmp_path):
    table_curves(table, FRAME, "evaluations", "fid", tmp_path / "c.png")
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    places = markers(picture, (0x08, 0x30, 0x6B))
    places = places[places[:, 1] < picture.shape[1] * 0.97]
    left = places[places[:, 1] <= places[:, 1].min() + 8]  # the first marker
    other = markers(picture, (0xE6, 0x55, 0x0D))
    other = other[other[:, 1] <= places[:, 1].min() + 8]
    assert len(other) > 0  # the other row has a point over the same evaluations
    assert other[:, 0].mean() > left[:, 0].mean() + 20  # a smaller value is lower


def test_bars_reach_as_far_as_their_means(tmp_path):
    above, own = [3.0, 3.4, 2.9], [2.0, 2.5, 1.8]
    frame = frame_of({
        (f"d/{name}/{seed}", "unguided"): {"fid": value}
        for name, values in (("a", above), ("b", own))
        for seed, value in enumerate(values)
    })  # fmt: skip
    table = RunsTable.model_validate({
        "title": "T", "seeds": 3, "paired": "fid", "columns": [{"key": "fid", "title": "FID"}],
        "rows": [{"name": n, "run": f"d/{n}", "settings": ["unguided"]} for n in ("a", "b")],
    })  # fmt: skip
    table_bars(table, frame, "fid", tmp_path / "bars.png")
    picture = np.asarray(Image.open(tmp_path / "bars.png").convert("RGB"))
    bar = (picture == (0x9E, 0xCA, 0xE1)).all(-1)  # the bars' colour
    rows = np.flatnonzero(bar.any(1))
    middle = len(rows) // 2
    reach = [
        np.flatnonzero(bar[part].any(0)).max() for part in (rows[: middle - 3], rows[middle + 3 :])
    ]
    start = np.flatnonzero(bar.any(0)).min()
    ratio = (reach[0] - start) / (reach[1] - start)
    assert ratio == pytest.approx(3.1 / 2.1, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curve": ("steps", "fid")}, "curve: 'steps' is no column"),
        ({"paired": "fid"}, "paired and curve: a table has one picture"),
    ],
)
def test_what_cannot_be_drawn(table, change, message):
    with pytest.raises(ValueError, match=message):
        RunsTable.model_validate({**table.model_dump(), **change})
