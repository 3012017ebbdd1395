"""Tables of results: published values typed from the facts, ours made up and worked by hand."""

import csv
import dataclasses
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from tests.support.results import frame_of, make_table, put_result
from tests.support.shards import write_shards

from dimr.config.project import PROJECT, ROOT, Project
from dimr.paper.figures.table_plots import draw_table
from dimr.paper.results import recorded
from dimr.paper.statistics import paired_change
from dimr.paper.tables.definitions import find_definitions, load_definition, load_table
from dimr.paper.tables.render import write_sheet
from dimr.paper.tables.runs import RunsTable
from dimr.runtime.errors import DimrError

# --- rows are runs --------------------------------------------------------------------------------

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
ROWS = DEFINITION["rows"]
FIDS = {"unguided": [3.0, 4.0, 8.0], "guided": [1.0, 1.0, 1.0]}
NUMBERS = {
    ("digits/real/0", "reference"): {"fid": 0.5},
    **{
        (f"digits/dimr-xs-2r/{seed}", setting): {"fid": value, "gmacs": 2.0}
        for setting, values in FIDS.items()
        for seed, value in enumerate(values)
    },
}
TABLES = ROOT / "experiments/tables"
TABLE = RunsTable.model_validate(DEFINITION)


def write(folder, numbers=NUMBERS, partial=False, table=TABLE):
    """The table's CSV as a frame, and its Markdown; LaTeX is beside them."""
    sheet = table.fill(PROJECT, frame_of(numbers), partial)
    write_sheet(sheet, "of-a-test", *(folder / f"t.{end}" for end in ("csv", "md", "tex")))
    frame = pd.read_csv(folder / "t.csv").set_index(["model", "setting"])
    return frame, (folder / "t.md").read_text()


def cells_of(line):
    return [cell.strip() for cell in line.split("|")[1:-1]]


def test_mean_and_deviation_over_seeds(tmp_path):
    frame, text = write(tmp_path)
    unguided = frame.loc[("Ours", "unguided")]
    assert unguided["seeds"] == 3
    assert unguided["fid"] == pytest.approx(5.0)
    assert unguided["fid_std"] == pytest.approx(np.std([3, 4, 8], ddof=1), rel=1e-5)
    assert frame.loc[("Real", "reference"), "seeds"] == 1
    assert np.isnan(frame.loc[("Real", "reference"), "gmacs"])
    assert "5.00 ± 2.65" in text
    assert " 1.00 |" in text  # the same for every seed
    assert "- a note" in text
    (real,) = (line for line in text.splitlines() if "Real" in line)
    assert cells_of(real) == ["Real", "reference", "", "0.50"]
    latex = (tmp_path / "t.tex").read_text()
    assert r"\label{tab:of-a-test}" in latex
    assert r"Ours & unguided & 2.0 & 5.00 $\pm$ 2.65 \\" in latex
    assert latex.index(r"\toprule") < latex.index(r"Model & Setting & GMACs & FID \\")


def test_the_picture_shows_every_line(tmp_path):
    colour = (7, 130, 60)  # no shade of the headings' grey
    images = np.full((20, 4, 4, 3), colour, dtype=np.uint8)
    for run, setting in NUMBERS:
        write_shards(
            tmp_path / run / "samples" / setting, [images], np.arange(20) % 10, kind="pixels",
            classes=10, class_names=list("0123456789"), scaling_factor=None, key="k", shard_size=20,
        )  # fmt: skip
    draw_table(TABLE, frame_of(NUMBERS), tmp_path, tmp_path / "t.png")
    pixels = np.asarray(Image.open(tmp_path / "t.png"))
    tiles = (pixels == colour).all(-1).sum()
    assert tiles == 3 * 20 * 8 * 8  # three lines of 20 images, enlarged twice


