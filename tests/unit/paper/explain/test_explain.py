"""``dimr why``: from a cell of a table back to the runs, on results with made-up numbers."""

import csv
import json
import re
import shutil
from functools import cache

import pytest
import yaml
from tests.support.results import leave_result

from dimr.cli import main
from dimr.config.runs import ROOT, load_run
from dimr.sharing.adopt import expected_results

DIGITS, PAPER = "results/digits/table1.csv", "results/table1.csv"
DIMR = "digits/dimr-xs-2r/0"
ORIGIN = {
    "git_revision": "c0ffee" * 6 + "c0ff", "git_dirty": True, "code": "0123456789abcdef",
    "device": "cuda", "machine": "x86_64", "versions": {"torch": "2.15.0"},
}  # fmt: skip
GUIDED = {"kind": "constant", "scale": 0.7, "power": 1.0, "interval": [0.1, 0.8]}


def record_of(run, setting, key):
    """What ``dimr evaluate`` leaves of a run that was trained in two sessions."""
    seed = int(run.split("/")[-1]) if run[-1].isdigit() else 0
    sessions = [{"command": f"dimr train {part}", **ORIGIN} for part in ("first", "second")]
    model = {"key": "of-model", "steps": 5800, "images": 185600, "config": {"seed": seed},
             "sessions": sessions}  # fmt: skip
    if run.endswith("published"):
        source = {"repo": "QHL067/DiMR", "sha256": "5a" * 32}
        model = {"key": "of-model", "source": source, "command": "dimr import it", **ORIGIN}
    asked = {"seed": seed, "count": 1000, "steps": 18, "solver": "authors", "guidance": GUIDED}
    return {
        "key": key,
        "inputs": {"samples": "of-samples"},
        "evaluate": {"extractor": "some", "isc_splits": 10, "prc_neighborhood": 3},
        "extractor": "some-features",
        "extractor_weights": {"file": "weights.pth", "sha256": "ab" * 32},
        "images": 1000,
        "reference": {"images": 797, "what": "held-out images"},
        "samples": {"key": "of-samples", "config": asked, "model": model,
                    "command": f"dimr sample {setting}", **ORIGIN},
        "cost": {"parameters_m": 1.25, "gmacs": 0.5, "train_seconds": 99.0},
        "command": f"dimr evaluate {setting}", **ORIGIN,
    }  # fmt: skip


@cache
def expected_keys(project, run):
    return {r.target: r.expected for r in expected_results(load_run(run, project), project)}


def put(project, run, setting, fid):
    """A result with the key that the configuration asks for."""
    target = f"runs/{run}/metrics/{setting}.json"
    metrics = {"fid_digits" if "digits" in run else "fid": fid, "inception_score": 8.0,
               "precision": 0.9, "recall": 0.8, "class_accuracy": 0.9, "nearest_ratio": 1.0,
               "near_copy_share": 0.0, "images": 1000}  # fmt: skip
    record = record_of(run, setting, expected_keys(project, run)[target])
    return leave_result(project / "runs", run, setting, metrics, **record)


