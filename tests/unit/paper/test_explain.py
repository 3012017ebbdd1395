"""``dimr why``: from a cell of a table back to the runs, on results with made-up numbers."""

import csv
import json
import re
import shutil

import pytest
import yaml
from tests.support.results import make_table, put_result

from dimr.cli import main
from dimr.config.project import PROJECT, ROOT
from dimr.paper.explain import Explainer
from dimr.paper.tables.definitions import RunsTable, find_definitions
from dimr.runtime.errors import DimrError

DIGITS, PAPER = "results/digits/table1.csv", "results/partial/table7.csv"
TABLE7, PARTIAL7 = "results/digits/table7.csv", "results/partial/digits/table7.csv"
DIMR = "digits/dimr-xs-2r/0"
GUIDED = ("--row", "DiMR-XS/2R", "--setting", "guided", "--column", "fid_digits")
ORIGIN = {
    "git_revision": "c0ffee" * 6 + "c0ff", "git_dirty": True, "code": "0123456789abcdef",
    "device": "cuda", "machine": "x86_64", "versions": {"torch": "2.15.0"},
}  # fmt: skip
GUIDANCE = {"kind": "constant", "scale": 0.7, "power": 1.0, "interval": [0.1, 0.8]}


def record_of(run, setting):
    """What ``dimr evaluate`` leaves of a run that was trained in two sessions."""
    seed = int(run.split("/")[-1]) if run[-1].isdigit() else 0
    sessions = [{"command": f"dimr train {part}", **ORIGIN} for part in ("first", "second")]
    model = {"key": "of-model", "steps": 5800, "images": 185600, "config": {"seed": seed},
             "sessions": sessions}  # fmt: skip
    if run.endswith("published"):
        source = {"repo": "QHL067/DiMR", "sha256": "5a" * 32}
        model = {"key": "of-model", "source": source, "command": "dimr import it", **ORIGIN}
    asked = {"seed": seed, "count": 1000, "steps": 18, "solver": "authors", "guidance": GUIDANCE}
    return {
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


def put(project, run, setting, fid):
    """A result with the key that the configuration asks for."""
    metrics = {"fid_digits" if "digits" in run else "fid": fid, "inception_score": 8.0,
               "precision": 0.9, "recall": 0.8, "class_accuracy": 0.9,
               "low_fidelity_share": 0.1, "nearest_ratio": 1.0, "near_copy_share": 0.0,
               "images": 1000}  # fmt: skip
    return put_result(project, run, setting, metrics, **record_of(run, setting))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Tables 1 and (partial) 7 of digits, and table 7 of the paper with what exists."""
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
    put(project, "imagenet256/dimr-xl-2r/published", "guided", 1.75)
    definition = project / "experiments/tables/digits/table1.yaml"
    definition.write_text(definition.read_text().replace("seeds: 5", "seeds: 1"))
    assert make_table(project, "digits/table1") == 0
    assert make_table(project, "digits/table7", "--partial", to=project / "results/partial") == 0
    assert make_table(project, "table7", "--partial", to=project / "results/partial") == 0
    return project


@pytest.fixture
def project(made, tmp_path):
    """A copy that a test may change."""
    return shutil.copytree(made, tmp_path / "copy")


@pytest.fixture
def clone(tmp_path):
    """What is checked in, without runs."""
    for name in ("experiments", "results/digits"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def why(capsys, caplog):
    """Exit code, output and message of the command; the last is on one line."""

    def ask(project, table, *more):
        caplog.clear()
        code = main(["why", str(project / table), *more])
        assert all("\n" not in record.getMessage() for record in caplog.records)
        return code, capsys.readouterr().out, caplog.text

    return ask


def cells(project, table, row, column, setting=None):
    """What is found of a cell; the table has that value."""
    found = Explainer(project / table).explain(row, column, setting)
    assert {one.verdict for one in found} == {"agrees"}
    return found


# --- what is printed ------------------------------------------------------------------------------


def test_everything_behind_a_value(why, made):
    code, out, _ = why(made, DIGITS, *GUIDED, "--json")
    assert code == 0
    (cell,) = json.loads(out)
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
    assert run["guidance"] == GUIDANCE
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
    asked = ("--row", "dimr-xs-2r", "--column", "FID-digits", "--setting", "guided")
    code, out, _ = why(made, DIGITS, *asked)
    assert code == 0
    said = " ".join(out.split())
    for text in (
        "value 0.75, printed 0.75 the value of 1 run", "in the table 0.75: the same",
        f"run {DIMR}, guided", "training of-model, sampling of-samples",
        "kind constant, scale 0.7, power 1.0, interval [0.1, 0.8]",
        "evaluations 18 solver authors", "extractor weights file weights.pth, sha256 abab",
        "images 797, what held-out images", "train dimr train first",
        f"git {ORIGIN['git_revision']} with uncommitted changes, code 0123456789abcdef; cuda",
        "torch 2.15.0", f"snakemake --force -- {DIGITS}",
    ):  # fmt: skip
        assert text in said, text
    order = [out.index(f"dimr {step}") for step in ("train first", "train second", "sample")]
    assert order == sorted(order)
    assert max(map(len, out.splitlines())) < 220


def test_without_a_setting_every_one_is_explained(made):
    found = cells(made, DIGITS, "DiT-XS/2", "IS")
    assert [cell.setting for cell in found] == ["unguided", "power_cosine"]
    assert all(cell.value == "8" and cell.column == "inception_score" for cell in found)


def test_sanity_rows_have_no_training(made):
    (cell,) = cells(made, DIGITS, "Real images", "fid_digits")
    assert cell.value == "0.17"
    (cell,) = cells(made, DIGITS, "digits/real", "recall")
    assert (cell.row, cell.how) == ("Real images", "the value of 1 run")


def test_a_partial_cell_and_a_paired_difference(made):
    (cell,) = cells(made, PARTIAL7, "U-ViT-XS/2", "fid_digits", "guided")
    assert float(cell.value) == pytest.approx(0.75 + (1 + 1.5 + 1.25) / 3)
    assert cell.how == "mean of 3 runs, one per seed; 2 missing"
    assert [run["run"][-1] for run in cell.runs] == ["0", "1", "2"]
    assert [one["command"] for one in cell.missing] == [
        f"snakemake -- runs/digits/uvit-xs-2/{seed}/metrics/guided.json" for seed in (3, 4)
    ]
    (cell,) = cells(made, PARTIAL7, "U-ViT-XS/2", "fid_digits_std", "guided")
    assert float(cell.value) == pytest.approx(0.25)
    (cell,) = cells(made, PARTIAL7, "U-ViT-XS/2", "change", "guided")
    assert cell.value.startswith("-1.25 [-1.87, -0.63], better")
    assert cell.how.startswith("DiMR-XS/2R less U-ViT-XS/2, FID-digits, seed by seed")
    assert [run["run"] for run in cell.runs] == [
        f"digits/{model}/{seed}" for model in ("dimr-xs-2r", "uvit-xs-2") for seed in range(3)
    ]
    assert cell.runs[3]["value"] == 1.75


def test_ours_and_published_in_the_papers_table(made):
    row = "DiMR-XL/2R, authors' weights"
    found = cells(made, PAPER, row, "fid")
    assert [bool(cell.value) for cell in found] == [True, False]  # guided, unguided
    assert found[0].runs[0]["weights"]["repo"] == "QHL067/DiMR"
    steps = [step["step"] for step in found[0].runs[0]["steps"]]
    assert steps == ["import", "sample", "evaluate"]
    assert found[1].missing[0]["run"] == "imagenet256/dimr-xl-2r/published"
    assert [cell.column for cell in cells(made, PAPER, row, "IS")] == ["inception_score"] * 2
    (cell,) = cells(made, PAPER, row, "fid_published", "guided")
    assert (cell.value, cell.runs) == ("1.7", [])
    place = "table 7 of the paper, row DiMR-XL/2R"
    assert cell.how == f"published: repo, the authors' public repository: {place}"
    (cell,) = cells(made, PAPER, row, "fid_difference", "guided")
    assert float(cell.value) == pytest.approx(0.05)
    assert cell.how.startswith("ours less published: published: repo")
    assert cell.runs[0]["value"] == 1.75


def test_a_column_of_a_setting_is_found_by_both(made):
    assert make_table(made, "table1", "--partial", to=made / "results/partial") == 0
    table, row = "results/partial/table1.csv", "DiMR-XL/2R, authors' weights"
    for column, setting in (("fid", "guided"), ("fid_guided", None)):
        (cell,) = cells(made, table, row, column, setting)
        assert (cell.value, cell.column) == ("1.75", "fid_guided")
    (cell,) = cells(made, table, row, "fid_published", "unguided")
    assert cell.value == "4.5"
    assert cell.how.endswith("on their project page: table 1a of the paper, row DiMR-XL/2R")
    (cell,) = cells(made, table, "DiMR-G/2R", "parameters_m")
    assert float(cell.value) == pytest.approx(1056.35, abs=0.01)
    assert cell.how == "counted here, as no run exists"
    with pytest.raises(DimrError, match=r"no column 'fid_gided' \(did you mean fid_guided"):
        cells(made, table, row, "fid", "gided")


AUTHORS = "DiMR-XL/2R, authors' weights"
BLANKS = [
    (PAPER, "BigGAN", "fid", None, "a published row, none of our runs is in it"),
    (PAPER, "CDM", "precision_published", None, "the authors' table has no value"),
    (PAPER, AUTHORS, "fid", "unguided", "none of its runs exists"),
    (PAPER, AUTHORS, "fid_std", "guided", "a single seed has no deviation"),
    (PAPER, AUTHORS, "epochs", "guided", "its records do not say it"),
    (PARTIAL7, "DiMR-XS/2R", "change", "guided", "this row is compared with no other"),
]


@pytest.mark.parametrize(("table", "row", "column", "setting", "reason"), BLANKS)
def test_blanks_say_why(made, table, row, column, setting, reason):
    (cell,) = cells(made, table, row, column, setting)
    assert (cell.value, cell.how) == ("", f"blank: {reason}")


def test_counted_tables(project):
    definition = project / "experiments/tables/digits/table4.yaml"
    content = yaml.safe_load(definition.read_text())
    content["blocks"] = [{**content["blocks"][0], "rows": content["blocks"][0]["rows"][:1]}]
    definition.write_text(yaml.safe_dump(content))  # one network, as counting takes its time
    for name in ("table4", "table5"):
        assert make_table(project, f"digits/{name}") == 0
    (cell,) = cells(project, "results/digits/table4.csv", "DiMR-XS/2R", "parameters")
    assert cell.value == "1209288"
    assert "experiments/variants.yaml, dimr-xs-2r: dimr models dimr-xs-2r" in cell.how
    (cell,) = cells(project, "results/digits/table5.csv", "Learning rate", "digits-pixel")
    assert cell.how == "the recipe digits-pixel in experiments/recipes.yaml"


# --- what is wrong --------------------------------------------------------------------------------


def rows_of(file):
    with open(file, newline="") as opened:
        return list(csv.DictReader(opened))


def edit(folder, table, row, column, value, setting="guided"):
    rows = rows_of(folder / table)
    for one in rows:
        if (one["model"], one["setting"]) == (row, setting):
            assert one[column] != value
            one[column] = value
    with open(folder / table, "w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_an_edited_table_is_told(why, project):
    edit(project, DIGITS, "DiMR-XS/2R", "fid_digits", "0.5")
    code, out, message = why(project, DIGITS, "--row", "DiMR-XS/2R", "--column", "fid_digits")
    assert code == 2
    assert out.count(": the same") == 2  # the other settings
    assert "0.5: NOT what its runs give: stale, or edited" in out
    assert "table1.csv: row 'DiMR-XS/2R', setting guided, column fid_digits: has 0.5" in message
    assert f"comes out as 0.75: stale or edited: snakemake --force -- {DIGITS}" in message


def test_a_stale_table_is_told(why, project):
    put(project, DIMR, "guided", 0.8)
    code, out, message = why(project, DIGITS, *GUIDED)
    assert code == 2
    assert "has 0.75, but it comes out as 0.8" in message
    assert "run digits/dimr-xs-2r/0, guided" in " ".join(out.split())
    cells(project, DIGITS, "DiT-XS/2", "fid_digits")  # the other cells are as they were


def test_results_that_cannot_be_trusted_are_refused(why, project):
    file = project / f"runs/{DIMR}/metrics/guided.json"
    file.write_text(file.read_text().replace("0.75", "0.5"))
    code, out, message = why(project, DIGITS, *GUIDED)
    assert (code, out) == (2, "")
    assert f"{file}: changed after it was made (sha256" in message
    cells(project, DIGITS, "DiMR-XS/2R", "fid_digits", "unguided")
    recipes = project / "experiments/recipes.yaml"
    recipes.write_text(recipes.read_text().replace("batch: 16", "batch: 17"))
    asked = ("--row", "DiMR-XS/2R", "--column", "fid_digits", "--setting", "unguided")
    code, _, message = why(project, DIGITS, *asked)
    assert code == 2
    assert re.search(r"unguided\.json: of another configuration \(key \w{16}, the present", message)


NAMES = [
    (DIGITS, "DiMR-XS/3R", "fid_digits", (),
     r"table1\.csv: no row 'DiMR-XS/3R' \(did you mean DiMR-XS/2R\? allowed: Real images,"),
    (DIGITS, "DiMR-XS/2R", "fid_digit", (), r"no column 'fid_digit' \(did you mean fid_digits\?"),
    (DIGITS, "+", "fid_digits", (), r"no row '\+' \(allowed: Real images,"),
    (PAPER, "DiMR-XL/2R", "%", (), r"no column '%' \(allowed: model,"),
    (DIGITS, "DiMR-XS/2R", "fid_digits", ("--setting", "gided"),
     r"DiMR-XS/2R: no setting 'gided' \(did you mean guided\? allowed: unguided, guided"),
    ("results/digits/table9.csv", "DiMR", "fid", (),
     r"table9\.yaml: no such definition \(did you mean digits/table\d\?"),
    ("results/digits/table8.csv", "DiMR", "fid", (), "no counterpart on digits"),
    ("results/digits/table2.csv", "+ GLU", "fid_digits", (),
     r"not made yet: snakemake -- results/digits/table2\.csv"),
    ("runs/digits/real/0", "DiMR", "fid", (), r"no table \(results/NAME\.csv"),
]  # fmt: skip


@pytest.mark.parametrize(("table", "row", "column", "more", "message"), NAMES)
def test_names_that_there_are_not(why, made, table, row, column, more, message):
    code, out, said = why(made, table, "--row", row, "--column", column, *more)
    assert (code, out) == (2, "")
    assert re.search(message, said)


def test_folders_given_by_hand(why, made, tmp_path):
    """A table that was copied elsewhere, with the runs and the definitions where they are."""
    table = tmp_path / DIGITS
    table.parent.mkdir(parents=True)
    shutil.copy(made / DIGITS, table)
    places = ["--runs", str(made / "runs"), "--root", str(made)]
    asked = ("--row", "Autoencoder", "--column", "fid_digits", *places)
    code, out, _ = why(tmp_path, DIGITS, *asked)
    assert code == 0
    assert "0.17: the same" in out


# --- runs that are not available: the committed tables, as cloned ---------------------------------


def put_rerun(folder, seed, fid):
    """A run of this machine's, with the key that the configuration asks for."""
    named = ("digits", "dimr-xs-2r", str(seed), "guided")
    recorded = next(
        line
        for line in rows_of(ROOT / "results/digits/seeds.csv")
        if tuple(line[key] for key in ("dataset", "model", "seed", "setting")) == named
    )
    names = [*recorded][[*recorded].index("fid_digits") :]
    metrics = {name: float(recorded[name]) for name in names if recorded[name]}
    metrics["fid_digits"] = fid
    run = f"digits/dimr-xs-2r/{seed}"
    return put_result(folder, run, "guided", metrics, **record_of(run, "guided"))


# Of runs that the study records: it has no trials.
RECORDED = [
    name.removeprefix("digits/")
    for name, one in find_definitions(PROJECT).items()
    if name.startswith("digits/") and isinstance(one, RunsTable) and not one.trials
]


@pytest.mark.slow
@pytest.mark.parametrize("table", RECORDED)
def test_no_committed_number_is_called_wrong(clone, table):
    """Each cell of each table follows from the recorded seeds, except for what they do not have."""
    file = clone / f"results/digits/{table}.csv"
    explainer, checked = Explainer(file), 0
    for title in dict.fromkeys(row["model"] for row in rows_of(file)):
        for column in rows_of(file)[0]:
            for cell in explainer.explain(title, column):
                absent = column.removesuffix("_std") in ("train_seconds", "epochs")
                assert cell.verdict == ("unchecked" if absent and cell.stated else "agrees"), cell
                checked += cell.seeds is not None
    assert checked > 30


def test_a_mean_of_recorded_seeds(clone, why):
    code, out, _ = why(clone, TABLE7, *GUIDED)
    assert code == 0
    assert "agrees with the recorded seeds in" in out
    assert "the runs themselves are not available" in out
    assert len(re.findall("not available +digits/dimr-xs-2r/", out)) == 5
    (cell,) = cells(clone, TABLE7, "DiMR-XS/2R", "fid_digits", "guided")
    values = [  # the study may have more seeds than the table
        float(line["fid_digits"])
        for line in rows_of(clone / "results/digits/seeds.csv")
        if (line["dataset"], line["model"], line["setting"]) == ("digits", "dimr-xs-2r", "guided")
        and int(line["seed"]) < 5
    ]
    assert len(values) == 5
    assert float(cell.value) == pytest.approx(sum(values) / 5, rel=1e-5)
    assert [one["recorded"] for one in cell.missing] == values
    assert (cell.how, cell.runs) == ("mean of 5 runs, one per seed", [])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("fid_digits", "0.634539"), ("fid_digits_std", "0.081"), ("seeds", "4"),
        ("change_mean", "0.001"), ("parameters_m", "1.2094"), ("precision", ""),
    ],
)  # fmt: skip
def test_an_edited_number_is_told_without_runs(clone, why, column, value):
    row = "U-ViT-XS/2" if column.startswith("change") else "DiMR-XS/2R"
    edit(clone, TABLE7, row, column, value)
    code, out, message = why(clone, TABLE7, "--row", row, "--setting", "guided", "--column", column)
    assert code == 2
    assert "NOT what the recorded seeds in" in out
    assert "stale or edited" in message