def test_a_partial_table_marks_and_lists_what_is_missing(tmp_path):
    gone = [("digits/dimr-xs-2r/1", "unguided")]
    gone += [(f"digits/dimr-xs-2r/{seed}", "guided") for seed in range(3)]
    there = {cell: numbers for cell, numbers in NUMBERS.items() if cell not in gone}
    frame, text = write(tmp_path, there, partial=True)
    some, none = frame.loc[("Ours", "unguided")], frame.loc[("Ours", "guided")]
    assert (some["seeds"], none["seeds"]) == (2, 0)
    assert some["fid"] == pytest.approx(5.5)  # of seeds 0 and 2
    assert some["missing"] == "digits/dimr-xs-2r/1 unguided"
    assert np.isnan(none["fid"])
    assert frame.loc[("Real", "reference"), "missing"] is np.nan
    (line,) = (line for line in text.splitlines() if "| guided" in line)
    assert cells_of(line)[2:] == ["0", "0.0", "?"]  # a size is counted
    assert f"4 of 7 ({', '.join(' '.join(cell) for cell in gone)})." in text


def test_a_column_that_no_row_has_is_refused(tmp_path):
    without = {cell: {"gmacs": 2.0} for cell in NUMBERS}
    with pytest.raises(DimrError, match="no row has a value for column 'fid'"):
        write(tmp_path, without)
    write(tmp_path, without, partial=True)


# --- compared seed by seed ------------------------------------------------------------------------

FID = {"a": [3.0, 3.4, 2.9], "b": [2.0, 2.5, 1.8], "c": [5.0, 5.0, 5.6]}
PAIRED = {
    "title": "T", "seeds": 3, "paired": "fid",
    "columns": [
        {"key": "fid", "title": "FID", "format": "{:.2f}"},
        {"key": "change", "title": "Change", "format": "{}"},
    ],
    "rows": [
        {"name": "A", "run": "d/a", "settings": ["unguided"]},
        {"name": "B", "run": "d/b", "settings": ["unguided"]},
        {"name": "C", "run": "d/c", "settings": ["unguided", "guided"]},
    ],
}  # fmt: skip
COMPARED = {
    (f"d/{name}/{seed}", setting): {"fid": value}
    for name, values in FID.items()
    for setting in (["unguided", "guided"] if name == "c" else ["unguided"])
    for seed, value in enumerate(values)
}


def test_every_row_is_compared_with_the_row_above(tmp_path):
    frame, text = write(tmp_path, COMPARED, table=RunsTable.model_validate(PAIRED))
    assert np.isnan(frame.loc[("A", "unguided"), "change_mean"])
    change, second = paired_change(FID["b"], FID["a"]), frame.loc[("B", "unguided")]
    assert second["change_low"] == pytest.approx(change.low, rel=1e-5)
    assert second["change"] == f"-1.00 [{change.low:+.2f}, {change.high:+.2f}], better"
    assert second["change"] in text
    assert second["fid"] == pytest.approx(2.1)


def test_a_named_row_is_compared_with_every_other(tmp_path):
    """The named row less each other, at the settings and over the seeds that both have."""
    table = RunsTable.model_validate({**PAIRED, "paired_row": "B"})
    frame, _ = write(tmp_path, COMPARED, table=table)
    changes = frame["change"].fillna("")
    assert changes["A", "unguided"] == paired_change(FID["b"], FID["a"]).text()
    assert changes["C", "unguided"] == paired_change(FID["b"], FID["c"]).text()
    assert changes["B", "unguided"] == changes["C", "guided"] == ""  # B is not made at guided
    there = {cell: numbers for cell, numbers in COMPARED.items() if cell[0] != "d/a/1"}
    frame, _ = write(tmp_path, there, partial=True, table=table)
    some = paired_change(FID["b"][::2], FID["a"][::2])
    assert frame.loc[("A", "unguided"), "change"] == some.text()


# --- beside what is published ---------------------------------------------------------------------

GUIDED = "ImageNet 256 x 256, with guidance"
UNGUIDED = "ImageNet 256 x 256, without guidance (not in the paper's table)"
METRICS = ("fid", "inception_score", "precision", "recall")
XL = "imagenet256/dimr-xl-2r"


