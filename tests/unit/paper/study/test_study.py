"""The study's page: numbers from the CSV, intervals as scipy's, verdicts that follow from them."""

import csv
import json

import numpy as np
import pytest
from scipy.stats import ttest_rel

from dimr.cli import main
from dimr.config.project import PROJECT
from dimr.paper.results import read_result, recorded
from dimr.paper.statistics import Change
from dimr.paper.study.claims import Metric, findings, load_claims
from dimr.paper.study.page import study_page
from dimr.paper.study.results import collect_study
from dimr.paper.web_page import to_page
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.stages.provenance import sealed

from .study_case import FIDS, seed_lines, write_case


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path)


def page_of(case):
    files = case / "claims.yaml", case / "page.md.jinja", case / "results/digits"
    return study_page(*files, case / "docs/study.md")


def found_in(case):
    frame = recorded(case / "results/digits/seeds.csv")
    return findings(load_claims(case / "claims.yaml"), frame)


def test_intervals_are_scipys_and_verdicts_follow(case):
    found = {one.setting: one for one in found_in(case)}
    for setting, (own, other) in FIDS.items():
        change = found[setting].changes["fid_digits"]
        expected = ttest_rel(own, other).confidence_interval(0.95)
        assert (change.low, change.high) == pytest.approx((expected.low, expected.high))
        assert found[setting].means["fid_digits"] == pytest.approx((np.mean(own), np.mean(other)))
        assert found[setting].seeds == 3
    assert found["unguided"].changes["fid_digits"].high < 0
    assert found["unguided"].verdict == "better"
    assert (
        found["guided"].changes["fid_digits"].low < 0 < found["guided"].changes["fid_digits"].high
    )
    assert found["guided"].verdict == "undecided"


@pytest.mark.parametrize(
    ("better", "low", "high", "verdict"),
    [
        ("lower", -2.0, -1.0, "better"),
        ("lower", 1.0, 2.0, "worse"),
        ("higher", 1.0, 2.0, "better"),
        ("higher", -2.0, -1.0, "worse"),
        ("higher", -0.1, 2.0, "undecided"),
        ("lower", None, None, "undecided"),  # one seed
    ],
)
def test_a_verdict_is_of_the_interval_and_the_direction(better, low, high, verdict):
    metric = Metric(key="x", title="X", better=better)
    assert metric.verdict(Change(0.0, low, high)) == verdict


def test_the_page_prints_what_was_computed(case):
    text = page_of(case)
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()
            if line.startswith("| Ours ")]  # fmt: skip
    assert rows[0] == [
        "Ours", "Theirs", "unguided", "3", "1.10", "3.10", "−2.00 [−2.50, −1.50]", "better",
    ]  # fmt: skip
    assert rows[1][-1] == "undecided"
    assert rows[2][-1] == "+0.000 [+0.000, +0.000], undecided"  # recall: the same for both
    assert "Mixed: Several resolutions (1 better, 1 undecided)" in text
    assert "Ours 1.20 million parameters, 0.020 GMACs; Theirs" in text
    assert "30 minutes, 0.7 hours, 4 intervals" in text
    assert "[seeds](../results/digits/seeds.csv)" in text
    assert text == page_of(case)


def test_a_training_that_went_wrong_is_named(tmp_path):
    lines = seed_lines()
    (line,) = [line for line in lines if (line["model"], line["setting"]) == ("uvit-xs-2", "guided")
               and line["seed"] == 2]  # fmt: skip
    assert "far from their fellows: ." in page_of(write_case(tmp_path / "usual", lines))
    line["fid_digits"] = 12.0
    text = page_of(write_case(tmp_path / "wrong", lines))
    assert "far from their fellows: Theirs, seed 2, guided: 12.00 (median 1.20)." in text


def test_evaluations_are_compared_on_the_seeds_that_all_have(case):
    text = page_of(case)
    lines = [line for line in text.splitlines() if line.startswith("|  ")]
    table = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines}
    assert table["18"] == "1.00"  # seed 0 alone, as for 50
    assert table["50"] == "0.95"