def test_an_edited_verdict_is_told(clone):
    words = next(
        row["change"] for row in rows_of(clone / TABLE7)
        if (row["model"], row["setting"]) == ("DiT-XS/2", "guided")
    )  # fmt: skip
    assert words.endswith("undecided")
    edit(clone, TABLE7, "DiT-XS/2", "change", words.replace("undecided", "better"))
    (cell,) = Explainer(clone / TABLE7).explain("DiT-XS/2", "change", "guided")
    assert cell.verdict == "wrong"


def recorded_fid(folder):
    """FID-digits of DiMR-XS/2R, guided, seed 0, as the study recorded it."""
    wanted = ("digits", "dimr-xs-2r", "guided", "0")
    (line,) = [
        line
        for line in rows_of(folder / "results/digits/seeds.csv")
        if tuple(line[key] for key in ("dataset", "model", "setting", "seed")) == wanted
    ]
    return float(line["fid_digits"])


def test_one_seed_is_not_compared_with_a_mean_of_five(clone, why):
    """As after `make demo`: seed 0 exists, trained on this machine."""
    fid = recorded_fid(clone)
    put_rerun(clone, 0, fid - 0.0371)
    code, out, _ = why(clone, TABLE7, *GUIDED)
    assert code == 0
    assert "4 of 5 runs are not available here" in out
    said = f"{fid:g}: a rerun: differs by 0.0371 ({0.0371 / fid:.1%})"
    assert said in " ".join(out.split())
    (cell,) = cells(clone, TABLE7, "DiMR-XS/2R", "fid_digits", "guided")
    assert cell.value == cell.stated  # of the five recorded ones, none of them taken from here
    assert [run["value"] for run in cell.runs] == [pytest.approx(fid - 0.0371)]
    assert len(cell.missing) == 4


