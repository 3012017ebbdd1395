"""Commands that README and docs name: they exist, with these options.

`tests/workflow/test_documented_commands.py` runs those of the blocks.
"""

import re
import shlex
from pathlib import Path

import pytest
from tests.support.documented import blocks, documents, inline_commands

from dimr.cli import make_parser
from dimr.config.project import ROOT

MAKEFILE = (ROOT / "Makefile").read_text()
PAGES = documents()
IDS = [str(page.relative_to(ROOT)) for page in PAGES]


@pytest.fixture(scope="module")
def options_of():
    """The options that a program (and its subcommand) takes; an unknown subcommand is an error."""
    from dvc.cli.parser import get_main_parser
    from snakemake.cli import get_argument_parser

    snakemake, dvc, dimr = get_argument_parser(), get_main_parser(), make_parser()

    def options(words):
        program, *rest = words
        if program == "snakemake":
            return set(snakemake._option_string_actions)
        parser = {"dvc": dvc, "dimr": dimr}[program]
        found = set(parser._option_string_actions)
        for word in rest:
            choices = next((a.choices for a in parser._actions if isinstance(a.choices, dict)), {})
            if not choices or word.startswith(("-", "<")):
                break
            assert word in choices, f"{program}: no {word!r} (of {', '.join(choices)})"
            parser = choices[word]
            found |= set(parser._option_string_actions)
        return found

    return options


def check(command, options_of):
    """That a command's program knows its subcommand, targets of make and options."""
    for part in re.split(r" && |; ", command):
        words = [re.sub(r"^\.venv/bin/", "", word) for word in shlex.split(part)]
        if words[0] == "make":
            for target in words[1:]:
                known = re.search(rf"^{re.escape(target)}:", MAKEFILE, re.M)
                assert known or "=" in target, f"make {target}: no such target"
        elif words[0] in ("dimr", "dvc", "snakemake"):
            known = options_of(words)
            for word in words[1:]:
                if re.match(r"--?[a-zA-Z]", word):
                    assert word.split("=")[0] in known, f"{part}: no {word}"
        elif words[0] == "cp" or (words[0] == "python" and words[1].endswith(".py")):
            assert (ROOT / words[1]).is_file(), part


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_commands_exist(page, options_of):
    found = [command for block in blocks(page) for command in block.commands]
    for command in [*found, *inline_commands(page)]:
        check(command, options_of)


def test_what_is_checked_can_fail(options_of):
    for wrong in ("dimr smaple --seed 0", "dimr sample --sede 0", "make dmeo", "dvc exp rnu",
                  "snakemake --nothing x", "python benchmarks/none.py"):  # fmt: skip
        with pytest.raises(AssertionError):
            check(wrong, options_of)


@pytest.mark.parametrize("page", PAGES, ids=IDS)
def test_files_and_pages_exist(page):
    """Those that links, and marks of where a block is run, name."""
    text = page.read_text()
    for target in re.findall(r"\]\(([^)#\s]+)", text):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists(), target
    for block in blocks(page):
        if block.mark and block.mark["file"]:
            assert (ROOT / block.mark["file"]).is_file(), block
    for name in re.findall(r"`((?:src|tests|benchmarks|docs)/[\w/.-]+)`", text):
        assert (ROOT / name).exists(), name


def test_every_page_is_named_by_readme():
    readme = (ROOT / "README.md").read_text()
    pages = [path for path in PAGES if path.parent.name == "docs"]
    assert [path.name for path in pages if f"(docs/{path.name})" not in readme] == []
    assert len(readme.splitlines()) <= 130


def test_anchors_of_links_exist():
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)#([\w-]+)\)", page.read_text()):
            there = page.parent / target if target else page
            heads = re.findall(r"^#+ (.+)$", Path(there).read_text(), re.M)
            names = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
            assert anchor in names, (page.name, target, anchor)