def test_one_seed_has_no_interval(tmp_path):
    case = write_case(tmp_path, [line for line in seed_lines() if line["seed"] == 0])
    (one, _) = found_in(case)
    assert one.verdict == "undecided"
    assert "| −2.00 | undecided |" in " ".join(page_of(case).split())


def test_a_picture_is_linked_where_there_is_one(case):
    assert "is not made yet" in page_of(case)
    (case / "results/digits/table1.png").write_bytes(b"")
    assert "![A picture](../results/digits/table1.png)\n\n*A picture*" in page_of(case)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("claims.yaml", "against: digits/uvit-xs-2", "against: digits/uvit-xs-3",
         r"seeds\.csv: no run 'digits/uvit-xs-3' \(did you mean digits/uvit-xs-2"),
        ("claims.yaml", "unguided, guided]", "unguided, guide]",
         r"digits/dimr-xs-2r: no setting 'guide' \(did you mean guided"),
        ("claims.yaml", "key: recall", "key: recal", r"no metric 'recal' \(did you mean recall"),
        ("claims.yaml", "better: lower", "better: smaller", r"claims\.yaml: metrics\.0\.better"),
        ("claims.yaml", "digits/uvit-xs-2: Theirs", "digits/dit-xs-2: Theirs",
         r"claims\.yaml: names: no 'digits/uvit-xs-2'"),
        ("page.md.jinja", "{{ intervals }}", "{{ interval }}",
         r"page\.md\.jinja: 'interval' is undefined"),
        ("page.md.jinja", "{{ intervals }}", "{{ intervals }", r"page\.md\.jinja: line \d+: "),
        ("results/digits/study.json", '"seconds": 1800.0', '"second": 1800.0',
         r"study\.json: times\.train\.second"),
        ("results/digits/seeds.csv", "setting", "settings", r"seeds\.csv: .*no column 'setting'"),
    ],
)  # fmt: skip
def test_mistakes_are_named_in_one_line(case, file, old, new, message):
    text = (case / file).read_text()
    assert old in text
    (case / file).write_text(text.replace(old, new))
    with pytest.raises(DimrError, match=message) as caught:
        page_of(case)
    assert "\n" not in str(caught.value)


def test_the_command_writes_the_page(case):
    out = case / "docs/study.md"
    arguments = {"--claims": "claims.yaml", "--template": "page.md.jinja",
                 "--results": "results/digits"}  # fmt: skip
    given = [text for key, name in arguments.items() for text in (key, str(case / name))]
    assert main(["study", *given, "--out", str(out)]) == 0
    assert out.read_text() == page_of(case)
    (case / "results/digits/seeds.csv").unlink()
    assert main(["study", *given, "--out", str(out)]) == 2


# --- what the page is made from -------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path):
    """Metrics with records of two seeds, as `dimr evaluate` leaves them."""
    folder = tmp_path / "runs"
    for seed in (0, 1):
        put(folder, seed, steps=100)
    return folder


def put(folder, seed, steps):
    run = folder / f"digits/dimr-xs-2r/{seed}"
    metrics = run / "metrics/guided.json"
    write_json(metrics, {"fid_digits": 1.5 + seed, "recall": 0.75})
    model = {
        "sessions": [{"git_revision": "older", "git_dirty": True}],
        "seconds": 100.0,
        "config": {"train": {"steps": steps, "batch": 32}},
    }
    guidance = {"kind": "constant", "scale": 0.7}
    asked = {"steps": 18, "solver": "authors", "guidance": guidance}
    record = {
        "key": "k", "images": 80, "reference": {"images": 797}, "git_revision": "abc",
        "git_dirty": False, "versions": {"torch": "2"}, "device": "cpu",
        "samples": {"git_revision": "abc", "model": model, "config": asked},
        "cost": {"parameters_m": 1.25, "gmacs": 0.5, "train_seconds": 100.0},
    }  # fmt: skip
    (run / "provenance").mkdir(exist_ok=True)
    write_json(run / "provenance/guided.json", sealed(record, metrics))