def values(fid, score=280.0, precision=0.8, recall=0.6):
    return {
        "fid": fid, "sfid": 5.0, "inception_score": score, "inception_score_std": 3.0,
        "precision": precision,
        "recall": recall, "images": 50000,
    }  # fmt: skip


@pytest.fixture
def put(root):
    """A function that leaves a run's result in the copy."""

    def leave(run, setting, metrics, **record):
        cost = {"parameters_m": 505.046408, "gmacs": 160.176}
        return put_result(root, run, setting, metrics, cost=cost, **record)

    return leave


def make(root, name="table7", partial=True):
    """Rows of the CSV by block and model, Markdown and LaTeX."""
    assert make_table(root, name, *["--partial"] * partial) == 0
    base = root / "results" / name
    with open(base.with_suffix(".csv")) as file:
        rows = {(row.get("block"), row["model"]): row for row in csv.DictReader(file)}
    return rows, base.with_suffix(".md").read_text(), base.with_suffix(".tex").read_text()


def test_nothing_of_ours_is_made_up(root):
    rows, text, latex = make(root)
    for row in rows.values():
        assert not any(row[key] for key in (*METRICS, "epochs", "seeds"))
        assert not any(row[f"{key}_difference"] for key in METRICS)
    assert "all of 17 (imagenet256/dit-l-2/0 guided" in text
    (line,) = (one for one in text.splitlines() if one.startswith("| DiMR-XL/2R  ")
               and " guided" in one)  # fmt: skip
    assert "?" in cells_of(line)  # which the CSV leaves empty
    assert not any("?" in value for row in rows.values() for value in row.values())
    assert "Run" not in text.splitlines()[4]  # a column for machines only
    assert latex.isascii()
    assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


def test_settings_as_columns_make_one_line_of_a_run(root, put):
    """Table 1: FID without and with guidance beside each other; costs are of either."""
    images = {"model": {"images": 1281167 * 7}}
    put(f"{XL}/0", "guided", values(1.75), samples=images)
    block = "1a: ImageNet 256 x 256"
    row = make(root, "table1")[0][block, "DiMR-XL/2R"]
    assert float(row["epochs"]) == 7
    assert (row["seeds"], row["fid_guided"], row["fid_unguided"]) == ("0", "1.75", "")
    assert float(row["fid_guided_difference"]) == pytest.approx(0.05)
    assert row["missing"] == f"{XL}/0 unguided"
    put(f"{XL}/0", "unguided", values(4.75))
    row = make(root, "table1")[0][block, "DiMR-XL/2R"]
    assert (row["fid_guided"], row["fid_unguided"], row["missing"]) == ("1.75", "4.75", "")
    assert float(row["fid_unguided_difference"]) == pytest.approx(0.25)


def test_ours_stand_beside_the_published_with_the_difference(root, put):
    put(
        f"{XL}/0", "guided", values(1.75, 287.0, 0.8, 0.62),
        samples={"model": {"images": 1281167 * 7}},
    )  # fmt: skip
    rows, text, latex = make(root)
    row = rows[GUIDED, "DiMR-XL/2R"]
    assert float(row["fid"]) == 1.75
    assert float(row["fid_difference"]) == pytest.approx(0.05)
    assert float(row["inception_score_difference"]) == pytest.approx(-2.0)
    assert float(row["recall_difference"]) == pytest.approx(-0.01)
    assert (row["run"], row["seeds"], row["setting"]) == (XL, "0", "guided")
    assert float(row["epochs"]) == 7
    assert row["fid_std"] == row["missing"] == ""
    assert row["images"] == "50000"
    (line,) = [one for one in text.splitlines() if one.startswith("| DiMR-XL/2R  ")
               and "guided " in one and "unguided" not in one]  # fmt: skip
    assert all(text in line for text in ("505.0M", "160.18", "+0.05", "-2.0"))
    assert "16 of 17" in text
    assert r"DiMR-XL/2R & Diff. & 0 & guided & 7 & 800 & 505.0M & 505M" in latex
    # the same network without guidance is not made here
    assert rows[UNGUIDED, "DiMR-XL/2R"]["missing"] == f"{XL}/0 unguided"


