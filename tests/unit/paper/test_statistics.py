"""The comparison with the row above: scipy's paired interval, and how it lands in a table."""

import csv

import numpy as np
import pytest
from PIL import Image
from scipy.stats import ttest_rel
from tests.support.results import leave_result

from dimr.paper.figures.bars import table_bars
from dimr.paper.results import read_cells
from dimr.paper.statistics import Change, paired_change
from dimr.paper.tables.runs import Table, change_of, table_sheet
from dimr.paper.tables.sheets import write_sheet

ABOVE = [3.0, 3.4, 2.9]
OWN = [2.0, 2.5, 1.8]


def test_interval_is_scipys():
    change = paired_change(OWN, ABOVE)
    expected = ttest_rel(OWN, ABOVE).confidence_interval(0.95)
    assert change.mean == pytest.approx(np.mean(OWN) - np.mean(ABOVE))
    assert (change.low, change.high) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(
    ("low", "high", "lower", "higher"),
    [
        (-2.0, -0.1, "better", "worse"),
        (0.1, 2.0, "worse", "better"),
        (-0.1, 2.0, "undecided", "undecided"),
        (None, None, "undecided", "undecided"),
    ],
)
def test_verdict(low, high, lower, higher):
    change = Change(0.0, low, high)
    assert change.verdict() == lower
    assert change.verdict(lower_is_better=False) == higher


def test_seeds_must_pair():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        paired_change([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="no seeds"):
        paired_change([], [])


@pytest.fixture
def table(tmp_path):
    for name, values in {"a": ABOVE, "b": OWN}.items():
        for seed, value in enumerate(values):
            leave_result(tmp_path, f"d/{name}/{seed}", "unguided", {"fid": value})
    definition = {
        "title": "T", "notes": [], "seeds": 3, "paired": "fid",
        "columns": [
            {"key": "fid", "title": "FID", "format": "{:.2f}"},
            {"key": "change", "title": "Change", "format": "{}"},
        ],
        "rows": [
            {"name": "A", "run": "d/a", "settings": ["unguided"]},
            {"name": "B", "run": "d/b", "settings": ["unguided"]},
        ],
    }  # fmt: skip
    return Table.model_validate(definition)


def test_table_with_changes(table, tmp_path):
    sheet = table_sheet(table, read_cells(tmp_path, table.cells()))
    write_sheet(sheet, *(tmp_path / f"t.{end}" for end in ("csv", "md", "tex")), label="t")
    text = (tmp_path / "t.md").read_text()
    with open(tmp_path / "t.csv") as file:
        first, second = csv.DictReader(file)
    assert first["change"] == first["change_mean"] == ""
    change = paired_change(OWN, ABOVE)
    assert float(second["change_low"]) == pytest.approx(change.low, rel=1e-5)
    assert second["change"] == f"-1.00 [{change.low:+.2f}, {change.high:+.2f}], better"
    assert second["change"] in text
    assert float(second["fid"]) == pytest.approx(2.1)


def test_a_named_row_is_compared_with_every_other(table, tmp_path):
    """The named row less each other, at the settings that both have."""
    for seed, value in enumerate([5.0, 5.0, 5.6]):
        leave_result(tmp_path, f"d/c/{seed}", "unguided", {"fid": value})
        leave_result(tmp_path, f"d/c/{seed}", "guided", {"fid": value})
    rows = [
        *table.model_dump()["rows"],
        {"name": "C", "run": "d/c", "settings": ["unguided", "guided"]},
    ]
    named = Table.model_validate({**table.model_dump(), "rows": rows, "paired_row": "B"})
    made = read_cells(tmp_path, named.cells())
    a, b, c = named.rows
    assert change_of(named, b, "unguided", made) is None
    assert change_of(named, a, "unguided", made) == paired_change(OWN, ABOVE)
    assert change_of(named, c, "unguided", made) == paired_change(OWN, [5.0, 5.0, 5.6])
    assert change_of(named, c, "guided", made) is None  # B is not made at it
    block = table_sheet(named, made).blocks[0]
    at = [column.key for column in block.columns].index("change")
    changes = [row[at].text for row in block.rows]
    assert changes[0].startswith("-1.00 [")
    assert changes[0].endswith("better")
    assert changes[1] == changes[3] == ""
    # of the seeds that both are made with
    del made["d/a/1", "unguided"]
    assert change_of(named, a, "unguided", made) == paired_change(OWN[::2], ABOVE[::2])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"paired_row": "D"}, r"no row 'D' \(allowed: A, B"),
        ({"paired_row": "B", "paired": None}, "needs paired"),
    ],
)
def test_only_a_row_can_be_compared_with(table, change, message):
    with pytest.raises(ValueError, match=message):
        Table.model_validate({**table.model_dump(), **change})


def test_only_a_column_can_be_compared(table):
    with pytest.raises(ValueError, match="'is' is no column"):
        Table.model_validate({**table.model_dump(), "paired": "is"})


def test_bars(table, tmp_path):
    table_bars(table, tmp_path, "fid", tmp_path / "bars.png")
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
