"""Tables: means and deviations over seeds, blanks where there is no number."""

import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.support.results import leave_result

from dimr.cli import main
from dimr.config.runs import ROOT, load_run
from dimr.data.shards import write_shards
from dimr.paper.figures.picture import table_picture
from dimr.paper.results import read_at_hand, read_cells
from dimr.paper.tables.definitions import find_definitions, load_runs_table, write_paper_table
from dimr.paper.tables.runs import Table, load_table, table_sheet
from dimr.paper.tables.sheets import write_sheet
from dimr.runtime.errors import DimrError
from dimr.sharing.adopt import expected_results

DEFINITION = {
    "title": "A table",
    "notes": ["a note"],
    "seeds": 3,
    "columns": [
        {"key": "gmacs", "title": "GMACs", "format": "{:.1f}"},
        {"key": "fid", "title": "FID", "format": "{:.2f}"},
    ],
    "rows": [
        {"name": "Real", "run": "digits/real"},
        {"name": "Ours", "run": "digits/dimr-xs-2r", "settings": ["unguided", "guided"]},
    ],
}
COLOUR = (7, 130, 60)  # no shade of the headings' grey
FIDS = {"unguided": [3.0, 4.0, 8.0], "guided": [1.0, 1.0, 1.0]}


@pytest.fixture
def runs(tmp_path):
    def put(run, setting, metrics, cost):
        leave_result(tmp_path, run, setting, metrics, cost=cost)
        images = np.full((20, 4, 4, 3), COLOUR, dtype=np.uint8)
        write_shards(
            tmp_path / run / "samples" / setting, [images], np.arange(20) % 10, kind="pixels",
            classes=10, class_names=list("0123456789"), scaling_factor=None, key="k", shard_size=20,
        )  # fmt: skip

    put("digits/real/0", "reference", {"fid": 0.5}, {})
    for setting, values in FIDS.items():
        for seed, value in enumerate(values):
            put(f"digits/dimr-xs-2r/{seed}", setting, {"fid": value}, {"gmacs": 2.0})
    return tmp_path


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "table.yaml"
    path.write_text(yaml.safe_dump(DEFINITION))
    return load_table(path)


def write(table, runs, partial=False):
    """The text of the Markdown; CSV and LaTeX beside it."""
    there = [
        cell for cell in table.cells() if (runs / f"{cell[0]}/metrics/{cell[1]}.json").exists()
    ]
    sheet = table_sheet(table, read_cells(runs, there), partial)
    write_sheet(sheet, *(runs / f"t.{end}" for end in ("csv", "md", "tex")), label="of-a-test")
    return (runs / "t.md").read_text()


def test_mean_and_deviation_over_seeds(runs, table):
    text = write(table, runs)
    frame = pd.read_csv(runs / "t.csv").set_index(["model", "setting"])
    unguided = frame.loc[("Ours", "unguided")]
    assert unguided["seeds"] == 3
    assert unguided["fid"] == pytest.approx(5.0)
    assert unguided["fid_std"] == pytest.approx(np.std([3, 4, 8], ddof=1), rel=1e-5)
    assert frame.loc[("Real", "reference"), "seeds"] == 1
    assert np.isnan(frame.loc[("Real", "reference"), "gmacs"])
    assert "5.00 ± 2.65" in text
    assert "- a note" in text
    real = next(line for line in text.splitlines() if "Real" in line)
    assert [cell.strip() for cell in real.split("|")[1:-1]] == ["Real", "reference", "", "0.50"]


def test_markdown_columns_line_up(runs, table):
    text = write(table, runs)
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len({len(line) for line in lines}) == 1
    assert re.fullmatch(r"\|(-+\|){2}(-+:\|){2}", lines[1])  # text to the left, numbers right


def test_the_picture_shows_every_line(runs, table):
    table_picture(table, runs, runs / "t.png")
    pixels = np.asarray(Image.open(runs / "t.png"))
    tiles = (pixels == COLOUR).all(-1).sum()
    assert tiles == 3 * 20 * 8 * 8  # three lines of 20 images, enlarged twice


def test_a_missing_metric_is_named(runs, table):
    (runs / "digits/dimr-xs-2r/1/metrics/guided.json").unlink()
    with pytest.raises(DimrError, match=r"no metrics of digits/dimr-xs-2r/1 at 'guided' \(1 of 7"):
        write(table, runs)
    assert not (runs / "t.csv").exists()
    with pytest.raises(DimrError, match=r"dimr-xs-2r/1/metrics/guided\.json: no such file"):
        read_cells(runs, table.cells())


def test_committed_tables_name_runs_and_settings_that_exist():
    tables = {n: one for n, one in find_definitions(ROOT).items() if isinstance(one, Table)}
    assert set(tables) == {f"digits/{n}" for n in ("steps", "table1", "table2", "table5", "table6")}
    for table in tables.values():
        table.check("a table")
        runs = {run for run, _ in table.cells()}
        assert all(load_run(run).name == run for run in runs)


def test_latex_beside_it(runs, table):
    write(table, runs)
    text = (runs / "t.tex").read_text()
    assert r"\label{tab:of-a-test}" in text
    assert r"Ours & unguided & 2.0 & 5.00 $\pm$ 2.65 \\" in text
    assert text.index(r"\toprule") < text.index(r"Model & Setting & GMACs & FID \\")


