"""The study's page: numbers from the CSV, in the order and the words that readers need."""

import csv
import json
import shutil

import pytest

from dimr.cli import main
from dimr.config.project import PROJECT, ROOT
from dimr.paper.results import read_result, recorded
from dimr.paper.study.claims import load_claims
from dimr.paper.study.page import WORDS, study_page
from dimr.paper.study.results import collect_study
from dimr.paper.study.runs import ends_of_grid, longer, reruns
from dimr.paper.web_page import to_page
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.stages.provenance import sealed

from .study_case import full_lines, seed_lines, write_case, write_results


@pytest.fixture
def case(tmp_path):
    return write_case(tmp_path)


def page_of(case):
    files = case / "claims.yaml", case / "page.md.jinja", case / "results/digits"
    return study_page(*files, case / "docs/study.md")


def rows_of(text, *heads):
    """The cells of the table with these first headings, row by row."""
    lines = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines()]
    start = next(n for n, cells in enumerate(lines) if cells[: len(heads)] == list(heads))
    end = next((n for n in range(start, len(lines)) if not lines[n]), None)
    return lines[start + 2 : end]


def test_the_page_prints_what_was_computed(case):
    text = page_of(case)
    shown, open_one = rows_of(text, "Claim", "Verdict")
    # exp of the means of log(1 / 3), log(1.2 / 3.4), log(1.1 / 2.9), and of their interval's ends
    assert shown == [
        "Several resolutions", "shows", "Ours", "Theirs", "unguided", "3", "1.10", "3.10",
        "−65% [−70%, −58%]", "−32%",
    ]  # fmt: skip
    assert open_one[:7] == ["", "open", "Ours", "Theirs", "guided", "3", "1.10"]
    assert (
        "- **Claims on which comparisons differ**: Several resolutions (1 shows, 1 open)." in text
    )
    ((_, _, setting, recall, low), _) = rows_of(text, "Compared", "Against")
    assert (setting, recall) == ("unguided", "+0.000 [+0.000, +0.000], undecided")
    assert low == "+0.0% [+0.0%, +0.0%], undecided"
    assert "Ours 1.20 million parameters, 0.020 GMACs; Theirs" in text
    assert "30 minutes, 1.1 hours, 0.3 of tuning\n6 intervals" in text
    assert "[seeds](../results/digits/seeds.csv)" in text
    assert text == page_of(case)


def test_a_training_that_diverged_is_named_counted_and_does_not_move_the_median(tmp_path):
    lines = seed_lines()
    (line,) = [line for line in lines if (line["model"], line["setting"]) == ("uvit-xs-2", "guided")
               and line["seed"] == 2]  # fmt: skip
    usual = page_of(write_case(tmp_path / "usual", lines))
    assert "far from their fellows: ." in usual
    line["fid_digits"] = 12.0
    text = page_of(write_case(tmp_path / "wrong", lines))
    assert "far from their fellows: Theirs, seed 2, guided: 12.00 (median 1.20)." in text
    counted = {cells[0]: cells[2] for cells in rows_of(text, "Network") if cells[0]}
    assert counted == {"Ours": "0 of 3", "Theirs": "1 of 3"}
    (guided,) = [cells for cells in rows_of(text, "Network")[2:] if cells[3] == "guided"]
    assert guided[4:] == ["3", "4.77 ± 6.26", "1.20", "4.77", "90.0%", "2.0%"]


def test_evaluations_are_compared_on_the_seeds_that_all_have(case):
    table = dict(rows_of(page_of(case), "Network evaluations"))
    assert table == {"18": "1.00", "50": "0.95"}  # seed 0 alone, as for 50


def test_one_seed_has_no_interval(tmp_path):
    case = write_case(tmp_path, [line for line in seed_lines() if line["seed"] == 0])
    first, _ = rows_of(page_of(case), "Claim")
    assert first[1:6] == ["open", "Ours", "Theirs", "unguided", "1"]
    assert first[8] == "−67%"


def test_a_picture_is_linked_where_there_is_one(case):
    assert "is not made yet" in page_of(case)
    (case / "results/digits/table1.png").write_bytes(b"")
    assert "![A picture](../results/digits/table1.png)\n\n*A picture*" in page_of(case)


def test_a_network_that_has_not_learned_its_labels_is_named(tmp_path):
    lines = seed_lines()
    for line in lines:
        if line["model"] == "uvit-xs-2":
            line["class_accuracy"] = {"unguided": 0.11, "guided": 0.15}[line["setting"]]
    template = "{{ without_labels | join('; ') }}"
    for share, said in ((0.15, "Theirs (15%)"), (0.21, "")):
        for line in lines:
            if (line["model"], line["setting"]) == ("uvit-xs-2", "guided"):
                line["class_accuracy"] = share
        case = write_case(tmp_path / str(share), lines)
        (case / "page.md.jinja").write_text(template)
        assert page_of(case).strip() == said


