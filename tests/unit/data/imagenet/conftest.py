import contextlib
from pathlib import Path

import pytest

from dimr.config.schema import Source
from dimr.data.imagenet import resumable_store
from dimr.data.imagenet.acquire import acquire
from dimr.runtime.errors import DimrError

KEY = "0123456789abcdef"


@pytest.fixture
def take(miniature, tmp_path):
    """Take a source in as ``tmp_path / "source"``; ``changes`` are of the section."""

    def run(source, out=None, **changes):
        config = Source.model_validate(miniature.section(**changes))
        out = out or tmp_path / "source"
        acquire(config, str(source), out, KEY)
        return out

    return run


@pytest.fixture
def refused(take, tmp_path):
    """The one line with which a source is refused; nothing is left at the result's name."""

    def run(source, **changes):
        with pytest.raises(DimrError) as caught:
            take(source, **changes)
        assert not (tmp_path / "source").exists()
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return run


@pytest.fixture
def writing(monkeypatch):
    """Names of images that are written to tars; ``stop_at(n)`` interrupts before the n-th."""

    class Writing(list):
        limit = None

        @contextlib.contextmanager
        def stop_at(self, number):
            self.limit = number
            with pytest.raises(KeyboardInterrupt):
                yield
            self.limit = None
            self.clear()

    written = Writing()
    check = resumable_store.check_content

    def checked(name, data, where):
        if written.limit == len(written):
            raise KeyboardInterrupt
        written.append(name)
        check(name, data, where)

    monkeypatch.setattr(resumable_store, "check_content", checked)
    return written


def content(folder: Path) -> dict[str, bytes]:
    """Bytes of a store's files, without the manifest."""
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "manifest.json"}
