"""Every number that the paper prints stands in the table that prints it, and nowhere else."""

import pytest
import yaml
from tests.support.results import frame_of

from dimr.config.project import PROJECT, ROOT
from dimr.paper.published import load_published
from dimr.paper.tables.definitions import load_table

with open(ROOT / "tests/unit/paper/tables/printed.yaml") as file:
    PRINTED = yaml.safe_load(file)
NOT_THE_PAPERS = {"imagenet256_unguided", "text"}
"""A list of what other papers print, which the paper does not."""


def of_the_paper(name):
    """Blocks, with their lines' names in published.yaml, that stand beside a list of the paper."""
    table = load_table(ROOT / f"experiments/tables/{name}.yaml", PROJECT)
    sheet = table.fill(PROJECT, frame_of({}), partial=True)
    for block in sheet.blocks:
        lines = [line for line in table.lines if line.block == block.title]
        if lines[0].list not in NOT_THE_PAPERS:
            yield lines[0].list, block, [line.published for line in lines]


def found(name):
    """(list, row, column, value) of all that a table says is published."""
    for listed, block, titles in of_the_paper(name):
        for title, row in zip(titles, block.rows, strict=True):
            for column, cell in zip(block.columns, row, strict=True):
                if cell.value is not None and column.key.endswith("_published"):
                    assert cell.origin.how.startswith("published: ")
                    yield listed, title, column.key.removesuffix("_published"), cell.value


def expected(name):
    """The same, of the paper."""
    for listed in (key for key in PRINTED if key.rstrip("ab") == name):
        columns = PRINTED[listed]["columns"]
        for title, *values in PRINTED[listed]["rows"]:
            for key, value in zip(columns[1:], values, strict=True):
                if value is not None and not isinstance(value, bool) and key != "type":
                    by_setting = name == "table1" and key == "fid"
                    yield listed, title, "fid_guided" if by_setting else key, value


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table6", "table7", "table8"])
def test_every_printed_number_and_no_other(name):
    assert set(found(name)) == set(expected(name))
    assert len(list(expected(name))) > 5


def test_the_lists_are_those_of_the_paper_and_two_more():
    assert set(load_published().results) == {*PRINTED, *NOT_THE_PAPERS}


def test_rows_stand_in_the_papers_order_with_its_types():
    for listed, block, titles in (
        one for n in (1, 2, 3, 6, 7, 8) for one in of_the_paper(f"table{n}")
    ):
        printed = [title for title, *_ in PRINTED[listed]["rows"]]
        shown = list(dict.fromkeys(title for title in titles if title))
        assert [title for title in printed if title in shown] == shown
        types = dict(
            zip(titles, (row[_at(block, "type")].value for row in block.rows), strict=True)
        )
        if listed == "table7":
            assert types == {title: kind for title, kind, *_ in PRINTED[listed]["rows"]}


def test_the_ablations_ticks():
    ((_, block, titles),) = of_the_paper("table2")
    marks = PRINTED["table2"]["columns"][3:]
    at = [[column.title for column in block.columns].index(mark) for mark in marks]
    ticks = {t: [bool(row[i].value) for i in at] for t, row in zip(titles, block.rows, strict=True)}
    assert {t: v for t, v in ticks.items() if t} == {r[0]: r[3:] for r in PRINTED["table2"]["rows"]}
    assert ticks[None] == [False, True, False, False, False]  # our own row


def test_sizes_are_counted_where_no_run_exists():
    ((_, block, _),) = of_the_paper("table2")
    sizes = [row[_at(block, "parameters_m")].text for row in block.rows]
    assert sizes == ["130.9M", "193.1M", "217.9M", "154.0M", "132.9M", "132.9M", "131.1M"]
    assert {row[_at(block, "fid")].text for row in block.rows} == {"?"}


@pytest.mark.parametrize(
    ("table", "row", "key", "said"),
    [
        ("table1", "DiMR-XL/2R", "fid_unguided_published",
         "published: image, the authors' picture of the table on their project page: "
         "table 1a of the paper, row DiMR-XL/2R"),
        ("table8", "DiMR-XL/3R", "inception_score_published",
         "published: derived, follows from two confirmed numbers: table 8 of the paper, row "
         "DiMR-XL/3R; IS: DiT-XL/2's 240.8 and the 49.0 more that the text of the paper states"),
        ("table7", "CDM", "precision_published", "blank: the authors' table has no value"),
    ],
)  # fmt: skip
def test_a_published_cell_says_where_it_was_seen(table, row, key, said):
    cells = [
        cells[_at(block, key)]
        for _, block, titles in of_the_paper(table)
        for title, cells in zip(titles, block.rows, strict=True)
        if title == row
    ]
    assert cells
    assert {cell.origin.how for cell in cells} == {said}


def _at(block, key):
    return [column.key for column in block.columns].index(key)
