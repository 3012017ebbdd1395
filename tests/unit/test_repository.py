"""What names the project to others: versions, citation, changelog, and the folders of a clone."""

import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import dimr
from dimr.config.project import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def pythons():
    """Versions of Python that pyproject.toml lists."""
    pattern = r"Programming Language :: Python :: (3\.\d+)"
    found = [re.fullmatch(pattern, line) for line in PROJECT["classifiers"]]
    return [one[1] for one in found if one]


def test_pyproject_lists_the_pythons_that_it_requires():
    required = SpecifierSet(PROJECT["requires-python"])
    assert pythons() == [f"3.{minor}" for minor in range(40) if f"3.{minor}.5" in required]
    assert len(pythons()) > 1


def test_conda_takes_the_oldest_of_them():
    (wanted,) = [
        one
        for one in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
        if str(one).startswith("python=")
    ]
    assert wanted == f"python={pythons()[0]}"


def test_containers_have_one_of_them():
    for name in ("Dockerfile", "dimr.def"):
        text = (ROOT / "containers" / name).read_text()
        assert re.search(r"^from:? python:(3\.\d+)-", text, re.I | re.M)[1] in pythons()


def test_the_citation_is_of_this_version_and_of_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    # what CFF 1.2.0 requires, of the software and of a reference
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert str(citation["version"]) == dimr.__version__
    assert citation["license"] == PROJECT["license"]
    paper = citation["preferred-citation"]
    assert {"type", "title", "authors"} <= paper.keys()
    assert all(set(one) == {"family-names", "given-names"} for one in paper["authors"])
    assert {"arXiv:2406.09416"} == {one["value"] for one in paper["identifiers"]}
    stated = " ".join((ROOT / "README.md").read_text().split())
    assert paper["title"] in stated
    assert f"{paper['conference']['name']}, arXiv" in stated


def test_the_newest_entry_of_the_changelog_is_this_version():
    text = (ROOT / "CHANGELOG.md").read_text()
    found = re.findall(r"^## \[(\d+\.\d+\.\d+)\]", text, re.M)
    assert found[0] == dimr.__version__
    assert found == sorted(found, key=lambda one: [*map(int, one.split("."))], reverse=True)
    newest = text.split("\n## ")[1]
    assert "### Numbers change\n\n- " in newest


def git(*arguments):
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("folder", ["data", "runs"])
def test_a_clone_has_the_folders_with_a_page_and_nothing_else(folder):
    if git("rev-parse").returncode:
        pytest.skip("not a git repository")
    assert git("ls-files", "--", folder).stdout.split() == [f"{folder}/README.md"]
    ignored = [f"{folder}/{name}" for name in ("digits", "other.md", "digits/README.md", ".hidden")]
    found = git("check-ignore", "--no-index", f"{folder}/README.md", *ignored)
    assert found.stdout.split() == ignored
    text = (ROOT / folder / "README.md").read_text()
    assert "Snakemake owns" in text
    assert "DVC owns" in text


@pytest.mark.parametrize(
    "page", ["data/README.md", "runs/README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
)
def test_pages_link_to_what_exists_and_name_targets_of_make(page):
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        assert ((ROOT / page).parent / link).is_file(), link
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.M))
    named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", text, re.M))
    assert named <= targets


def test_files_of_the_package_are_as_short_as_contributors_are_asked_for():
    (most,) = re.findall(r"`src` have at most (\d+) lines", (ROOT / "CONTRIBUTING.md").read_text())
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "src").rglob("*.py")}
    assert {path: count for path, count in lines.items() if count > int(most)} == {}
    assert len(lines) > 200
