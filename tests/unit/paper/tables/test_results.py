"""Tables of results: published values typed from the facts, ours made up and worked by hand."""

import csv
import math
import re
import shutil

import pytest
import yaml
from tests.support.results import leave_result

from dimr.cli import main
from dimr.config.runs import ROOT, load_run
from dimr.paper.published import load_published
from dimr.paper.results import at_hand, read_made
from dimr.paper.tables.definitions import load_results_table, write_paper_table
from dimr.runtime.errors import DimrError
from dimr.sharing.adopt import expected_results

GUIDED, UNGUIDED = "ImageNet 256 x 256, with guidance", "ImageNet 256 x 256, without guidance"
LARGE, LARGE_UNGUIDED = "ImageNet 512 x 512, with guidance", "ImageNet 512 x 512, without guidance"

# type, epochs, parameters, "Gflops", FID, IS, precision, recall, source
FACTS = {
    (GUIDED, "BigGAN"): ("GAN", "", "112M", "", "6.95", "224.5", "0.89", "0.38", "repo"),
    (GUIDED, "MaskGIT-re"): ("Mask.", "300", "227M", "300", "4.02", "355.6", "", "", "repo"),
    (GUIDED, "ADM-G, ADM-U"):
        ("Diff.", "208", "608M", "742", "3.94", "215.8", "0.83", "0.53", "repo"),
    (GUIDED, "CDM"): ("Diff.", "2158", "", "", "4.88", "158.7", "", "", "repo"),
    (GUIDED, "DiT-XL/2"): ("Diff.", "1399", "675M", "119", "2.27", "278.2", "0.83", "0.57", "repo"),
    (GUIDED, "DiMR-XL/2R (400 epochs)"):
        ("Diff.", "400", "505M", "160", "1.77", "285.7", "0.79", "0.62", "repo"),
    (GUIDED, "DiMR-XL/2R"):
        ("Diff.", "800", "505M", "160", "1.7", "289.0", "0.79", "0.63", "repo"),
    (GUIDED, "DiMR-G/2R"):
        ("Diff.", "800", "1.1B", "331", "1.63", "292.5", "0.79", "0.63", "repo"),
    (UNGUIDED, "ADM"): ("Diff.", "", "554M", "", "10.94", "101.0", "0.69", "0.63", "citing"),
    (UNGUIDED, "DiMR-XL/2R"): ("Diff.", "", "505M", "160", "", "", "", "", "repo"),
    (UNGUIDED, "DiMR-G/2R"): ("Diff.", "", "1.06B", "331", "3.56", "", "", "", "citing"),
    (LARGE, "DiT-XL/2"): ("Diff.", "", "675M", "525", "3.04", "240.8", "", "", "citing"),
    (LARGE, "DiMR-XL/3R"): ("Diff.", "", "525M", "206", "2.89", "289.8", "", "", "citing"),
    (LARGE_UNGUIDED, "DiMR-XL/3R"): ("Diff.", "", "525M", "206", "", "", "", "", "citing"),
}  # fmt: skip
FACTS_64 = {
    "U-ViT-M/4": ("131M", "5.85", "33.71"),
    "U-ViT-L/4": ("287M", "4.26", "40.66"),
    "DiMR-M/3R": ("133M", "3.65", "42.41"),
    "DiMR-L/3R": ("284M", "2.21", "55.73"),
}
METRICS = ("fid", "inception_score", "precision", "recall")


def values(fid, score=280.0, precision=0.8, recall=0.6):
    return {
        "fid": fid, "inception_score": score, "inception_score_std": 3.0, "precision": precision,
        "recall": recall, "images": 50000,
    }  # fmt: skip


@pytest.fixture
def root(tmp_path):
    """A copy of experiments/, whose tables may be changed."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return tmp_path


@pytest.fixture
def put(root):
    """A function that leaves a run's result under the copy, and returns its metrics file."""

    def write(run, setting, metrics, **record):
        target = f"runs/{run}/metrics/{setting}.json"
        expected = {one.target: one.expected for one in expected_results(load_run(run, root), root)}
        cost = {"parameters_m": 505.046408, "gmacs": 160.176}
        made_by = {"key": expected[target], "cost": cost, **record}
        return leave_result(root / "runs", run, setting, metrics, **made_by)

    return write