def test_rates_at_an_end_of_the_grid_are_named(tmp_path):
    tried = [("A", 1e-3, "yes"), ("A", 2e-3, ""), ("A", 4e-3, ""), ("B", 1e-3, ""),
             ("B", 2e-3, "yes"), ("B", 4e-3, ""), ("C", 1e-3, ""), ("C", 4e-3, "yes")]  # fmt: skip
    file = tmp_path / "tuning.csv"
    assert ends_of_grid(file) == []
    lines = [",".join(map(str, line)) for line in tried]
    file.write_text("\n".join(["model,lr,chosen", *lines]))
    assert ends_of_grid(file) == ["A (0.001)", "C (0.004)"]


def test_longer_trainings_are_said_beside_the_shortest(case):
    definition, file = load_claims(case / "claims.yaml"), case / "results/digits/budget.csv"
    assert longer(definition, file) == ""
    file.write_text(
        "model,epochs,fid_digits\nOurs,256,0.4\nTheirs,64,7.5\nTheirs,256,1.25\nOurs,64,2.5\n"
    )
    assert longer(definition, file) == (
        "FID-digits after 4 times as many steps: Ours 2.50 → 0.40, Theirs 7.50 → 1.25"
    )


def test_reruns_are_printed_where_they_were_measured(case):
    assert "not measured" in page_of(case)
    file = case / "results/digits/reruns.csv"
    file.write_text("condition,setting,fid_digits,class_accuracy\n"
                    "recorded,guided,0.5,0.99\none thread,guided,0.625,0.985\n")  # fmt: skip
    assert rows_of(page_of(case), "Condition") == [
        ["recorded", "guided", "0.50", "99.0%"], ["one thread", "guided", "0.62", "98.5%"],
    ]  # fmt: skip
    lines = [  # as the benchmark writes them
        "date,run,condition,setting,fid_digits,class_accuracy,weights_difference",
        ",digits/a/0,recorded,guided,0.5,0.99,0", "2026-11-30,digits/a/0,again,guided,0.75,0.9,0.1",
        ",digits/b/0,recorded,guided,9.5,0.99,0",
    ]  # fmt: skip
    file.write_text("\n".join(lines))
    shown = rows_of(page_of(case), "Run", "Date", "Condition")
    assert shown[1] == ["digits/a/0", "2026-11-30", "again", "guided", "0.75", "90.0%"]
    assert reruns(load_claims(case / "claims.yaml"), file)["largest"] == "0.25"  # of one run
    for text, message in (
        (
            "condition,setting,fid_digit\n",
            r"reruns\.csv: no column 'fid_digits' \(did you mean fid_",
        ),
        ("condition,setting,fid_digits,class_accuracy\n", r"reruns\.csv: no lines"),
    ):
        file.write_text(text)
        with pytest.raises(DimrError, match=message):
            page_of(case)


# --- the committed text and claims ----------------------------------------------------------------


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The repository's claims and template, with results of every run that they name."""
    folder = tmp_path_factory.mktemp("committed")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    write_results(folder / "results/digits", full_lines())
    files = folder / "experiments/claims.yaml", ROOT / "docs/digits-study.md.jinja"
    return study_page(*files, folder / "results/digits", folder / "docs/digits-study.md")


def test_the_page_begins_with_what_shows_what_does_not_what_is_open_and_at_what_cost(committed):
    first = committed.splitlines()[:10]
    titles = [cells[0] for cells in rows_of(committed, "Claim") if cells[0]]
    found = {}  # verdicts by claim, as the table has them
    for title, verdict, *_ in rows_of(committed, "Claim"):
        found.setdefault(title or list(found)[-1], set()).add(verdict)
    said = {line.split("**")[1]: line for line in first if line.startswith("- **")}
    assert len(said) > 2
    for title in titles:
        one, *others = found[title]
        assert title in said[WORDS["mixed" if others else one]]
    assert "- **Cost**: 1.1 core hours: 6 trainings" in first[len(said) + 2]
    assert "0.3 hours of tuning" in said["Cost"]


def test_the_committed_page_holds_all_claims_and_runs(committed):
    claims = load_claims(ROOT / "experiments/claims.yaml")
    comparisons = [one for claim in claims.claims for one in claim.comparisons]
    compared = rows_of(committed, "Claim", "Verdict")
    assert len(compared) == sum(len(one.settings) for one in comparisons)
    printed = rows_of(committed, "Network", "Learning rate")
    assert {cells[0] for cells in printed} == {"", *claims.names.values()}
    assert len(printed) == sum(len(claims.settings(run)) for run in claims.names)
    assert "[all trials](../results/digits/tuning.md)" in committed
    assert "is not measured yet" in committed
    assert "at least 5 seeds" in committed
    assert "**Older code" not in committed


