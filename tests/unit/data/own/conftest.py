from pathlib import Path

import pytest
from tests.support.own_images import AWKWARD, fill

from dimr.data.own import look
from dimr.runtime.errors import DimrError


@pytest.fixture
def own(tmp_path) -> Path:
    """Class folders of awkward names."""
    return fill(tmp_path / "own", AWKWARD)


@pytest.fixture
def refused(tmp_path):
    """The one line with which ``look`` refuses a place, without the temporary folder's name."""

    def run(place):
        with pytest.raises(DimrError) as caught:
            look(place, progress=False)
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return run