def edit(root, name, change):
    path = root / f"experiments/tables/{name}.yaml"
    content = yaml.safe_load(path.read_text())
    change(content)
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def write(root, metrics=(), name="table1", partial=True):
    outputs = [root / f"{name}.{end}" for end in ("csv", "md", "tex")]
    table = root / f"experiments/tables/{name}.yaml"
    options = {"runs": root / "runs", "metrics": metrics, "partial": partial}
    write_paper_table(table, *outputs, root, **options)
    return outputs


def rows_of(path):
    with open(path) as file:
        return {(row.get("block"), row["model"]): row for row in csv.DictReader(file)}


def message_of(root, *arguments, **options):
    with pytest.raises(DimrError) as caught:
        write(root, *arguments, **options)
    assert "\n" not in str(caught.value)
    assert not list(root.glob("table*.*"))
    return str(caught.value)


# --- published ------------------------------------------------------------------------------------


def test_published_values_are_the_facts_and_nothing_of_ours_is_made_up(root):
    table, markdown, _ = write(root)
    rows = rows_of(table)
    keys = ("epochs", "parameters", "gmacs", *METRICS)
    for name, facts in FACTS.items():
        row = rows[name]
        printed = (row["type"], *(row[f"{key}_published"] for key in keys), row["source"])
        assert printed == facts, name
    for row in rows.values():
        assert not any(row[key] for key in (*METRICS, "epochs", "parameters_m", "gmacs", "seeds"))
        assert not any(row[f"{key}_difference"] for key in METRICS)
    text = markdown.read_text()
    assert "all of 21 (imagenet256/dit-l-2/0 guided" in text
    assert "DiMR-XL/2R: no source confirms the FID." in text


def test_the_papers_order_and_every_row(root):
    rows = list(rows_of(write(root)[0]))
    of_paper = [name for block, name in rows if block == GUIDED and "authors' weights" not in name]
    assert of_paper == list(load_published(root).results["imagenet256_guided"].rows)
    assert len(of_paper) == 34
    assert [name for block, name in rows if block == LARGE] == [
        "ADM-G", "U-ViT-H/4", "DiT-XL/2", "DiT-XL/2, authors' weights", "DiffiT", "SiT-XL",
        "DiMR-XL/3R",
    ]  # fmt: skip


def test_the_detailed_tables(root):
    rows = rows_of(write(root, name="table5")[0])
    for name, (parameters, fid, score) in FACTS_64.items():
        row = rows[None, name]
        assert row["parameters_published"] == parameters
        assert (row["fid_published"], row["inception_score_published"]) == (fid, score)
    assert len(rows_of(write(root, name="table6")[0])) == 34 + 3 + 5 + 3
    assert len(rows_of(write(root, name="table7")[0])) == 8


@pytest.mark.parametrize("name", ["table1", "table2", "table5", "table6", "table7"])
def test_committed_tables_name_what_there_is(name):
    table = load_results_table(ROOT / f"experiments/tables/{name}.yaml")
    assert table.cells()
    for run, setting in table.cells():
        assert setting in load_run(run).settings


# --- ours beside them -----------------------------------------------------------------------------


def test_ours_stand_beside_the_published_with_the_difference(root, put):
    file = put(
        "imagenet256/dimr-xl-2r/0", "guided", values(1.75, 287.0, 0.8, 0.62),
        samples={"model": {"images": 1281167 * 7}},
    )  # fmt: skip
    table, markdown, latex = write(root, [file])
    row = rows_of(table)[GUIDED, "DiMR-XL/2R"]
    assert float(row["fid"]) == 1.75
    assert float(row["fid_difference"]) == pytest.approx(0.05)
    assert float(row["inception_score_difference"]) == pytest.approx(-2.0)
    assert float(row["recall_difference"]) == pytest.approx(-0.01)
    assert (row["run"], row["seeds"], row["setting"]) == ("imagenet256/dimr-xl-2r", "0", "guided")
    assert float(row["epochs"]) == 7
    assert row["fid_std"] == row["missing"] == ""
    assert row["images"] == "50000"
    (line,) = [one for one in markdown.read_text().splitlines() if one.startswith("| DiMR-XL/2R  ")
               and "guided " in one and "unguided" not in one]  # fmt: skip
    assert all(text in line for text in ("505.0M", "160.18", "+0.05", "-2.0"))
    assert "20 of 21" in markdown.read_text()
    assert r"DiMR-XL/2R & Diff. & 0 & guided & 7 & 800 & 505.0M & 505M" in latex.read_text()
    # the same network without guidance has no published FID, and is not made here
    other = rows_of(table)[UNGUIDED, "DiMR-XL/2R"]
    assert other["missing"] == "imagenet256/dimr-xl-2r/0 unguided"