def test_the_authors_weights_are_a_row_of_their_own(root, put):
    put("imagenet256/dimr-g-2r/published", "guided", values(1.64))
    row = make(root)[0][GUIDED, "DiMR-G/2R, authors' weights"]
    assert row["seeds"] == "authors' weights"
    assert row["epochs"] == ""
    assert float(row["fid_difference"]) == pytest.approx(0.01)


def one_row(**changes):
    """A change that leaves one row in table 7."""
    row = {"published": "DiMR-XL/2R", "run": XL, **changes}
    row = {key: value for key, value in row.items() if value is not None}
    return lambda content: content.update(blocks=[{**content["blocks"][0], "rows": [row]}])


def test_seeds_are_averaged_and_those_that_are_missing_listed(root, put, edit):
    edit("tables/table7.yaml", one_row(seeds=[0, 1, 2]))
    for seed, fid in ((0, 1.5), (1, 1.7)):
        put(f"{XL}/{seed}", "guided", values(fid))
    rows, text, _ = make(root)
    (row,) = rows.values()
    assert float(row["fid"]) == pytest.approx(1.6)
    assert row["seeds"] == "0, 1"
    assert row["missing"] == f"{XL}/2 guided"
    assert f"1 of 3 ({XL}/2 guided)" in text
    put(f"{XL}/2", "guided", values(2.2))
    rows, text, _ = make(root, partial=False)
    (row,) = rows.values()
    assert float(row["fid"]) == pytest.approx(1.8)
    assert float(row["fid_std"]) == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2), rel=1e-5)
    assert row["seeds"] == "0, 1, 2"
    assert "1.80 ± 0.36" in text
    assert "configuration:" not in text


def test_a_row_of_ours_only(root, put, edit):
    edit(
        "tables/table7.yaml",
        one_row(published=None, name="DiT-B/2", run="imagenet256/dit-b-2", settings=["unguided"]),
    )
    put("imagenet256/dit-b-2/0", "unguided", values(30.0))
    (row,) = make(root, partial=False)[0].values()
    assert row["fid"] == "30"
    assert row["fid_published"] == row["fid_difference"] == row["source"] == row["type"] == ""


# --- what is refused ------------------------------------------------------------------------------


def message_of(root, caplog, name="table7", *more):
    caplog.clear()
    assert make_table(root, name, *more) == 2
    assert not (root / "results").exists()
    (record,) = caplog.records
    assert "\n" not in record.getMessage()
    return record.getMessage()


def test_a_complete_table_refuses_what_is_missing(root, put, caplog):
    missing = r"dit-l-2/0/metrics/guided\.json: no such file \(17 of 17 results are missing\)"
    assert re.search(missing, message_of(root, caplog))
    put(f"{XL}/0", "guided", values(1.7), key="0" * 16)
    assert "guided.json: of another configuration" in message_of(root, caplog)


def test_metrics_that_lack_what_is_published_are_named(root, put, caplog):
    put(f"{XL}/0", "guided", {"fid": 1.7})
    message = message_of(root, caplog, "table7", "--partial")
    assert re.search(
        r"guided\.json: no inception_score \(there are: parameters_m, .*fid\)", message
    )


def test_a_published_result_without_a_source_is_refused(root, caplog):
    path = root / "experiments/published.yaml"
    text = path.read_text()
    path.write_text(text.replace("recall: 0.38, source: repo", "recall: 0.38"))
    message = message_of(root, caplog, "table7", "--partial")
    assert "results.table7.rows.BigGAN.source: is missing" in message
    path.write_text(text.replace("recall: 0.38,", "recall: 38,"))
    assert "rows.BigGAN.recall: 38" in message_of(root, caplog, "table7", "--partial")


