"""A browser for the tests of pages; where there is none they are skipped, but not in CI."""

import os

import pytest

from .devtools import Browser, find_chromium


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        message = "needs Chromium (Debian: apt-get install chromium)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)
    opened = Browser(program, tmp_path_factory.mktemp("browser"))
    yield opened
    opened.close()