def test_the_authors_weights_are_a_row_of_their_own(root, put):
    file = put("imagenet256/dimr-g-2r/published", "guided", values(1.64))
    row = rows_of(write(root, [file])[0])[GUIDED, "DiMR-G/2R, authors' weights"]
    assert row["seeds"] == "authors' weights"
    assert row["epochs"] == ""
    assert float(row["fid_difference"]) == pytest.approx(0.01)


def test_seeds_are_averaged_and_those_that_are_missing_listed(root, put):
    def three_seeds(content):
        content["blocks"] = [{**content["blocks"][0], "rows": [
            {"published": "DiMR-XL/2R", "run": "imagenet256/dimr-xl-2r", "seeds": [0, 1, 2]}
        ]}]  # fmt: skip

    edit(root, "table1", three_seeds)
    files = [
        put(f"imagenet256/dimr-xl-2r/{seed}", "guided", values(fid))
        for seed, fid in ((0, 1.5), (1, 1.7), (2, 2.2))
    ]
    table, markdown, _ = write(root, files, partial=False)
    (row,) = rows_of(table).values()
    assert float(row["fid"]) == pytest.approx(1.8)
    assert float(row["fid_std"]) == pytest.approx(math.sqrt((0.09 + 0.01 + 0.16) / 2))
    assert row["seeds"] == "0, 1, 2"
    assert "1.80 ± 0.36" in markdown.read_text()
    assert "missing" not in markdown.read_text()
    table, markdown, _ = write(root, files[:2])
    (row,) = rows_of(table).values()
    assert float(row["fid"]) == pytest.approx(1.6)
    assert row["seeds"] == "0, 1"
    assert row["missing"] == "imagenet256/dimr-xl-2r/2 guided"
    assert "1 of 3 (imagenet256/dimr-xl-2r/2 guided)" in markdown.read_text()


def test_a_complete_table_refuses_what_is_missing(root):
    message = message_of(root, partial=False)
    assert re.search(r"no metrics of imagenet256/dit-l-2/0 at 'guided' .*21 of 21", message)


def test_a_row_of_ours_alone(root, put):
    def ours_alone(content):
        content["blocks"] = [{**content["blocks"][0], "rows": [
            {"name": "DiT-B/2", "run": "imagenet256/dit-b-2", "setting": "unguided"}
        ]}]  # fmt: skip

    edit(root, "table1", ours_alone)
    file = put("imagenet256/dit-b-2/0", "unguided", values(30.0))
    (row,) = rows_of(write(root, [file], partial=False)[0]).values()
    assert row["fid"] == "30.0"
    assert row["fid_published"] == row["fid_difference"] == row["source"] == row["type"] == ""


def test_markdown_marks_what_csv_leaves_empty(root):
    table, markdown, latex = write(root, name="table5")
    lines = [one for one in markdown.read_text().splitlines() if one.startswith("| DiMR-M/3R")]
    assert lines[0].count("| ? ") + lines[0].count(" ? |") > 0
    assert "?" not in table.read_text()
    assert "Run" not in markdown.read_text().splitlines()[4]  # columns for machines alone
    text = latex.read_text()
    assert text.isascii()
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


# --- what is at hand ------------------------------------------------------------------------------


def test_only_results_of_this_configuration_are_at_hand(root, put):
    run, cell = "imagenet256/dimr-xl-2r/0", ("imagenet256/dimr-xl-2r/0", "guided")
    expected = {one.target: one.expected for one in expected_results(load_run(run, root), root)}
    key = expected[f"runs/{run}/metrics/guided.json"]
    cells = [cell, (run, "unguided")]
    assert at_hand(cells, root / "runs", root) == []
    put(run, "guided", values(1.7), key=key)
    put(run, "unguided", values(1.7), key="0" * 16)
    assert at_hand(cells, root / "runs", root) == [cell]
    (root / f"runs/{run}/provenance/guided.json").unlink()
    assert at_hand(cells, root / "runs", root) == []


# --- mistakes -------------------------------------------------------------------------------------


def first_row(**changes):
    row = {"published": "DiMR-XL/2R", "run": "imagenet256/dimr-xl-2r", **changes}
    row = {key: value for key, value in row.items() if value is not None}
    return lambda content: content["blocks"][0].update(rows=[row])


