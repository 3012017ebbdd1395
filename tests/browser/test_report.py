"""The report of `make report` in a real browser: results first, on a desk and on a phone."""

import re
import shutil

import pytest
from tests.support.project import copy_project

from dimr.config.project import ROOT

STUDY = "results/digits/study.html"
TABLES = "results/digits/table1.html", "results/digits/table4.html"  # with a picture, and without
WIDER = "document.documentElement.scrollWidth - innerWidth"
PICTURE, TABLE = "#app .prose img", "#app .prose table"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Made by the Makefile's own commands, of the recorded results, for a part of them."""
    project = copy_project(tmp_path_factory.mktemp("report") / "project")
    shutil.copytree(ROOT / "results/digits", project.folder / "results/digits", dirs_exist_ok=True)
    project.commit("results")
    said = project.run("make", "-n", "-o", ".venv/ready", "report").stdout.replace("\\\n", "")
    commands = re.findall(r"^(snakemake .*?) -- ", said, re.MULTILINE)
    for command, shown in zip(commands, ([STUDY, *TABLES], TABLES), strict=True):
        project.run(*command.split(), "--", *shown)
    return project.folder / "results/report.html"


def place(page, selector):
    """Where an element is in the window: left, top, right, bottom."""
    return page.value(
        f"(r => [r.left, r.top, r.right, r.bottom])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )


@pytest.fixture(scope="module", params=[(1280, 900), (390, 844)], ids=["desk", "phone"])
def page(request, browser, report):
    width, height = request.param
    browser.requested.clear()
    opened = browser.open(report, size=(width, height))
    opened.until("document.querySelector('#app nav')")
    yield opened
    opened.close()


def test_it_opens_on_a_picture_and_a_table(page, report):
    heading = page.value("document.querySelector('#app h1.title').textContent")
    assert heading == "DiMR, reproduced: the results on digits"
    width, height = page.value("[innerWidth, innerHeight]")
    left, top, right, bottom = place(page, PICTURE)
    assert 0 <= left < left + 200 < right <= width
    assert 0 <= top < bottom <= height
    assert page.value("[...document.querySelectorAll('.prose img')].every(i => i.naturalWidth)")
    assert page.value(f"document.querySelectorAll('{TABLE} tr').length") > 10
    assert width < 1000 or place(page, TABLE)[1] < height - 100
    assert page.value("document.querySelector('#app #rulegraph')") is None
    assert page.value(WIDER) == 0
    assert page.browser.requested[0] == report.as_uri()
    assert {url.split(":")[0] for url in page.browser.requested} <= {"file", "data"}


def test_tables_are_two_clicks_away(page):
    page.click("#app nav li:last-child a")  # Tables
    for row, kind, shown in [(1, "numbers", "iframe"), (2, "picture", ".p-3 > img")]:
        line = f"#app nav tbody tr:nth-child({row})"
        assert page.value(f"document.querySelector('{line}').innerText").split() == ["table1", kind]
        page.click(f"{line} a")
        page.until(f"document.querySelector('#app {shown}')?.getBoundingClientRect().width > 250")
        assert page.value(WIDER) == 0