def collected(runs):
    cells = [(f"digits/dimr-xs-2r/{seed}", "guided") for seed in (1, 0)]
    made = {cell: read_result(runs, *cell) for cell in cells}
    seeds, facts = runs.parent / "seeds.csv", runs.parent / "study.json"
    collect_study(made, PROJECT, runs.parent / "logs", seeds, facts)
    with open(seeds) as file:
        return list(csv.DictReader(file)), json.loads(facts.read_text())


def test_every_seed_is_a_line(runs):
    lines, _ = collected(runs)
    assert [line["fid_digits"] for line in lines] == ["1.5", "2.5"]
    assert lines[0] == {
        "dataset": "digits", "model": "dimr-xs-2r", "seed": "0", "setting": "guided",
        "kind": "constant", "scale": "0.7", "solver": "authors", "evaluations": "18",
        "parameters_m": "1.25", "gmacs": "0.5", "fid_digits": "1.5", "recall": "0.75",
    }  # fmt: skip
    frame = recorded(runs.parent / "seeds.csv")
    assert set(frame["run"]) == {"digits/dimr-xs-2r/0", "digits/dimr-xs-2r/1"}


def test_times_are_those_that_jobs_recorded(runs):
    log = runs.parent / "logs/digits/dimr-xs-2r/0"
    log.mkdir(parents=True)
    (log / "train.tsv").write_text("s\th:m:s\n130.5\t0:02:10\n")
    (log / "sample-guided.tsv").write_text("s\th:m:s\n12.25\t0:00:12\n")
    _, facts = collected(runs)
    # seed 1 was trained elsewhere: its record says 100 s; nobody recorded its sampling
    assert facts["times"]["train"] == {"jobs": 2, "recorded": 2, "seconds": 230.5}
    assert facts["times"]["sample"] == {"jobs": 2, "recorded": 1, "seconds": 12.2}
    assert facts["times"]["evaluate"] == {"jobs": 2, "recorded": 0, "seconds": 0.0}
    assert facts["datasets"]["digits"]["train"] == {"steps": 100, "batch": 32}
    assert facts["git_revisions"] == ["abc", "older"]
    assert facts["uncommitted_changes"]
    (log / "train.tsv").write_text("nonsense")
    with pytest.raises(DimrError, match=r"train\.tsv: not a benchmark"):
        collected(runs)


def test_runs_that_were_trained_otherwise_are_refused(runs):
    put(runs, 1, steps=200)
    with pytest.raises(DimrError, match=r"1/metrics/guided\.json: train .*200.* differs from") as e:
        collected(runs)
    assert "digits/dimr-xs-2r/0" in str(e.value)


def test_metrics_that_were_edited_are_refused(runs):
    file = runs / "digits/dimr-xs-2r/0/metrics/guided.json"
    write_json(file, {**read_json(file), "fid_digits": 0.1})
    with pytest.raises(DimrError, match=r"guided\.json: changed after it was made"):
        collected(runs)


# --- HTML -----------------------------------------------------------------------------------------


def test_a_page_holds_its_pictures(tmp_path):
    (tmp_path / "p.png").write_bytes(b"\x89PNG")
    text = (
        "<!-- by make -->\n# A & B\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n![p](p.png)\n[c](c.csv)\n"
    )
    page = to_page(text, tmp_path)
    assert "<title>A &amp; B</title>" in page
    assert 'src="data:image/png;base64,iVBORw==' in page
    assert page.count("<td") == 2
    assert "c.csv" not in page  # a link to a file that is not beside the page
    assert "http" not in page
    with pytest.raises(DimrError, match=r"q\.png: no such file"):
        to_page("![q](q.png)", tmp_path)