def test_a_partial_table_marks_and_lists_what_is_missing(runs, table):
    (runs / "digits/dimr-xs-2r/1/metrics/unguided.json").unlink()
    for seed in range(3):
        (runs / f"digits/dimr-xs-2r/{seed}/metrics/guided.json").unlink()
    text = write(table, runs, partial=True)
    frame = pd.read_csv(runs / "t.csv").set_index(["model", "setting"])
    some, none = frame.loc[("Ours", "unguided")], frame.loc[("Ours", "guided")]
    assert (some["seeds"], none["seeds"]) == (2, 0)
    assert some["fid"] == pytest.approx(5.5)  # of seeds 0 and 2
    assert some["missing"] == "digits/dimr-xs-2r/1 unguided"
    assert np.isnan(none["fid"])
    assert frame.loc[("Real", "reference"), "missing"] is np.nan
    line = next(line for line in text.splitlines() if "| guided" in line)
    assert [cell.strip() for cell in line.split("|")[3:-1]] == ["0", "?", "?"]
    missing = [f"digits/dimr-xs-2r/{seed} guided" for seed in range(3)]
    assert f"{', '.join(['digits/dimr-xs-2r/1 unguided', *missing])}." in text


# --- bad input ------------------------------------------------------------------------------------

ROWS = DEFINITION["rows"]
BAD = [
    ({"sedes": 3}, r"bad\.yaml: sedes: unknown key \(did you mean seeds"),
    ({"columns": [{"key": "fidd", "title": "F"}]}, r"no key 'fidd' \(did you mean fid\?"),
    ({"rows": [*ROWS, ROWS[0]]}, "rows: two are called 'Real'"),
    ({"rows": [{**ROWS[1], "settings": []}]}, r"rows\.0\.settings"),
    ({"rows": [{**ROWS[1], "settings": ["gided"]}]},
     r"bad\.yaml: Ours: digits/dimr-xs-2r/0: no setting 'gided' \(did you mean guided\?"),
    ({"rows": [{**ROWS[1], "run": "digits/dimr-xs-2"}]},
     r"bad\.yaml: Ours: .*no variant 'dimr-xs-2' for digits \(did you mean dimr-xs-2r\?"),
    ({"rows": [{**ROWS[1], "run": "digit/dimr-xs-2r"}]},
     r"bad\.yaml: Ours: .*no dataset 'digit' \(did you mean digits\?"),
    ({"kind": "variant"}, r"bad\.yaml: kind: 'variant' \(did you mean variants\?"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_mistakes_in_a_definition_are_one_line(tmp_path, change, message):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**DEFINITION, **change}))
    with pytest.raises(DimrError, match=message) as caught:
        load_runs_table(path)
    assert "\n" not in str(caught.value)


def command(folder, table, *more):
    outputs = [f"--{key}={folder / f'{key}.out'}" for key in ("csv", "markdown", "latex")]
    return main(["table", "--table", str(table), "--runs", str(folder), *outputs, *more])


def test_the_command_refuses_metrics_of_another_configuration(runs, table, caplog):
    path = runs / "table.yaml"
    assert command(runs, path) == 2
    assert "real/0/metrics/reference.json: of another configuration" in caplog.text
    assert command(runs, path, "--partial") == 0  # and a partial one lists it as missing
    assert "digits/real/0 reference" in (runs / "markdown.out").read_text()
    for run, setting in table.cells():
        expected = {one.target: one.expected for one in expected_results(load_run(run))}
        key = expected[f"runs/{run}/metrics/{setting}.json"]
        leave_result(runs, run, setting, {"fid": 2.0}, key=key, cost={"gmacs": 1.0})
    assert command(runs, path) == 0
    assert "?" not in (runs / "markdown.out").read_text()
    assert len(read_at_hand(runs, table.cells())) == len(table.cells()) == 7


def test_a_table_without_counterpart_says_so(tmp_path, caplog):
    path = ROOT / "experiments/tables/digits/table7.yaml"
    reason = r"table7\.yaml: table 7 .* no counterpart on digits: they have one size of latents"
    with pytest.raises(DimrError, match=reason):
        write_paper_table(path, *(tmp_path / name for name in "abc"))
    assert command(tmp_path, path) == 2
    assert re.search(reason, caplog.text)
    assert command(tmp_path, path.with_name("table3.yaml")) == 2
    assert "kind: variants is no table of a dataset's runs" in caplog.text


# --- the committed ones ---------------------------------------------------------------------------


def test_the_counted_tables_of_digits(tmp_path):
    tables = find_definitions(ROOT)
    cells = [cell for one in tables.values() if isinstance(one, Table) for cell in one.cells()]
    used = {run.split("/")[1] for run, setting in cells if setting != "reference"}
    # every network of the tables, and no other
    assert {row.variant for block in tables["digits/table3"].blocks for row in block.rows} == used
    outputs = [tmp_path / f"table4.{end}" for end in ("csv", "md", "tex")]
    write_paper_table(ROOT / "experiments/tables/digits/table4.yaml", *outputs)
    assert r"\label{tab:digits-table4}" in outputs[2].read_text()
    settings = pd.read_csv(outputs[0]).set_index("setting")
    for run in ("digits/dimr-xs-2r/0", "digits-pixel/dimr-xs-3r/0"):
        ours, recipe = settings[run.split("/")[0].replace("-", "_")], load_run(run).recipe
        assert float(ours["steps"]) == recipe.train.steps
        assert float(ours["lr"]) == recipe.train.lr
        assert float(ours["samples"]) == recipe.sample.count


def test_the_headline_comparison_is_of_five_seeds_at_each_setting():
    table = load_table(ROOT / "experiments/tables/digits/table6.yaml")
    assert (table.seeds, table.paired, table.paired_row) == (5, "fid_digits", "DiMR-XS/2R")
    _, uvit, dit = table.rows
    for setting in ("unguided", "guided", "power_cosine"):
        for row in (uvit, dit):
            assert [one.name for one in table.compared(row, setting)] == ["DiMR-XS/2R", row.name]
