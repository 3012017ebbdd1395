"""What is checked in agrees: the README and the study's page are those of the results beside them.

`make study` regenerates these results, with other digits on another machine: documents may agree
with the results of this folder or with those that git holds.
"""

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from dimr.config.project import ROOT, Project
from dimr.paper.documents import MARK, check, filled_documents
from dimr.paper.results import recorded
from dimr.paper.study.claims import load_claims, load_papers
from dimr.paper.study.findings import findings
from dimr.paper.study.page import study_page
from dimr.paper.tables.definitions import load_definition
from dimr.runtime.errors import DimrError

RESULTS = Path("results/digits")
PAGE = Path("docs/digits-study.md")
EFFECT = r"((?:> )?[+−]\d+%)"


def git(*arguments):
    """Output of git in this folder; None where there is no repository."""
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)
    return done.stdout if done.returncode == 0 else None


def checked_in(*paths):
    """Names of the files that git holds."""
    return (git("ls-files", "--", *map(str, paths)) or "").split()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """This folder, and one with the results that git holds."""
    if git("rev-parse") is None:
        pytest.skip("not a git repository")
    held = checked_in(RESULTS)
    assert held, "git holds no results of the study"
    copy = tmp_path_factory.mktemp("checked-in")
    assert git("checkout-index", f"--prefix={copy}/", "--", *held) is not None
    for name in ("README.md", "docs", "experiments"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, copy / name)
    return [ROOT, copy]


def agrees(folders, fault_of):
    """At least one of the folders has no fault."""
    faults = [fault_of(folder) for folder in folders]
    assert None in faults, faults


FILLED = [path.relative_to(ROOT) for path in filled_documents(ROOT)]
"""Documents with blocks from results."""


@pytest.mark.parametrize("document", FILLED, ids=str)
def test_a_document_is_of_the_results(document, folders):
    def fault_of(folder):
        try:
            check(folder / document)
        except DimrError as error:
            return str(error)
        return None

    agrees(folders, fault_of)


def test_the_study_is_of_the_results(folders):
    def fault_of(folder):
        claims, template = folder / "experiments/claims.yaml", folder / f"{PAGE}.jinja"
        try:
            text = study_page(claims, template, folder / RESULTS, folder / PAGE)
        except DimrError as error:
            return str(error)
        return None if text == (folder / PAGE).read_text() else "stale: make study"

    agrees(folders, fault_of)


def test_every_verdict_follows_from_its_interval(folders):
    """Read from the page as a reader would, independently of what made it."""
    text = (folders[0] / PAGE).read_text()
    deciding = text.split("| Claim ")[1].split("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in deciding.splitlines()[2:]]
    assert len(rows) > 5
    decided = 0
    for _, verdict, *_, effect, paper in rows:
        found = re.fullmatch(rf"{EFFECT}(?: \[{EFFECT}, {EFFECT}\])?", effect)
        if found is None or found[2] is None:
            assert verdict == "open"  # one seed, or none at an equal FID
            continue
        mean, low, high = (number(one) for one in found.groups())
        assert low <= mean <= high
        theirs = number(paper) if paper else None
        shows, opposite = ("shows", "opposite") if (theirs or -1) < 0 else ("opposite", "shows")
        # printed ends are rounded: one that prints as 0 or as the paper's may lie on either side
        allowed = {shows} if high < 0 else {opposite} if low > 0 else set()
        if low <= 0 <= high:
            allowed |= {"open"} if theirs is None or low <= theirs <= high else {"smaller"}
        if 0 in (low, high):
            allowed |= {"open", "smaller", shows if high == 0 else opposite}
        if theirs in (low, high):
            allowed |= {"open", "smaller"}
        assert verdict in allowed, (effect, paper)
        decided += 1
    assert decided


def number(percent):
    """A printed effect; one that is said to be larger than a number is that number."""
    return float(percent.strip("> %").replace("−", "-"))


def test_the_page_and_the_ablation_say_the_same(folders):
    """The table's own change to the row above is the page's difference of the same two runs."""
    root = folders[-1]
    table, frame = (
        load_definition(root / "experiments/tables/digits/table2.yaml"),
        recorded(root / RESULTS / "seeds.csv"),
    )
    (block,) = table.fill(Project(root), frame, partial=True).blocks
    keys = [column.key for column in block.columns]
    lines = [{key: cell.value for key, cell in zip(keys, row, strict=True)} for row in block.rows]
    claims = root / "experiments/claims.yaml"
    found = [one for one in findings(load_claims(claims), load_papers(claims), frame)
             if not one.comparison.equal_fid]  # fmt: skip
    pairs = [(one.comparison.run, one.comparison.against) for one in found]
    changes = dict(zip(pairs, (one.changes["fid_digits"] for one in found), strict=True))
    compared = 0
    for (above, _), (row, line) in pairwise(zip(table.rows, lines, strict=True)):
        change = changes.get((row.run, above.run))
        if change is None:
            continue
        ends = [float(line[key]) for key in ("change_mean", "change_low", "change_high")]
        assert (change.mean, change.low, change.high) == pytest.approx(ends, rel=1e-3, abs=1e-3)
        compared += 1
    assert compared >= 2


def test_all_that_the_documents_show_is_checked_in(folders):
    held = set(checked_in(RESULTS, "docs", "*.md"))
    for document in {*FILLED, PAGE}:
        text = (folders[0] / document).read_text()
        assert "is not made yet" not in text
        links = re.findall(r"\]\(((?:\.\./)?(?:results|docs)/[^)#]+|[\w-]+\.md)", text)
        assert links
        for link in links:
            path = (folders[0] / document.parent / link).resolve().relative_to(folders[0].resolve())
            assert str(path) in held, f"{document}: {link}"


def test_what_is_checked_in_is_small(folders):
    held = [folders[1] / name for name in checked_in(RESULTS)]
    assert max(file.stat().st_size for file in held) < 1_000_000
    assert sum(file.stat().st_size for file in held) < 10_000_000


def test_every_block_names_what_may_be_checked_in():
    assert {Path("README.md"), Path("docs/text.md")} <= set(FILLED)
    for document in FILLED:
        lines = (ROOT / document).read_text().splitlines()
        marks = [found for line in lines if (found := MARK.match(line))]
        assert marks
        for mark in marks:
            file = (ROOT / document.parent / mark["file"]).resolve().relative_to(ROOT)
            assert file.parts[0] == "docs" or not is_ignored(file)


def test_git_holds_small_results_and_no_others():
    names = ["csv", "md", "tex", "png"]
    through = [f"{table}.{kind}" for table in ("table1", "table6", "steps") for kind in names]
    through += ["seeds.csv", "study.json", "figures/td_ln.pdf", "figures/td_ln.png"]
    left = ["table1.html", "distortion/ratings.html", "figures/td_ln.svg", "other.bin"]
    assert [name for name in through if is_ignored(RESULTS / name)] == []
    assert [name for name in left if not is_ignored(RESULTS / name)] == []
    assert is_ignored("results/table1.csv")
    assert is_ignored("runs/digits/dimr-xs-2r/0/model/config.json")


def is_ignored(path):
    if git("rev-parse") is None:
        pytest.skip("not a git repository")
    return git("check-ignore", "--no-index", "-q", str(path)) is not None
