"""A column over another: the table's evaluations, and the points of the picture."""

import csv

import numpy as np
import pytest
from PIL import Image
from tests.support.results import leave_result

from dimr.paper.figures.curves import table_curves
from dimr.paper.results import read_cells
from dimr.paper.tables.runs import Table, table_sheet
from dimr.paper.tables.sheets import to_csv, to_markdown

POINTS = {"ours": {"a10": (10, 4.0), "a100": (100, 1.0)}, "other": {"b10": (10, 2.0)}}


@pytest.fixture
def table(tmp_path):
    for settings in POINTS.values():
        for name, (steps, fid) in settings.items():
            samples = {"config": {"steps": steps}}
            leave_result(tmp_path, "d/m/0", name, {"fid": fid}, samples=samples)
    return Table.model_validate({
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


def test_the_table_says_the_evaluations(table, tmp_path):
    sheet = table_sheet(table, read_cells(tmp_path, table.cells()))
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
    table_curves(table, tmp_path, "evaluations", "fid", tmp_path / "c.png")
    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))
    places = markers(picture, (0x08, 0x30, 0x6B))
    places = places[places[:, 1] < picture.shape[1] * 0.97]
    left = places[places[:, 1] <= places[:, 1].min() + 8]  # the first marker
    other = markers(picture, (0xE6, 0x55, 0x0D))
    other = other[other[:, 1] <= places[:, 1].min() + 8]
    assert len(other) > 0  # the other row has a point over the same evaluations
    assert other[:, 0].mean() > left[:, 0].mean() + 20  # a smaller value is lower


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"curve": ("steps", "fid")}, "curve: 'steps' is no column"),
        ({"paired": "fid"}, "paired and curve: a table has one picture"),
    ],
)
def test_what_cannot_be_drawn(table, change, message):
    with pytest.raises(ValueError, match=message):
        Table.model_validate({**table.model_dump(), **change})
