"""Copies of the project for tests of its workflow."""

import pytest
from tests.support.project import copy_project, stub


@pytest.fixture
def project(tmp_path):
    """The whole project with a tiny recipe."""
    project = copy_project(tmp_path / "project")
    project.commit("tiny")
    return project


@pytest.fixture
def stubbed(tmp_path):
    """A stubbed project of the test's own."""
    return stub(tmp_path / "project")


@pytest.fixture(scope="session")
def stub_project():
    """The function that makes one."""
    return stub
