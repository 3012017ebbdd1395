"""A project whose tables may be changed."""

import shutil

import pytest
import yaml

from dimr.config.project import ROOT


@pytest.fixture
def root(tmp_path):
    """A copy of experiments/."""
    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    return tmp_path


@pytest.fixture
def edit(root):
    """A function that changes a file of the copy: by a function, or one value at a path."""

    def change(file, how, value=None):
        target = root / "experiments" / file
        content = yaml.safe_load(target.read_text())
        if callable(how):
            how(content)
        else:
            section = content
            for key in how[:-1]:
                section = section[key]
            section[how[-1]] = value
        target.write_text(yaml.safe_dump(content, sort_keys=False))

    return change
