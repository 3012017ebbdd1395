"""Blocks of the README: made from files, stale ones found, mistakes named."""

import pytest

from dimr.cli import main
from dimr.paper.documents import check, fill, update
from dimr.runtime.errors import DimrError

TABLE = """**A table**

| Model | Training (s) |  FID |
|-------|-------------:|-----:|
| A \\| B |          123 | 1.50 |

- a note
"""
PAGE = """# A page

## In short

See [this](../results/x.csv), [that](#below), [there](https://example.com/a).

### Details

More.

## Below

Not this.
"""


def document(mark, inside="old\n"):
    return f"# Readme\n\n<!-- from {mark} -->\n{inside}<!-- end -->\n\nafter\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/page.md").write_text(PAGE)
    (tmp_path / "table.md").write_text(TABLE)
    (tmp_path / "two.md").write_text(TABLE + TABLE)
    return tmp_path


def test_a_table_less_a_column(folder):
    filled = fill(document('table.md without "Training (s)"'), folder)
    assert filled == document(
        'table.md without "Training (s)"',
        "\n| Model  |  FID |\n|--------|-----:|\n| A \\| B | 1.50 |\n\n",
    )
    assert fill(filled, folder) == filled


def test_a_column_that_is_left_out_makes_nothing_stale(folder):
    readme = folder / "README.md"
    readme.write_text(document('table.md without "Training (s)"'))
    update(readme)
    (folder / "table.md").write_text(TABLE.replace("123", "456"))
    check(readme)
    (folder / "table.md").write_text(TABLE.replace("1.50", "1.51"))
    with pytest.raises(DimrError, match=r"README\.md: line 7 differs from the results"):
        check(readme)


def test_a_section_with_its_links_moved(folder):
    filled = fill(document("docs/page.md#in-short"), folder)
    assert (
        "[this](results/x.csv), [that](docs/page.md#below), [there](https://example.com/a)"
        in filled
    )
    assert "### Details\n\nMore.\n\n<!-- end -->" in filled
    assert "Not this" not in filled


def test_the_rest_is_left_alone(folder):
    text = "no blocks\r\n  here \n"
    assert fill(text, folder) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (document("nowhere.md"), r"README\.md: line 3: nowhere\.md: no such file"),
        (document("docs/page.md#shorts"), r"no section 'shorts' \(did you mean in-short"),
        (document("docs/page.md"), r"line 3: docs/page\.md: holds no table"),
        (document('table.md without "Training"'), r"no column 'Training' \(did you mean Training"),
        (document("table.md with FID"), "line 3: .* is not <!-- from FILE.md"),
        ("<!-- from table.md -->\n", "line 1: no <!-- end -->"),
        ("<!-- from table.md -->\n" + document("table.md"), "line 1: no <!-- end -->"),
        (document("two.md"), r"line 3: two\.md: holds several tables"),
    ],
)
def test_mistakes_are_named_in_one_line(folder, text, message):
    with pytest.raises(DimrError, match=message) as caught:
        fill(text, folder)
    assert "\n" not in str(caught.value)


def test_the_command(folder, capsys):
    readme = folder / "README.md"
    readme.write_text(document("table.md"))
    assert main(["readme", str(readme), "--check"]) == 2
    assert "old" in readme.read_text()
    assert main(["readme", str(readme)]) == 0
    assert capsys.readouterr().out.endswith("regenerated\n")
    assert main(["readme", str(readme), "--check"]) == 0
    assert main(["readme", str(readme)]) == 0
    assert capsys.readouterr().out.endswith("was up to date\n")
    assert main(["readme", str(folder / "no.md")]) == 2
