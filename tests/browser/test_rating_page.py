"""The rating page in a real browser, as a rater uses it; its CSV in `dimr distortion`."""

import csv
import json
import time

import numpy as np
import pytest

from dimr.cli import main
from dimr.config.schema import Study
from dimr.data.classes import class_names
from dimr.human_study.confidence import Chosen
from dimr.human_study.rating_page import ModelImages, write_rating_page
from dimr.human_study.ratings import read_key, read_ratings

MODELS = ("DiMR-XS/2R", "U-ViT-XS/2")
IMAGES = 3  # of each model
RATERS = 2
LABELS = [391, 56, 0]  # the longest names of ImageNet are among them
PLACE = "document.getElementById('image').alt"
STATUS = "document.getElementById('status').textContent"
MESSAGE = "document.getElementById('message').textContent"
LABEL = "document.getElementById('label').textContent"
PRESSED = "document.querySelector('[aria-pressed=true]')?.dataset.rating ?? null"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A page of six images for two raters, who both see all, and its key."""
    folder = tmp_path_factory.mktemp("site")
    random = np.random.default_rng(0)
    rows = [
        {"name": name, "run": f"digits/m{k}/0", "setting": "guided"}
        for k, name in enumerate(MODELS)
    ]
    study = Study.model_validate(
        {"title": "Test", "seed": 1, "raters": RATERS, "per_image": 2, "rows": rows}, strict=False
    )
    summary = {
        "images": 100, "mean": 0.9, "quantiles": {"0.5": 0.9, "0.05": 0.5, "0.01": 0.2},
        "low_fidelity": 3, "shown": 3, "key": "k", "classes": 1000,
        "config": {"classifier": "digits", "threshold": 0.2, "shown": 3, "seed": 0},
    }  # fmt: skip
    models = [
        ModelImages(
            row.model_dump(),
            summary,
            Chosen(
                random.integers(0, 256, (IMAGES, 32, 32, 3), dtype=np.uint8),
                np.array(LABELS),
                np.full(IMAGES, 0.1, np.float32),
                np.arange(IMAGES),
            ),
        )
        for row in study.rows
    ]
    write_rating_page(study, models, folder / "ratings.html", folder / "key.json")
    (folder / "empty.html").touch()
    return folder


@pytest.fixture
def page(browser, site, tmp_path):
    browser.call(
        "Browser.setDownloadBehavior",
        behavior="allow", downloadPath=str(tmp_path), eventsEnabled=True,
    )  # fmt: skip
    browser.events.clear()
    browser.requested.clear()
    opened = browser.open(site / "ratings.html")
    opened.click("#numbers button")  # the first
    yield opened
    opened.value("localStorage.clear()")  # files share one storage
    opened.close()


def reload(page, site):
    """As with F5, once another page sees what this one has stored.

    Chromium hands over what is stored when it can, and a page that is reloaded may be served by
    another of its processes before that.
    """
    stored, other = page.value("({...localStorage})"), page.browser.open(site / "empty.html")
    deadline = time.monotonic() + 30
    while other.value("({...localStorage})") != stored:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    other.close()
    page.reload()


def shown_to(page, rater):
    """Ids of the images of a rater, in the order in which they are shown."""
    data = "JSON.parse(document.getElementById('data').textContent)"
    return page.value(f"(data => data.raters[{rater}].map(i => data.images[i].id))({data})")


def saved(page, folder):
    """The CSV that the button saves."""
    page.click("#save")
    begun = page.browser.wait_for("Browser.downloadWillBegin")
    page.browser.wait_for("Browser.downloadProgress", guid=begun["guid"], state="completed")
    return folder / begun["suggestedFilename"]


def test_it_needs_no_network(page, site):
    page.press("1")
    assert page.value("document.images.length") == 1
    assert page.value("document.images[0].naturalWidth") == 32
    assert page.browser.requested[0] == (site / "ratings.html").as_uri()
    assert {url.split(":")[0] for url in page.browser.requested} <= {"file", "data"}
    refused = page.value(
        "new Promise(done => { document.addEventListener('securitypolicyviolation',"
        " event => done(event.effectiveDirective)); fetch('https://localhost').catch(() => {}); })"
    )
    assert refused == "connect-src"  # even if it tried


def test_rating_by_key_and_by_mouse(page):
    assert page.value(PLACE).startswith("Picture 1 of 6")
    assert page.value(STATUS) == "0 of 6 rated"
    page.press("1")
    page.click("[data-rating='not distorted']")
    page.press("s")
    assert page.value(STATUS) == "3 of 6 rated"
    assert page.value(PLACE).startswith("Picture 4 of 6")
    for expected in ("unsure", "not distorted"):
        page.press("Backspace")
        assert page.value(PRESSED) == expected
    page.click("#back")
    assert page.value(PRESSED) == "distorted"
    page.press("0")  # in place of the first
    page.press("Backspace")
    assert page.value(PRESSED) == "unsure"
    assert page.value(STATUS) == "3 of 6 rated"


def test_each_image_is_shown_with_its_class(page):
    seen = []
    for _ in range(6):
        seen.append(page.value(LABEL))
        assert page.value(PLACE).endswith(f": {seen[-1]}")
        page.press("1")
    assert sorted(seen) == sorted(2 * [class_names(1000)[label] for label in LABELS])
    assert page.value(LABEL) == ""


def test_a_number_says_what_is_shown_and_has_a_progress_of_its_own(page, site, tmp_path):
    first, second = (shown_to(page, rater) for rater in range(RATERS))
    assert first != second
    assert sorted(first) == sorted(second)
    page.click("#rater")
    page.write("Ann")
    page.press("Enter")
    page.press("1")
    page.click("#other")
    assert page.value("document.getElementById('numbers').checkVisibility()")
    assert not page.value("document.getElementById('image').checkVisibility()")
    page.press("1")  # there is nothing to rate
    page.click("#save")
    assert page.value(MESSAGE) == "Please choose your number first."
    page.click("#numbers button:nth-of-type(2)")
    assert page.value(STATUS) == "0 of 6 rated"
    assert page.value("document.getElementById('rater').value") == ""
    page.click("#rater")
    page.write("Ben")
    page.press("Enter")
    page.press("2")
    reload(page, site)
    assert page.value(STATUS) == "1 of 6 rated"
    assert page.value("document.getElementById('other').textContent") == "Number 2"
    [line] = csv.DictReader(saved(page, tmp_path).open())
    assert (line["image"], line["rater"], line["number"]) == (second[0], "Ben", "2")
    page.click("#other")
    page.click("#numbers button")
    assert page.value("document.getElementById('rater').value") == "Ann"
    [line] = csv.DictReader(saved(page, tmp_path).open())
    assert (line["image"], line["rater"], line["number"]) == (first[0], "Ann", "1")


def test_keys_that_rate_nothing(page):
    page.press("1", autoRepeat=True)
    page.press("1", modifiers=2)  # Ctrl+1: another tab
    page.press("5")
    page.click("#rater")
    page.write("s012")
    page.press("Backspace", windowsVirtualKeyCode=8)
    assert page.value(STATUS) == "0 of 6 rated"
    assert page.value("document.getElementById('rater').value") == "s01"


def test_every_button_is_reached_with_the_keyboard(page):
    reached = set()
    page.value("document.body.focus()")
    for _ in range(12):
        page.press("Tab", windowsVirtualKeyCode=9)
        reached.add(
            page.value("document.activeElement.id || document.activeElement.dataset.rating || ''")
        )
    assert {"rater", "other", "distorted", "not distorted", "unsure", "save", "clear"} <= reached
    page.value("document.querySelector('[data-rating=unsure]').focus()")
    page.press(" ")
    assert page.value(STATUS) == "1 of 6 rated"


def test_progress_is_kept_and_the_csv_is_read_by_dimr(page, site, tmp_path, capsys):
    page.click("#save")
    assert page.value(MESSAGE) == "Please enter your name first."
    page.write('Ann "A", B')
    page.press("Enter")  # leaves the name
    page.click("#save")
    assert page.value(MESSAGE) == "There are no ratings to save yet."
    for key in "1210":
        page.press(key)
    reload(page, site)
    assert page.value(STATUS) == "4 of 6 rated"
    assert page.value(PLACE).startswith("Picture 5 of 6")
    page.press("2")
    page.press("2")
    assert page.value("document.getElementById('done').checkVisibility()")
    assert not page.value("document.getElementById('image').checkVisibility()")
    page.press("1")  # there is nothing left to rate
    assert page.value(STATUS) == "6 of 6 rated"
    file = saved(page, tmp_path)
    key = read_key(site / "key.json")
    ratings = read_ratings([file], key)
    short = {"distorted": "1", "not distorted": "2", "unsure": "0"}
    assert "".join(short[rating] for rating in ratings["rating"]) == "121022"
    assert list(ratings["image"]) == shown_to(page, 0)
    assert set(ratings["image"]) == set(json.loads(key.file.read_text())["images"])
    assert set(ratings["rater"]) == {'Ann "A", B'}
    assert set(ratings["number"]) == {"1"}
    table, text = tmp_path / "rates.csv", tmp_path / "rates.md"
    arguments = [file, "--key", key.file, "--csv", table, "--markdown", text]
    assert main(["distortion", *map(str, arguments)]) == 0
    rows = [row for row in csv.DictReader(table.open()) if row["block"] == "Models"]
    assert [row["model"] for row in rows] == [*MODELS, "All"]
    assert float(rows[-1]["rate"]) == 2 / 5
    assert capsys.readouterr().out.strip() == text.read_text().strip()


def test_starting_over_asks_first(page, site):
    page.press("1")
    for accept, left in ((False, "1 of 6 rated"), (True, "0 of 6 rated")):
        page.call(  # the page waits for the answer, so the click itself must not be waited for
            "Runtime.evaluate",
            expression="setTimeout(() => document.getElementById('clear').click(), 0)",
        )
        page.browser.wait_for("Page.javascriptDialogOpening")
        page.call("Page.handleJavaScriptDialog", accept=accept)
        assert page.value(STATUS) == left
    reload(page, site)
    assert page.value(STATUS) == "0 of 6 rated"


def test_a_damaged_store_is_no_end(page, site):
    stored = "Object.keys(localStorage).toSorted()"
    assert len(page.value(stored)) == 2  # the number, and its ratings
    page.value(f"localStorage.setItem({stored}[1], '{{\"place\": 3')")
    reload(page, site)
    assert page.value(STATUS) == "0 of 6 rated"
    page.value(f"localStorage.setItem({stored}[0], '9')")  # there is no such number
    reload(page, site)
    assert page.value("document.getElementById('numbers').checkVisibility()")


def test_it_fits_a_phone(page):
    page.resize(360, 640, mobile=True)
    page.press("1")
    page.value("document.getElementById('instructions').open = false")
    wide, bottom = page.value(
        "[document.documentElement.scrollWidth,"
        " document.querySelector('.choices').getBoundingClientRect().bottom + window.scrollY]"
    )
    assert wide <= 360  # nothing to scroll sideways
    assert bottom <= 640  # picture and buttons on one screen
