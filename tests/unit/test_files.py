"""Files are whole or absent."""

import pytest

from dimr.errors import DimrError
from dimr.files import (
    atomic_directory,
    atomic_file,
    key_of,
    read_json,
    write_if_changed,
    write_json,
)


def everything_in(folder):
    return sorted(p.name for p in folder.iterdir())


def test_an_interrupted_file_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises(KeyboardInterrupt), atomic_file(path) as temporary:
        temporary.write_text("{half")
        raise KeyboardInterrupt
    assert read_json(path) == {"old": 1}
    assert everything_in(tmp_path) == ["a.json"]


def test_an_interrupted_folder_leaves_what_was_there(tmp_path):
    path = tmp_path / "folder"
    with atomic_directory(path) as temporary:
        (temporary / "x").write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_directory(path) as temporary:
        (temporary / "x").write_text("new")
        raise KeyboardInterrupt
    assert (path / "x").read_text() == "old"
    assert everything_in(tmp_path) == ["folder"]
    with atomic_directory(path) as temporary:
        (temporary / "y").write_text("new")
    assert everything_in(path) == ["y"]
    assert everything_in(tmp_path) == ["folder"]


def test_a_folder_is_replaced_behind_its_link(tmp_path):
    large, link = tmp_path / "large", tmp_path / "link"
    large.mkdir()
    link.symlink_to(large / "real")
    for text in ("first", "second"):
        with atomic_directory(link) as temporary:
            assert temporary.parent == large
            (temporary / "x").write_text(text)
    assert link.is_symlink()
    assert (large / "real/x").read_text() == "second"
    assert everything_in(large) == ["real"]


def test_write_if_changed(tmp_path):
    path = tmp_path / "a"
    assert write_if_changed(path, "x")
    before = path.stat().st_mtime_ns
    assert not write_if_changed(path, "x")
    assert path.stat().st_mtime_ns == before
    assert write_if_changed(path, "y")


def test_keys_ignore_the_order_of_mappings_only():
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of([1, 2]) != key_of([2, 1])
    assert key_of("a", "b") != key_of("ab")


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), ("{half", "not readable as JSON")]
)
def test_damaged_json_is_named(tmp_path, content, message):
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DimrError, match=rf"a\.json: {message}"):
        read_json(path)
