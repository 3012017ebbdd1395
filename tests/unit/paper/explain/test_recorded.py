"""``dimr why`` where runs are not available: the committed tables of this repository, as cloned."""

import csv
import json
import shutil

import pytest
from tests.support.results import leave_result

from dimr.cli import main
from dimr.config.runs import ROOT
from dimr.paper.explain import explain

from .test_explain import expected_keys, record_of

TABLES = ("table1", "table2", "table5", "table6", "steps")
TABLE6 = "results/digits/table6.csv"
GUIDED = ("--row", "DiMR-XS/2R", "--setting", "guided", "--column", "fid_digits")


@pytest.fixture
def clone(tmp_path):
    """What is checked in, without runs."""
    for name in ("experiments", "results/digits"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def why(capsys, caplog):
    def ask(folder, table, *more):
        caplog.clear()
        code = main(["why", str(folder / table), *more])
        return code, capsys.readouterr().out, caplog.text

    return ask


def rows_of(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def edit(folder, table, row, column, value, setting="guided"):
    file = folder / table
    rows = rows_of(file)
    for one in rows:
        if (one["model"], one["setting"]) == (row, setting):
            assert one[column] != value
            one[column] = value
    with open(file, "w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def put_rerun(folder, seed, fid, **more):
    """A run of this machine's, with the key that the configuration asks for."""
    run, setting = f"digits/dimr-xs-2r/{seed}", "guided"
    recorded = next(
        line
        for line in rows_of(folder / "results/digits/seeds.csv")
        if (line["dataset"], line["model"], line["seed"], line["setting"])
        == ("digits", "dimr-xs-2r", str(seed), setting)
    )
    names = [*recorded][[*recorded].index("fid_digits") :]
    metrics = {name: float(recorded[name]) for name in names} | {"fid_digits": fid} | more
    target = f"runs/{run}/metrics/{setting}.json"
    record = record_of(run, setting, expected_keys(folder, run)[target])
    return leave_result(folder / "runs", run, setting, metrics, **record)


@pytest.mark.parametrize("table", TABLES)
def test_no_committed_number_is_called_wrong(clone, table):
    """Each cell of each table follows from the recorded seeds, but for what they do not have."""
    file = clone / f"results/digits/{table}.csv"
    checked = 0
    titles = dict.fromkeys(row["model"] for row in rows_of(file))
    columns = list(rows_of(file)[0])
    for title in titles:
        for column in columns:
            for cell in explain(file, title, column):
                seconds = column.removesuffix("_std") == "train_seconds"
                assert cell.verdict == ("unchecked" if seconds and cell.stated else "agrees"), cell
                checked += cell.seeds is not None
    assert checked > 30


def test_a_mean_of_recorded_seeds(clone, why):
    code, out, _ = why(clone, TABLE6, *GUIDED)
    assert code == 0
    assert "agrees with the recorded seeds in" in out
    assert "the runs themselves are not available" in out
    assert out.count("not available digits/dimr-xs-2r/") == 5
    (cell,) = explain(clone / TABLE6, "DiMR-XS/2R", "fid_digits", "guided")
    values = [
        float(line["fid_digits"])
        for line in rows_of(clone / "results/digits/seeds.csv")
        if (line["dataset"], line["model"], line["setting"]) == ("digits", "dimr-xs-2r", "guided")
    ]
    assert len(values) == 5
    assert float(cell.value) == pytest.approx(sum(values) / 5, rel=1e-5)
    assert [one["recorded"] for one in cell.missing] == values
    assert (cell.how, cell.runs) == ("mean of 5 runs, one a seed", [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("fid_digits", "0.634539"), ("fid_digits_std", "0.081"), ("seeds", "4"),
        ("change_mean", "0.001"), ("parameters_m", "1.2094"), ("precision", ""),
    ],
)  # fmt: skip
def test_an_edited_number_is_told_without_runs(clone, why, column, value):
    row = "U-ViT-XS/2" if column.startswith("change") else "DiMR-XS/2R"
    edit(clone, TABLE6, row, column, value)
    code, out, message = why(clone, TABLE6, "--row", row, "--setting", "guided", "--column", column)
    assert code == 2
    assert "NOT what the recorded seeds in" in out
    assert "stale or edited" in message


def test_an_edited_verdict_is_told(clone, why):
    words = next(
        row["change"] for row in rows_of(clone / TABLE6)
        if (row["model"], row["setting"]) == ("DiT-XS/2", "guided")
    )  # fmt: skip
    assert words.endswith("undecided")
    edit(clone, TABLE6, "DiT-XS/2", "change", words.replace("undecided", "better"))
    asked = ("--row", "DiT-XS/2", "--setting", "guided", "--column", "change")
    assert why(clone, TABLE6, *asked)[0] == 2


def test_one_seed_is_not_compared_with_a_mean_of_five(clone, why):
    """As after `make demo`: seed 0 is there, trained on this machine."""
    put_rerun(clone, 0, 0.689)
    code, out, _ = why(clone, TABLE6, *GUIDED)
    assert code == 0
    assert "4 of 5 runs are not available here" in out
    assert "0.726113: a rerun: differs by 0.0371 (5.1%)" in " ".join(out.split())
    (cell,) = explain(clone / TABLE6, "DiMR-XS/2R", "fid_digits", "guided")
    assert cell.value == cell.stated  # of the five recorded ones, none of them taken from here
    assert [run["value"] for run in cell.runs] == [0.689]
    assert len(cell.missing) == 4


def test_a_run_that_is_the_recorded_one_is_told(clone, why):
    put_rerun(clone, 0, 0.7261130001)
    out = why(clone, TABLE6, *GUIDED)[1]
    assert "0.726113: the same, to six digits" in " ".join(out.split())


def test_all_runs_made_again_do_not_make_the_committed_number_wrong(clone, why):
    for seed in range(5):
        put_rerun(clone, seed, 0.5)
    code, out, _ = why(clone, TABLE6, *GUIDED)
    assert code == 0
    assert "the runs here are reruns, which differ" in out
    edit(clone, TABLE6, "DiMR-XS/2R", "fid_digits", "0.5")  # a table that was made of them
    (cell,) = explain(clone / TABLE6, "DiMR-XS/2R", "fid_digits", "guided")
    assert (cell.verdict, cell.seeds, cell.value) == ("agrees", None, "0.5")
    edit(clone, TABLE6, "DiMR-XS/2R", "fid_digits", "0.4")  # of neither
    assert why(clone, TABLE6, *GUIDED)[0] == 2


def test_what_is_not_recorded_cannot_be_checked(clone, why):
    (clone / "results/digits/seeds.csv").unlink()
    code, out, message = why(clone, TABLE6, *GUIDED)
    assert code == 4
    assert "cannot be checked: 5 of 5 runs are not available here" in out
    assert "value " not in out
    for seed in range(5):
        assert f"runs/digits/dimr-xs-2r/{seed}/metrics/guided.json" in message
    put_one = put_rerun_without_records(clone)
    assert put_one.is_file()
    code, out, message = why(clone, TABLE6, *GUIDED, "--json")
    assert code == 4
    assert "4 of 5 runs are not available here: snakemake -- runs/digits/dimr-xs-2r/1/" in message
    (cell,) = json.loads(out)
    assert (cell["agrees"], cell["value"], cell["verdict"]) == (None, "", "unchecked")


def put_rerun_without_records(clone):
    shutil.copy(ROOT / "results/digits/seeds.csv", clone / "results/digits/seeds.csv")
    file = put_rerun(clone, 0, 0.689)
    (clone / "results/digits/seeds.csv").unlink()
    return file


def test_seconds_of_a_rerun_say_nothing_of_the_recorded_run(clone, why):
    put_rerun(clone, 0, 0.689)
    asked = ("--row", "DiMR-XS/2R", "--setting", "guided", "--column", "train_seconds")
    code, out, _ = why(clone, "results/digits/table1.csv", *asked)
    assert code == 4
    assert "the runs here are reruns of the recorded ones, with other numbers" in out


def test_a_partial_table_whose_runs_are_gone_cannot_be_checked(clone, why):
    file = put_rerun(clone, 0, 0.689)
    base = clone / "results/partial/digits/table6"
    outputs = [f"--{key}={base}.{end}" for key, end in
               (("csv", "csv"), ("markdown", "md"), ("latex", "tex"))]  # fmt: skip
    places = ["--table", f"{clone}/experiments/tables/digits/table6.yaml", "--root", str(clone),
              "--runs", str(clone / "runs"), "--partial"]  # fmt: skip
    assert main(["table", *places, *outputs]) == 0
    table = "results/partial/digits/table6.csv"
    assert why(clone, table, *GUIDED)[0] == 0
    put_rerun(clone, 1, 0.7)
    assert why(clone, table, *GUIDED)[0] == 2  # stale: it lacks a run that is there
    file.unlink()
    assert why(clone, table, *GUIDED)[0] == 4