def table_of(project, table, *more):
    """Make a table with the commands of the workflow."""
    base = project / table.removesuffix(".csv")
    name = table.removeprefix("results/").removeprefix("partial/").replace(".csv", ".yaml")
    outputs = [f"--{key}={base}.{end}" for key, end in
               (("csv", "csv"), ("markdown", "md"), ("latex", "tex"))]  # fmt: skip
    command = "table" if "/" in name else "paper-table"
    places = ["--table", f"{project}/experiments/tables/{name}", "--root", str(project),
              "--runs", str(project / "runs")]  # fmt: skip
    assert main([command, *places, *outputs, *more]) == 0


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tables 1 and (partial) 6 of digits, and table 1 of the paper with what is there."""
    project = tmp_path_factory.mktemp("why") / "project"
    shutil.copytree(ROOT / "experiments", project / "experiments")
    for run, setting in (("real", "reference"), ("reconstruction", "reference")):
        put(project, f"digits/{run}/0", setting, 0.17)
    for number, model in enumerate(("dimr-xs-2r", "uvit-xs-2", "dit-xs-2")):
        for setting in ("unguided", "guided", "power_cosine"):
            put(project, f"digits/{model}/0", setting, 0.75 + number)
    for seed, gap in ((1, 1.5), (2, 1.25)):
        put(project, f"digits/dimr-xs-2r/{seed}", "guided", 0.75)
        put(project, f"digits/uvit-xs-2/{seed}", "guided", 0.75 + gap)
    file = put(project, "imagenet256/dimr-xl-2r/published", "guided", 1.75)
    table_of(project, DIGITS)
    table_of(project, "results/partial/digits/table6.csv", "--partial")
    table_of(project, PAPER, "--partial", "--metrics", str(file))
    return project


@pytest.fixture
def project(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture
def why(capsys, caplog):
    """Exit code, output and message of the command; the last is on one line."""

    def ask(project, table, row, column, *more):
        caplog.clear()
        code = main(["why", str(project / table), "--row", row, "--column", column, *more])
        assert all("\n" not in record.getMessage() for record in caplog.records)
        return code, capsys.readouterr().out, caplog.text

    return ask


def cells(why, *arguments):
    code, out, _ = why(*arguments, "--json")
    assert code == 0
    return json.loads(out)


# --- what is printed ------------------------------------------------------------------------------


def test_everything_behind_a_value(why, made):
    (cell,) = cells(why, made, DIGITS, "DiMR-XS/2R", "fid_digits", "--setting", "guided")
    assert cell["agrees"]
    assert (cell["value"], cell["stated"], cell["text"]) == ("0.75", "0.75", "0.75")
    assert cell["how"] == "the value of 1 run"
    (run,) = cell["runs"]
    assert (run["run"], run["setting"], run["value"]) == (DIMR, "guided", 0.75)
    evaluation = run["keys"].pop("evaluation")
    assert re.fullmatch(r"[0-9a-f]{16}", evaluation)
    assert run["keys"] == {"training": "of-model", "sampling": "of-samples"}
    assert run["seed"] == {"training": 0, "sampling": 0}
    assert run["samples"] == 1000
    assert run["guidance"] == GUIDED
    assert (run["evaluations"], run["solver"]) == (18, "authors")
    assert run["extractor_weights"]["sha256"] == "ab" * 32
    assert run["reference"]["images"] == 797
    commands = [(step["step"], step["command"]) for step in run["steps"]]
    assert commands == [
        ("train", "dimr train first"), ("train", "dimr train second"),
        ("sample", "dimr sample guided"), ("evaluate", "dimr evaluate guided"),
    ]  # fmt: skip
    assert all(ORIGIN.items() <= step.items() for step in run["steps"])
    assert cell["command"] == f"snakemake --force -- {DIGITS}"


def test_the_same_for_people(why, made):
    code, out, _ = why(made, DIGITS, "dimr-xs-2r", "FID-digits", "--setting", "guided")
    assert code == 0
    said = " ".join(out.split())
    for text in (
        "value 0.75, printed 0.75 the value of 1 run", "in the table 0.75: the same",
        f"run {DIMR}, guided", "training of-model, sampling of-samples",
        "kind constant, scale 0.7, power 1.0, interval [0.1, 0.8]",
        "authors, 18 network evaluations an image", "weights weights.pth, sha256 abab",
        "images 797, what held-out images", "train dimr train first",
        f"git {ORIGIN['git_revision']} with uncommitted changes, code 0123456789abcdef; cuda",
        "torch 2.15.0", f"snakemake --force -- {DIGITS}",
    ):  # fmt: skip
        assert text in said, text
    order = [out.index(f"dimr {step}") for step in ("train first", "train second", "sample")]
    assert order == sorted(order)
    assert max(map(len, out.splitlines())) < 220


def test_without_a_setting_every_one_is_explained(why, made):
    found = cells(why, made, DIGITS, "DiT-XS/2", "IS")
    assert [cell["setting"] for cell in found] == ["unguided", "power_cosine"]
    assert all(cell["value"] == "8" and cell["column"] == "inception_score" for cell in found)


def test_sanity_rows_have_no_training(why, made):
    (cell,) = cells(why, made, DIGITS, "Real images", "fid_digits")
    assert cell["value"] == "0.17"
    (cell,) = cells(why, made, DIGITS, "digits/real", "recall")
    assert cell["row"] == "Real images"


def test_a_partial_cell_and_a_paired_difference(why, made):
    table = "results/partial/digits/table6.csv"
    (cell,) = cells(why, made, table, "U-ViT-XS/2", "fid_digits", "--setting", "guided")
    assert float(cell["value"]) == pytest.approx(0.75 + (1 + 1.5 + 1.25) / 3)
    assert cell["how"] == "mean of 3 runs, one a seed; 2 missing"
    assert [run["run"][-1] for run in cell["runs"]] == ["0", "1", "2"]
    assert [one["command"] for one in cell["missing"]] == [
        f"snakemake -- runs/digits/uvit-xs-2/{seed}/metrics/guided.json" for seed in (3, 4)
    ]
    (cell,) = cells(why, made, table, "U-ViT-XS/2", "fid_digits_std", "--setting", "guided")
    assert float(cell["value"]) == pytest.approx(0.25)
    (cell,) = cells(why, made, table, "U-ViT-XS/2", "change", "--setting", "guided")
    assert cell["value"].startswith("-1.25 [-1.87, -0.63], better")
    assert cell["how"].startswith("DiMR-XS/2R less U-ViT-XS/2, FID-digits, seed by seed")
    assert [run["run"] for run in cell["runs"]] == [
        f"digits/{model}/{seed}" for model in ("dimr-xs-2r", "uvit-xs-2") for seed in range(3)
    ]
    assert cell["runs"][3]["value"] == 1.75
    (cell,) = cells(why, made, table, "DiMR-XS/2R", "change", "--setting", "guided")
    assert cell["how"] == "blank: this row is compared with no other"


def test_ours_and_published_in_the_papers_table(why, made):
    row = "DiMR-XL/2R, authors' weights"
    found = cells(why, made, PAPER, row, "fid")
    assert [bool(cell["value"]) for cell in found] == [True, False]  # guided, unguided
    assert found[0]["runs"][0]["weights"]["repo"] == "QHL067/DiMR"
    assert [step["step"] for step in found[0]["runs"][0]["steps"]] == [
        "import",
        "sample",
        "evaluate",
    ]
    assert found[1]["how"] == "blank: none of its runs is made"
    assert found[1]["missing"][0]["run"] == "imagenet256/dimr-xl-2r/published"
    guided = ("--setting", "guided")
    assert [cell["column"] for cell in cells(why, made, PAPER, row, "IS")] == [
        "inception_score"
    ] * 2
    (cell,) = cells(why, made, PAPER, row, "fid_published", *guided)
    assert (cell["value"], cell["runs"]) == ("1.7", [])
    assert cell["how"] == "published: repo, the authors' public repository"
    (cell,) = cells(why, made, PAPER, row, "fid_difference", *guided)
    assert float(cell["value"]) == pytest.approx(0.05)
    assert cell["how"].startswith("ours less published: published: repo")
    assert cell["runs"][0]["value"] == 1.75


def test_blanks_say_why(why, made):
    (cell,) = cells(why, made, PAPER, "BigGAN", "fid")
    assert cell["how"] == "blank: a published row, no run of ours stands in it"
    found = cells(why, made, PAPER, "DiMR-XL/2R", "fid_published", "--setting", "unguided")
    assert [cell["how"] for cell in found] == ["blank: no source confirms the FID"]
    weights = (why, made, PAPER, "DiMR-XL/2R, authors' weights")
    (cell,) = cells(*weights, "fid_std", "--setting", "guided")
    assert cell["how"] == "blank: a single seed has no deviation"
    (cell,) = cells(*weights, "epochs", "--setting", "guided")
    assert cell["how"] == "blank: the records of its runs do not say it"
    (cell,) = cells(why, made, DIGITS, "Real images", "recall")
    assert cell["how"] == "the value of 1 run"


def test_counted_tables(why, project):
    definition = project / "experiments/tables/digits/table3.yaml"
    content = yaml.safe_load(definition.read_text())
    content["blocks"] = [{**content["blocks"][0], "rows": content["blocks"][0]["rows"][:1]}]
    definition.write_text(yaml.safe_dump(content))  # one network, as counting takes its time
    for name in ("table3", "table4"):
        table_of_counts(project, name, project / f"results/digits/{name}")
    (cell,) = cells(why, project, "results/digits/table3.csv", "DiMR-XS/2R", "parameters")
    assert cell["value"] == "1209288"
    assert "experiments/variants.yaml, dimr-xs-2r: dimr models dimr-xs-2r" in cell["how"]
    (cell,) = cells(why, project, "results/digits/table4.csv", "Learning rate", "digits-pixel")
    assert cell["how"] == "the recipe digits-pixel in experiments/recipes.yaml"


def table_of_counts(project, name, base):
    outputs = [f"--{key}={base}.{end}" for key, end in
               (("csv", "csv"), ("markdown", "md"), ("latex", "tex"))]  # fmt: skip
    table = project / f"experiments/tables/digits/{name}.yaml"
    assert main(["paper-table", "--table", str(table), "--root", str(project), *outputs]) == 0


# --- what is wrong --------------------------------------------------------------------------------


def change_csv(project, model, setting, column, value):
    path = project / DIGITS
    with open(path) as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if (row["model"], row["setting"]) == (model, setting):
            row[column] = value
    with open(path, "w") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_an_edited_table_is_told(why, project):
    change_csv(project, "DiMR-XS/2R", "guided", "fid_digits", "0.5")
    code, out, message = why(project, DIGITS, "DiMR-XS/2R", "fid_digits")
    assert code == 2
    assert out.count(": the same") == 2  # the other settings
    assert "0.5: NOT what its runs give: stale, or edited" in out
    assert "table1.csv: row 'DiMR-XS/2R', setting guided, column fid_digits: has 0.5" in message
    assert f"comes out as 0.75: stale or edited: snakemake --force -- {DIGITS}" in message


def test_a_stale_table_is_told(why, project):
    put(project, DIMR, "guided", 0.8)
    code, out, message = why(project, DIGITS, "DiMR-XS/2R", "fid_digits", "--setting", "guided")
    assert code == 2
    assert "has 0.75, but it comes out as 0.8" in message
    assert "run           digits/dimr-xs-2r/0, guided" in out
    code, _, message = why(project, DIGITS, "DiT-XS/2", "fid_digits")
    assert code == 0  # the other cells are as they were


def test_results_that_cannot_be_trusted_are_refused(why, project):
    file = project / f"runs/{DIMR}/metrics/guided.json"
    file.write_text(file.read_text().replace("0.75", "0.5"))
    ask = (project, DIGITS, "DiMR-XS/2R", "fid_digits")
    code, out, message = why(*ask, "--setting", "guided")
    assert (code, out) == (2, "")
    assert f"{file}: changed after it was made (sha256" in message
    assert why(*ask, "--setting", "unguided")[0] == 0
    recipes = project / "experiments/recipes.yaml"
    recipes.write_text(recipes.read_text().replace("steps: 5800", "steps: 5900"))
    code, _, message = why(*ask, "--setting", "unguided")
    assert code == 2
    assert re.search(r"unguided\.json: of another configuration \(key \w{16}, the present one", message)


NAMES = [
    (DIGITS, "DiMR-XS/3R", "fid_digits", (),
     r"table1\.csv: no row 'DiMR-XS/3R' \(did you mean DiMR-XS/2R\? allowed: Real images,"),
    (DIGITS, "DiMR-XS/2R", "fid_digit", (), r"no column 'fid_digit' \(did you mean fid_digits\?"),
    (DIGITS, "+", "fid_digits", (), r"no row '\+' \(allowed: Real images,"),
    (PAPER, "DiMR-XL/2R", "%", (), r"no column '%' \(allowed: model,"),
    (DIGITS, "DiMR-XS/2R", "fid_digits", ("--setting", "gided"),
     r"DiMR-XS/2R: no setting 'gided' \(did you mean guided\? allowed: unguided, guided"),
    ("results/digits/table8.csv", "DiMR", "fid", (),
     r"table8\.yaml: no such definition \(did you mean digits/table\d\?"),
    ("results/digits/table7.csv", "DiMR", "fid", (), "no counterpart on digits"),
    ("results/digits/table2.csv", "+ GLU for the MLP", "fid_digits", (),
     r"not made yet: snakemake -- results/digits/table2\.csv"),
    ("runs/digits/real/0", "DiMR", "fid", (), r"no table \(results/NAME\.csv"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "row", "column", "more", "message"), NAMES)
def test_names_that_there_are_not(why, made, table, row, column, more, message):
    code, out, said = why(made, table, row, column, *more)
    assert (code, out) == (2, "")
    assert re.search(message, said)


def test_folders_given_by_hand(why, made, tmp_path):
    """A table that was copied elsewhere, with the runs and the definitions where they are."""
    table = tmp_path / DIGITS
    table.parent.mkdir(parents=True)
    shutil.copy(made / DIGITS, table)
    places = ["--runs", str(made / "runs"), "--root", str(made)]
    code, out, _ = why(tmp_path, DIGITS, "Autoencoder", "fid_digits", *places)
    assert code == 0
    assert "0.17: the same" in out