BAD = [
    (first_row(published="DiMR-XL/2S"),
     r"table1\.yaml: ImageNet 256 x 256, with guidance: no row 'DiMR-XL/2S' of imagenet256_guided "
     r"in published\.yaml \(did you mean DiMR-XL/2R\?"),
    (first_row(run="imagenet256/dimr-xl-3r"),
     r"table1\.yaml: .*DiMR-XL/2R: .*'dimr-xl-3r' does not"),
    (first_row(run="imagnet256/dimr-xl-2r"), r"no dataset 'imagnet256' \(did you mean imagenet256"),
    (first_row(setting="gided"),
     r"imagenet256/dimr-xl-2r/0: no setting 'gided' \(did you mean guided\?"),
    (first_row(run="imagenet256/uvit-h-2", seeds="published"),
     "no published weights of 'uvit-h-2'"),
    (first_row(seeds="all"), r"table1\.yaml: blocks\.0\.rows\.0\.seeds"),
    (first_row(seeds=[]), "seeds: at least one is needed"),
    (first_row(published=None), "a row needs published, or run and name"),
    (first_row(seed=0), r"seed: unknown key \(did you mean seeds\?"),
    (lambda content: content["blocks"][0].update(published="imagenet256_gided"),
     r"no results 'imagenet256_gided' in published\.yaml \(did you mean imagenet256_guided\?"),
    (lambda content: content["blocks"][0]["rows"].append("BigGAN"), "two are called 'BigGAN'"),
    (lambda content: content["columns"][0].update(key="modle"),
     r"no key 'modle' \(did you mean model\?"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:50] for _, message in BAD])
def test_mistakes_in_a_table_are_one_line(root, change, message):
    edit(root, "table1", change)
    assert re.search(message, message_of(root))


BAD_METRICS = [
    ({"fid": 1.7}, r"guided\.json: no images \(there are: fid\)"),
    ({**values(1.7), "fid": None}, "fid: None should be a finite number"),
    ({**values(1.7), "recall": True}, "recall: True should be a finite number"),
    (values(float("nan")), "fid: nan should be a finite number"),
    ([1.7], "should hold names and values, not list"),
]


@pytest.mark.parametrize(("metrics", "message"), BAD_METRICS)
def test_metrics_that_are_none_are_named(root, put, metrics, message):
    file = put("imagenet256/dimr-xl-2r/0", "guided", metrics)
    assert re.search(message, message_of(root, [file]))


def test_files_that_are_no_metrics_of_runs(root, put):
    file = put("imagenet256/dimr-xl-2r/0", "guided", values(1.7))
    with pytest.raises(DimrError, match=r"elsewhere\.json: not a run's metrics"):
        read_made(root / "runs", [root / "elsewhere.json"])
    provenance = file.parents[1] / "provenance/guided.json"
    provenance.unlink()
    with pytest.raises(DimrError, match=r"provenance/guided\.json: no such file"):
        read_made(root / "runs", [file])
    file.write_text("{")
    with pytest.raises(DimrError, match=r"metrics/guided\.json: not readable as JSON"):
        read_made(root / "runs", [file])


def test_a_published_result_without_a_source_is_refused(root):
    path = root / "experiments/published.yaml"
    text = path.read_text()
    path.write_text(text.replace("recall: 0.38, source: repo", "recall: 0.38"))
    assert "results.imagenet256_guided.rows.BigGAN.source: is missing" in message_of(root)
    path.write_text(text.replace("recall: 0.38,", "recall: 38,"))
    assert re.search(r"rows\.BigGAN\.recall: 38", message_of(root))


def test_tables_without_runs_take_no_metrics(root, put, caplog):
    file = put("imagenet256/dimr-xl-2r/0", "guided", values(1.7))
    assert "takes no metrics" in message_of(root, [file], name="table4", partial=False)
    with pytest.raises(DimrError, match=r"kind: settings takes no runs"):
        load_results_table(root / "experiments/tables/table4.yaml", root)
    arguments = ["--table", root / "experiments/tables/table1.yaml", "--root", root]
    outputs = [f"--{name}={root / name}" for name in ("csv", "markdown", "latex")]
    assert main(["paper-table", *map(str, arguments), *outputs]) == 2
    assert "21 of 21 are missing" in caplog.text