def test_only_tables_of_runs_have_a_picture(root, caplog):
    more = ("--picture", str(root / "t.png"))
    assert "only a table of runs has one" in message_of(root, caplog, "table5", *more)
    assert "table 8 (ImageNet 512" in message_of(root, caplog, "digits/table8")


MISTAKES = [
    (one_row(published="DiMR-XL/2S"),
     r"table7\.yaml: ImageNet 256 x 256, with guidance: no row 'DiMR-XL/2S' of table7 "
     r"in published\.yaml \(did you mean DiMR-XL/2R\?"),
    (one_row(run="imagenet256/dimr-xl-3r"),
     r"table7\.yaml: .*DiMR-XL/2R: .*'dimr-xl-3r' does not"),
    (one_row(run="imagnet256/dimr-xl-2r"), r"no dataset 'imagnet256' \(did you mean imagenet256"),
    (one_row(settings=["gided"]),
     r"imagenet256/dimr-xl-2r/0: no setting 'gided' \(did you mean guided\?"),
    (one_row(run="imagenet256/uvit-h-2", seeds="published"), "no published weights of 'uvit-h-2'"),
    (one_row(seeds="all"), r"table7\.yaml: blocks\.0\.rows\.0\.seeds"),
    (one_row(seeds=[]), "seeds: at least one is needed"),
    (one_row(published=None), "a row needs published, or run and name"),
    (one_row(seed=0), r"seed: unknown key \(did you mean seeds\?"),
    (lambda content: content["blocks"][0].update(published="tabel7"),
     r"no results 'tabel7' in published\.yaml \(did you mean table7\?"),
    (lambda content: content["blocks"][0]["rows"].append("BigGAN"), "two are called 'BigGAN'"),
    (lambda content: content["columns"][3].update(key="fidd"),
     r"no key 'fidd' \(did you mean fid\?"),
    (lambda content: content["columns"][3].update(key="class_accuracy"),
     "published: 'class_accuracy' .allowed: epochs, parameters_m"),
    (lambda content: content.update(rows=ROWS), "a table has rows, or blocks of them"),
    (one_row(marks=["GLU"]), "marks: 'GLU'"),
    (lambda content: content["columns"].append(content["columns"][0]), "columns: two are 'epochs'"),
    (lambda content: content["columns"][3].update(setting="gided"),
     r"imagenet256/.*: no setting 'gided' \(did you mean guided\?"),
    (lambda content: (content["columns"][3].update(setting="guided"), content.update(paired="fid")),
     "paired: not in a table whose columns have settings"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[text[:50] for _, text in MISTAKES])
def test_mistakes_in_a_table_are_one_line(root, edit, caplog, change, message):
    edit("tables/table7.yaml", change)
    assert re.search(message, message_of(root, caplog, "table7", "--partial"))


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
    ({"paired": "is"}, "paired: 'is' is no column"),
    ({"paired": "fid", "paired_row": "D"}, r"no row 'D' \(allowed: Real, Ours\)"),
    ({"paired_row": "Real"}, "paired_row: needs paired"),
    ({"rows": []}, "a table has rows, or blocks of them"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message for _, message in BAD])
def test_mistakes_in_a_definition_are_one_line(tmp_path, change, message):
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump({**DEFINITION, **change}))
    with pytest.raises(DimrError, match=message) as caught:
        load_table(path, PROJECT)
    assert "\n" not in str(caught.value)


# --- the committed ones ---------------------------------------------------------------------------


def test_committed_tables_name_what_there_is():
    tables = {n: one for n, one in find_definitions(PROJECT).items() if isinstance(one, RunsTable)}
    ours = ("budget", "steps", "text", "tuning", *(f"table{n}" for n in (1, 2, 3, 6, 7)))
    drawn = {f"digits/{n}" for n in ours}
    assert set(tables) == drawn | {"text", *(f"table{n}" for n in (1, 2, 3, 6, 7, 8))}
    assert {name for name, one in tables.items() if one.pictured} == drawn
    for table in tables.values():
        table.check("a table", PROJECT)
        for run, setting in table.cells():
            assert setting in PROJECT.run(run).settings


