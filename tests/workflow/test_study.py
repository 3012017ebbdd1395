"""The digits study as a target, and its report: one file, made without a network."""

import base64
import re
import shutil

import pytest
from PIL import Image

from dimr.config.project import ROOT

RESULTS = "results/digits"
NO_NETWORK = {f"{kind}_proxy": "http://127.0.0.1:9" for kind in ("http", "https", "all")}


@pytest.fixture(scope="module")
def checked_in(stub_project, tmp_path_factory):
    """A fresh clone: results are there, runs are not."""
    project = stub_project(tmp_path_factory.mktemp("study") / "project")
    results = project.folder / RESULTS
    results.mkdir(parents=True)
    for name in ("table1", "steps"):
        for kind in ("csv", "tex"):
            (results / f"{name}.{kind}").write_text("from a checkout")
        (results / f"{name}.md").write_text("**A table**\n\n| a |\n|---|\n| 42.5 |\n")
        Image.new("RGB", (8, 8), "red").save(results / f"{name}.png")
    project.commit("results")
    assert "results/digits/table1.csv" in project.run("git", "ls-files").stdout
    return project


def test_the_demo_trains_where_results_are_checked_in(checked_in):
    """It makes a table of its own, and names metrics too, as Snakemake makes no input of a table
    that is there."""
    said = checked_in.run("make", "-n", "-o", ".venv/ready", "demo").stdout
    (targets,) = re.findall(r"snakemake .*? -- (.*)", said)
    assert targets.split() == [
        "results/demo/digits/table1.csv", "runs/digits/dimr-xs-2r/0/metrics/guided.json",
        ".cache/compiled/digits/dimr-xs-2r/0",
    ]  # fmt: skip
    assert {"compile", "images", "train", "sample", "evaluate", "table"} <= checked_in.planned(
        *targets.split()
    )


def test_the_study_is_one_target(checked_in):
    assert checked_in.planned("study") >= {
        "train", "sample", "baseline", "evaluate", "table", "plain_table", "figure", "distortion",
        "rating_page", "study_results", "study_page", "page", "study",
    }  # fmt: skip


def test_the_claims_say_how_many_seeds_there_are(stubbed):
    """More than the tables have, of the two networks of a comparison that is open."""
    claims, wanted = stubbed.folder / "experiments/claims.yaml", "metrics/unguided.json"
    old = "against: digits/uvit-xs-adaln-2\n"
    text = claims.read_text()
    claims.write_text(text.replace(old, f"{old}        seeds: 6\n", 1))
    said = stubbed.snakemake("-n", "--quiet", "host", "progress", "--", f"{RESULTS}/seeds.csv")
    for model in ("dimr-xs-adaln-2r", "uvit-xs-adaln-2"):
        assert f"runs/digits/{model}/5/{wanted}" in said.stdout
        assert f"runs/digits/{model}/6/{wanted}" not in said.stdout
    assert f"runs/digits/dimr-xs-mlp-last-2r/5/{wanted}" not in said.stdout
    claims.write_text(text.replace("{least: 5,", "{lest: 5,"))
    failed = stubbed.snakemake("-n", "--", f"{RESULTS}/seeds.csv", check=False)
    assert "claims.yaml: seeds.least: is missing" in failed.stdout + failed.stderr


def test_seeds_are_added_to_the_record_without_its_runs(stubbed):
    """`make more-seeds`: of all networks the one with a line less, and what that changes."""
    results = stubbed.folder / RESULTS
    shutil.copytree(ROOT / RESULTS, results)
    lines = (results / "seeds.csv").read_text().splitlines()
    lacking = [line for line in lines if not line.startswith("digits,dit-xs-2,4,guided,")]
    assert len(lacking) == len(lines) - 1
    (results / "seeds.csv").write_text("\n".join(lacking) + "\n")
    stubbed.commit("recorded")
    assert trained(stubbed, "more_seeds") == ["digits/dit-xs-2/4"]
    said = stubbed.run("make", "-n", "-o", ".venv/ready", "more-seeds").stdout
    for rule, target in (("figure", f"{RESULTS}/figures/effects.pdf"),
                         ("study_page", "docs/digits-study.md")):  # fmt: skip
        assert f"--allowed-rules {rule} -- {target}" in said
        only = ("-n", "--quiet", "host", "progress", "--allowed-rules", rule, "--", target)
        assert re.findall(r"^(?:local)?rule (\w+):", stubbed.snakemake(*only).stdout, re.M) == [
            rule
        ]


def trained(project, target):
    """Runs that a dry run would train."""
    said = project.snakemake("-n", "--quiet", "host", "progress", "--", target).stdout
    return re.findall(r"rule train:.*?wildcards: run=(\S+)", said, re.DOTALL)


def test_the_report_is_one_file_and_needs_no_network(checked_in):
    page, report = f"{RESULTS}/table1.html", "results/report.html"
    checked_in.snakemake("--allowed-rules", "page", "--", page)  # nothing else may run for it
    assert checked_in.calls() == []
    checked_in.snakemake("--report", report, "--", page, **NO_NETWORK)
    text = (checked_in.folder / report).read_text()
    held = [base64.b64decode(found) for found in re.findall(r"base64,([\w+/=]+)", text)]
    assert (checked_in.folder / page).read_bytes() in held
    assert (checked_in.folder / f"{RESULTS}/table1.png").read_bytes() in held
    assert b"<td>42.5</td>" in b"".join(held)
    assert "DiMR, reproduced: the results on digits" in text
    assert not re.findall(r'<(?:script|link|img)[^>]* (?:src|href)="https?:', text)
    assert checked_in.run("git", "status", "--porcelain").stdout == ""
