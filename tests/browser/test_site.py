"""The site of `make docs`, built and read as files: nothing from elsewhere, no link to nowhere."""

import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from urllib.parse import unquote, urlsplit

import pytest

import dimr
from dimr.config.project import ROOT

PARTS = {"script": "src", "img": "src", "iframe": "src", "link": "href", "source": "src"}
"""What a browser fetches by itself: attributes by element."""
NAMED = [
    "dimr.models.conditioning.LabelCondition", "dimr.models.conditioning.TextCondition",
    "dimr.diffusion.guidance.wrap", "dimr.data.imagenet.center_crop",
    "dimr.evaluation.fidelity.metrics_of_features",
]  # fmt: skip
"""What others may rely on (design) besides what packages offer."""

pytestmark = pytest.mark.slow


class Page(HTMLParser):
    """Links, anchors and text of a page."""

    def __init__(self, path):
        super().__init__()
        self.fetched, self.links, self.anchors, self.text, self.prose = [], [], set(), [], []
        self._depth = 0  # in a paragraph
        self.feed(path.read_text())
        self.words = " ".join("".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self._depth += tag == "p"
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        if values.get(PARTS.get(tag)):
            self.fetched.append(values[PARTS[tag]])
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])

    def handle_endtag(self, tag):
        self._depth -= tag == "p"

    def handle_data(self, data):
        self.text.append(data)
        if self._depth:
            self.prose.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Built as the Makefile builds it: a warning fails."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    quiet = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=quiet, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Every page by its path; the one for a server's missing pages is not read as a file."""
    return {path: Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def public():
    """What the packages offer: objects by the name they are imported by."""
    found = dict.fromkeys(NAMED)
    packages = [one.name for one in pkgutil.iter_modules(dimr.__path__) if one.ispkg]
    modules = ["dimr", *(f"dimr.{name}" for name in packages)]
    for module in map(importlib.import_module, modules):
        found |= {f"{module.__name__}.{name}": None for name in getattr(module, "__all__", ())}
    for name in found:
        module, _, last = name.rpartition(".")
        found[name] = getattr(importlib.import_module(module), last)
    return found


def test_nothing_comes_from_elsewhere(site, pages):
    for path, page in pages.items():
        assert [one for one in page.fetched if re.match(r"(https?:)?//", one)] == [], path
    for sheet in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", sheet.read_text()), sheet


def test_every_link_leads_somewhere(pages):
    for path, page in pages.items():
        for link in {*page.links, *page.fetched}:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "mailto", "data"), f"{path}: {link}"
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path}: {link}"
            if parts.fragment and target in pages and link in page.links:
                assert unquote(parts.fragment) in pages[target].anchors, f"{path}: {link}"


def test_every_page_is_in_the_menu(site, pages):
    sources = {one: one.relative_to(ROOT / "docs") for one in (ROOT / "docs").rglob("*.md")}
    sources |= {one: one.relative_to(ROOT) for one in (ROOT / "results/digits").glob("*.md")}
    assert len(sources) > 15
    for source, name in sources.items():
        assert str(name.with_suffix(".html")) in pages[site / "index.html"].links, source
    for picture in (ROOT / "results/digits").rglob("*.png"):
        assert (site / picture.relative_to(ROOT)).read_bytes() == picture.read_bytes()
    shown = Counter(one.rsplit("/", 1)[-1] for page in pages.values() for one in page.fetched)
    assert {one.name for one in (ROOT / "results/digits").rglob("*.png")} <= set(shown)


def test_the_reference_holds_what_is_public(site, pages):
    reference = {path: page for path, page in pages.items() if path.parent == site / "api"}
    text = " ".join(page.words for page in reference.values())
    anchors = set().union(*(page.anchors for page in reference.values()))
    found = public()
    assert len(found) > 30
    for name, one in found.items():
        if not (inspect.isclass(one) or inspect.isfunction(one)):
            continue  # of a constant Python keeps no docstring
        assert f"{one.__module__}.{one.__qualname__}" in anchors, name
        first = " ".join((inspect.getdoc(one) or "").split("\n\n")[0].split())
        plain = first.replace("``", "").replace("`", "")
        assert plain in text, f"{name}: {first}"


def test_markdown_means_the_same_as_on_github(pages):
    """A list or table that GitHub shows may be a part of a paragraph to others."""
    for path, page in pages.items():
        assert not re.search(r"\n(- |\d\. |\| )", "".join(page.prose)), path


def test_it_is_read_and_searched_without_a_network(browser, site):
    browser.requested.clear()
    page = browser.open(site / "index.html", size=(1280, 900))
    page.value("document.querySelector('.md-search__input').focus()")
    page.write("resumable")
    page.until("document.querySelectorAll('.md-search-result__link').length > 1")
    assert {url.split(":")[0] for url in browser.requested} <= {"file", "data", "blob"}
    assert page.value("document.fonts.status") == "loaded"
    page.close()


@pytest.mark.parametrize("name", ["index", "digits-study", "results/digits/table7", "api/models"])
def test_no_page_is_wider_than_a_phone(browser, site, name):
    page = browser.open(site / f"{name}.html", size=(390, 844))
    assert page.value("document.documentElement.scrollWidth") == 390
    assert page.value("[...document.images].every(image => image.complete && image.naturalWidth)")
    page.close()
