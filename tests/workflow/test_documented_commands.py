"""The commands and examples of README and docs, typed one after the other in one clone.

The recipes are tiny. Blocks with a mark (``tests.support.documented``) are run elsewhere, or not.
"""

import os
import subprocess
import sys

import pytest
import yaml
from tests.support.documented import blocks, documents

from dimr.config.project import ROOT

pytestmark = pytest.mark.slow
NOT_HERE = ("make test", "git clone REPOSITORY dimr && cd dimr")  # would start itself; is done


@pytest.fixture(scope="module")
def typed():
    """Every block that this test runs, in the order of a reader: README, then the pages."""
    found = [block for page in documents() for block in blocks(page) if not block.mark]
    return [block for block in found if block.python or block.commands]


def test_they_do_what_they_say(project, typed):
    folder = project.folder
    subprocess.run(["cp", "-r", ROOT / "results/digits", folder / "results"], check=True)
    (folder / ".venv").symlink_to(sys.prefix)  # the environment exists: make has nothing to set up
    for name in ("requirements.lock", "pyproject.toml"):
        os.utime(folder / name, (0, 0))
    table = folder / "experiments/tables/digits/table1.yaml"
    content = yaml.safe_load(table.read_text())
    content["rows"] = [{**content["rows"][2], "settings": ["guided"]}]  # DiMR
    table.write_text(yaml.safe_dump(content, sort_keys=False))
    project.commit("ready")
    assert {block.document for block in typed} >= {"README.md", "docs/sampling.md"}
    done_before = set(NOT_HERE)
    for block in typed:
        commands = [command for command in block.commands if command not in done_before]
        done_before |= {command for command in commands if command.startswith("dimr plan")}
        shell = ("bash", "-c", "\n".join(["set -e", *commands]))
        program = ("python", "-c", "\n".join(block.lines)) if block.python else shell
        done = project.run(*program, check=False, PYTHONPATH="src")
        assert done.returncode == 0, f"{block}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    written = ["digits.png", "grid.png", "more.png", "authors-names.pth",
               "results/demo/digits/table1.md", "results/figures/architecture/dimr-m-3r.pdf",
               "digits-pipeline/model_index.json"]  # fmt: skip
    assert [name for name in written if not (folder / name).exists()] == []
    changed = project.run("git", "status", "--short").stdout.splitlines()
    assert [line for line in changed if not line.startswith("??")] == []  # nothing checked in