def test_learning_rates_tried_are_other_models(tmp_path):
    """Trials stand in ``seeds.csv`` too, and in no claim."""
    lines = seed_lines()
    trial = {**lines[3], "model": "dimr-xs-2r-lr4", "seed": 100, "fid_digits": 9.0}
    usual, same = (
        page_of(write_case(tmp_path / name, used)).replace(name, "")
        for name, used in (("without", lines), ("with_one", [*lines, trial]))
    )
    assert same == usual


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("claims.yaml", "against: digits/uvit-xs-2", "against: digits/uvit-xs-3",
         r"seeds\.csv: no run 'digits/uvit-xs-3' \(did you mean digits/uvit-xs-2"),
        ("claims.yaml", "unguided, guided]", "unguided, guide]",
         r"digits/dimr-xs-2r: no setting 'guide' \(did you mean guided"),
        ("claims.yaml", "key: recall", "key: recal", r"no metric 'recal' \(did you mean recall"),
        ("claims.yaml", "key: recall", "key: nearest_ratio",
         r"claims\.yaml: metrics\.1\.key: .*no metric 'nearest_ratio'"),
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


def test_the_command_writes_the_page_and_says_what_is_open(case, caplog):
    out = case / "docs/study.md"
    arguments = {"--claims": "claims.yaml", "--template": "page.md.jinja",
                 "--results": "results/digits"}  # fmt: skip
    given = [text for key, name in arguments.items() for text in (key, str(case / name))]
    assert main(["study", *given, "--out", str(out)]) == 0
    assert out.read_text() == page_of(case)
    (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
    assert said == (
        "claims.yaml: claims.resolutions.comparisons.0.seeds: open with 3 (digits/dimr-xs-2r "
        "against digits/uvit-xs-2, guided): raise to 4, then make more-seeds"
    )
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


def put(folder, seed, steps, lr=0.25, model="dimr-xs-2r", compared=797, images=80):
    run = folder / f"digits/{model}/{seed}"
    metrics = run / "metrics/guided.json"
    write_json(metrics, {"fid_digits": 1.5 + seed, "recall": 0.75})
    model = {
        "sessions": [{"git_revision": "older", "git_dirty": True}],
        "seconds": 100.0,
        "config": {"train": {"steps": steps, "batch": 32, "lr": lr}},
    }
    guidance = {"kind": "constant", "scale": 0.7}
    asked = {"steps": 18, "solver": "authors", "guidance": guidance}
    record = {
        "key": "k", "images": images, "reference": {"images": compared}, "git_revision": "abc",
        "git_dirty": False, "versions": {"torch": "2"}, "device": "cpu",
        "samples": {"git_revision": "abc", "model": model, "config": asked},
        "cost": {"parameters_m": 1.25, "gmacs": 0.5, "train_seconds": 100.0},
    }  # fmt: skip
    (run / "provenance").mkdir(exist_ok=True)
    write_json(run / "provenance/guided.json", sealed(record, metrics))


def collected(runs, add=False):
    models = sorted(file.relative_to(runs).as_posix() for file in runs.glob("*/*/*"))
    cells = [(run, "guided") for run in reversed(models)]
    made = {cell: read_result(runs, *cell) for cell in cells}
    seeds, facts = runs.parent / "seeds.csv", runs.parent / "study.json"
    collect_study(made, PROJECT, runs.parent / "logs", seeds, facts, add)
    with open(seeds) as file:
        return list(csv.DictReader(file)), json.loads(facts.read_text())


def test_every_seed_is_a_line(runs):
    lines, _ = collected(runs)
    assert [line["fid_digits"] for line in lines] == ["1.5", "2.5"]
    assert lines[0] == {
        "dataset": "digits", "model": "dimr-xs-2r", "seed": "0", "setting": "guided",
        "kind": "constant", "scale": "0.7", "solver": "authors", "evaluations": "18",
        "parameters_m": "1.25", "gmacs": "0.5", "lr": "0.25", "fid_digits": "1.5", "recall": "0.75",
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


def test_each_network_has_its_own_learning_rate_and_trials_share_nothing(runs):
    """Trials are compared with other images; what they took is counted by itself."""
    put(runs, 0, steps=100, lr=0.5, model="uvit-xs-2")
    put(runs, 100, steps=100, lr=2, model="uvit-xs-2-lr1", compared=250)
    lines, facts = collected(runs)
    assert [(line["model"], line["lr"]) for line in lines] == [
        ("dimr-xs-2r", "0.25"), ("dimr-xs-2r", "0.25"), ("uvit-xs-2-lr1", "2"),
        ("uvit-xs-2", "0.5"),
    ]  # fmt: skip
    assert facts["datasets"]["digits"]["reference_images"] == 797
    assert facts["datasets"]["digits"]["train"] == {"steps": 100, "batch": 32}
    assert facts["times"]["train"] == {"jobs": 3, "recorded": 3, "seconds": 300.0}
    assert facts["times"]["tuning"] == {"jobs": 3, "recorded": 1, "seconds": 100.0}


def test_runs_are_added_to_a_record_whose_own_runs_are_gone(runs):
    """The lines are those of all runs collected together, in their order."""
    _, before = collected(runs)
    shutil.move(runs / "digits/dimr-xs-2r", runs.parent / "elsewhere")
    for seed in (2, 10):
        put(runs, seed, steps=100)
    collected_before = (runs.parent / "seeds.csv").read_text()
    collected(runs, add=True)
    (runs.parent / "seeds.csv").write_text(collected_before)  # killed between the two files
    lines, facts = collected(runs, add=True)
    added = (runs.parent / "seeds.csv").read_text()
    assert [line["seed"] for line in lines] == ["0", "1", "10", "2"]
    (one,) = facts.pop("added")
    assert facts == before
    assert one["runs"] == ["digits/dimr-xs-2r/10", "digits/dimr-xs-2r/2"]
    assert one["times"]["train"] == {"jobs": 2, "recorded": 2, "seconds": 200.0}
    for seed in (0, 1):
        shutil.move(runs.parent / f"elsewhere/{seed}", runs / f"digits/dimr-xs-2r/{seed}")
    collected(runs)
    assert (runs.parent / "seeds.csv").read_text() == added


def test_what_cannot_be_compared_is_not_added(runs):
    collected(runs)
    with pytest.raises(DimrError, match=r"seeds\.csv: digits/dimr-xs-2r/0 is recorded already"):
        collected(runs, add=True)
    shutil.rmtree(runs / "digits")
    put(runs, 2, steps=100, compared=250)
    with pytest.raises(DimrError, match=r"datasets\.digits\.reference_images: 797 is recorded; "):
        collected(runs, add=True)


def test_that_nothing_is_to_be_added_is_no_error(case, capsys):
    file = case / "results/digits/seeds.csv"
    before, made = file.read_text(), ["--facts", str(case / "study.json"), "--runs", str(case)]
    assert main(["study-results", "--add", "--seeds-csv", str(file), *made, "--metrics"]) == 0
    assert capsys.readouterr().out == f"{file}: has all seeds that the claims ask for\n"
    assert file.read_text() == before


def test_the_page_says_what_was_added_and_counts_its_time(case):
    file = case / "results/digits/study.json"
    facts = json.loads(file.read_text())
    times = {"train": {"jobs": 4, "recorded": 4, "seconds": 3600.0}}
    runs = [f"digits/{model}/{seed}" for model in ("dimr-xs-2r", "uvit-xs-2") for seed in (3, 4)]
    made = {key: value for key, value in facts.items() if key != "datasets"}
    facts["added"] = [{**made, "times": times, "runs": [*runs, "digits/uvit-xs-2/6"]}]
    file.write_text(json.dumps(facts))
    (case / "page.md.jinja").write_text(
        "{{ added | join }}\n{{ times.train.jobs }}, {{ total_hours }}"
    )
    said, times = page_of(case).splitlines()
    assert said == ("seeds 3 to 4 of Ours; 3, 4, 6 of Theirs (1.0 core hours) on 2 cores of "
                    "a processor, PyTorch 2.15.0, git 0123456789")  # fmt: skip
    assert times == "10, 2.1"


def test_comparisons_across_machines_are_named(case):
    file = case / "results/digits/study.json"
    facts = json.loads(file.read_text())
    (case / "page.md.jinja").write_text("{{ across | join }}")
    made = {key: value for key, value in facts.items() if key != "datasets"}
    for runs, said in (
        (["digits/dimr-xs-2r/2", "digits/uvit-xs-2/2"], ""),  # together
        (["digits/dimr-xs-2r/1", "digits/dimr-xs-2r/2"], "Ours against Theirs (seeds 1 to 2)"),
        (["digits/dimr-xs-2r/7"], ""),  # which the other does not have
    ):
        file.write_text(json.dumps({**facts, "added": [{**made, "runs": runs}]}))
        assert page_of(case).strip() == said


def test_real_images_and_reconstructions_may_be_fewer(runs):
    """There are no more of them than training images; networks draw more."""
    put(runs, 0, steps=100, model="reconstruction", images=40)
    shared = collected(runs)[1]["datasets"]["digits"]
    assert (shared["images"], shared["baseline_images"]) == (80, 40)


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