# Those that seeds.csv holds all numbers of: it has no trials, no training times and no epochs.
OF_SEEDS = [
    name
    for name, one in find_definitions(PROJECT).items()
    if name.startswith("digits/") and isinstance(one, RunsTable) and not one.trials
    and not {"train_seconds", "epochs"} & {column.key for column in one.columns}
]  # fmt: skip


def test_most_tables_are_of_recorded_seeds():
    assert {"digits/table2", "digits/table6", "digits/table7", "digits/steps"} <= set(OF_SEEDS)


@pytest.mark.parametrize("name", OF_SEEDS)
def test_the_committed_tables_are_those_of_the_recorded_seeds(tmp_path, name):
    """Byte for byte as people read them; CSVs of several seeds to the six digits of seeds.csv.

    Below the notes of their definitions they bear the study's, where it says that they are of older
    code.
    """
    name = name.removeprefix("digits/")
    committed, table = ROOT / "results/digits", load_definition(TABLES / f"digits/{name}.yaml")
    sheet = table.fill(PROJECT, recorded(committed / "seeds.csv"))
    files = [tmp_path / f"{name}.{end}" for end in ("csv", "md", "tex")]
    older = json.loads((committed / "study.json").read_text()).get("note")
    sheet = dataclasses.replace(sheet, notes=[*sheet.notes, *filter(None, [older])])
    write_sheet(sheet, f"digits-{name}", *files)
    for file in files[1:]:
        assert file.read_bytes() == (committed / file.name).read_bytes()
    made, stated = (pd.read_csv(folder / f"{name}.csv") for folder in (tmp_path, committed))
    assert list(made) == list(stated)
    pd.testing.assert_frame_equal(made.select_dtypes("number"), stated.select_dtypes("number"),
                                  rtol=1e-4, atol=1e-5)  # fmt: skip


def test_learning_rates_are_those_that_tuning_found_best():
    """Of every network of the table, in the recipe that trains it; ticks say the same."""
    table = load_definition(TABLES / "digits/tuning.yaml")
    runs = {row.title: row.run for block in table.blocks for row in block.rows}
    trials = pd.read_csv(ROOT / "results/digits/tuning.csv")
    grid = set(PROJECT.recipe("digits").trials.lr.values())
    assert set(trials["model"]) == set(runs)
    for name, tried in trials.groupby("model"):
        assert set(tried["lr"]) == grid
        best = tried.loc[tried["fid_digits"].idxmin()]
        assert PROJECT.run(f"{runs[name]}/0").recipe.train.lr == best["lr"], name
        assert tried.loc[tried["chosen"] == "yes", "lr"].tolist() == [best["lr"]], name


def test_the_headline_comparison_is_of_five_seeds_at_each_setting():
    table = load_definition(TABLES / "digits/table7.yaml")
    assert (table.seeds, table.paired, table.paired_row) == (5, "fid_digits", "DiMR-XS/2R")
    assert {len(line.cells) for line in table.lines} == {5}
    others = [line for line in table.lines if line.title != "DiMR-XS/2R"]
    assert len(others) == 2 * 3
    for line in others:
        first, second = table.compared(line)
        assert (first.title, second) == ("DiMR-XS/2R", line)
        assert first.setting == line.setting


def test_a_new_table_is_one_file_of_any_name(root, put):
    """Its name is that of its targets; it is found without any other change."""
    table = {"title": "Guidance", "columns": [{"key": "fid", "title": "FID"}],
             "rows": [{"name": "XL", "run": XL, "settings": ["guided", "unguided"]}]}  # fmt: skip
    (root / "experiments/tables/guidance.yaml").write_text(yaml.safe_dump(table))
    for setting, fid in (("guided", 1.7), ("unguided", 3.5)):
        put(f"{XL}/0", setting, values(fid))
    text = make(root, "guidance", partial=False)[1]
    assert "| XL    | unguided | 3.500 |" in text
    assert "guidance" in find_definitions(Project(root))