def test_a_run_that_is_the_recorded_one_is_told(clone, why):
    fid = recorded_fid(clone)
    put_rerun(clone, 0, fid + 1e-10)
    out = why(clone, TABLE7, *GUIDED)[1]
    assert f"{fid:g}: the same, to six digits" in " ".join(out.split())


def test_reruns_of_all_runs_do_not_make_the_committed_number_wrong(clone, why):
    for seed in range(5):
        put_rerun(clone, seed, 0.5)
    code, out, _ = why(clone, TABLE7, *GUIDED)
    assert code == 0
    assert "the runs here are reruns, which differ" in out
    edit(clone, TABLE7, "DiMR-XS/2R", "fid_digits", "0.5")  # a table that was made from them
    (cell,) = cells(clone, TABLE7, "DiMR-XS/2R", "fid_digits", "guided")
    assert (cell.seeds, cell.value) == (None, "0.5")
    edit(clone, TABLE7, "DiMR-XS/2R", "fid_digits", "0.4")  # from neither
    assert why(clone, TABLE7, *GUIDED)[0] == 2


def test_what_is_not_recorded_cannot_be_checked(clone, why):
    (clone / "results/digits/seeds.csv").unlink()
    code, out, message = why(clone, TABLE7, *GUIDED)
    assert code == 4
    assert "cannot be checked: 5 of 5 runs are not available here" in out
    assert "value " not in out
    for seed in range(5):
        assert f"runs/digits/dimr-xs-2r/{seed}/metrics/guided.json" in message
    assert put_rerun(clone, 0, 0.689).is_file()
    code, out, message = why(clone, TABLE7, *GUIDED, "--json")
    assert code == 4
    assert "4 of 5 runs are not available here: snakemake -- runs/digits/dimr-xs-2r/1/" in message
    (cell,) = json.loads(out)
    assert (cell["agrees"], cell["value"], cell["verdict"]) == (None, "", "unchecked")


def test_seconds_of_a_rerun_say_nothing_of_the_recorded_run(clone, why):
    for seed in range(5):
        put_rerun(clone, seed, 0.689)
    asked = ("--row", "DiMR-XS/2R", "--setting", "guided", "--column", "train_seconds")
    code, out, _ = why(clone, DIGITS, *asked)
    assert code == 4
    assert "the runs here are reruns of the recorded ones, with other numbers" in out


def test_a_partial_table_whose_runs_are_gone_cannot_be_checked(clone, why):
    file = put_rerun(clone, 0, 0.689)
    assert make_table(clone, "digits/table7", "--partial", to=clone / "results/partial") == 0
    assert why(clone, PARTIAL7, *GUIDED)[0] == 0
    put_rerun(clone, 1, 0.7)
    assert why(clone, PARTIAL7, *GUIDED)[0] == 2  # stale: it lacks a run that exists
    file.unlink()
    assert why(clone, PARTIAL7, *GUIDED)[0] == 4
