"""Files are whole or absent."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dimr.runtime.atomic import (
    atomic_directory,
    atomic_file,
    remove_leftovers,
    require_space,
    size_text,
    temporary_name,
)
from dimr.runtime.errors import DimrError, DiskFull
from dimr.runtime.files import key_of, read_json, save_array, write_if_changed, write_json


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


def test_files_get_the_permissions_of_the_umask(tmp_path):
    """Some writers (safetensors) keep their files private: colleagues could not read them."""
    for mask, mode in ((0o022, 0o644), (0o027, 0o640)):
        before = os.umask(mask)
        try:
            with atomic_directory(tmp_path / "model") as folder:
                os.close(os.open(folder / "weights", os.O_CREAT | os.O_WRONLY, 0o600))
            with atomic_file(tmp_path / "file") as temporary:
                os.close(os.open(temporary, os.O_CREAT | os.O_WRONLY, 0o600))
        finally:
            os.umask(before)
        for path in (tmp_path / "model/weights", tmp_path / "file"):
            assert path.stat().st_mode & 0o777 == mode


def test_the_mode_of_a_linked_file_stays(tmp_path):
    theirs = tmp_path / "theirs"
    theirs.touch(0o600)
    with atomic_directory(tmp_path / "reference") as folder:
        os.link(theirs, folder / "reference.npz")
    assert theirs.stat().st_mode & 0o777 == 0o600


def test_everything_is_flushed_before_it_is_renamed(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace

    def flushed(descriptor):
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    def renamed(old, new):
        events.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    with atomic_directory(tmp_path / "a") as folder:
        (folder / "sub").mkdir()
        for name in ("x", "sub/y"):
            (folder / name).write_text(name)
    rename = events.index("rename")
    assert {"x", "y", "sub"} <= set(events[:rename])
    assert events[rename + 1 :] == [tmp_path.name]


def ended_process():
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    return child.pid


def test_the_next_start_removes_what_a_kill_left(tmp_path):
    dead = ended_process()
    ours = temporary_name(tmp_path / "model").name.removesuffix(str(os.getpid()))
    running, of_another = f"{ours}{os.getppid()}", f"{ours.replace('model', 'other')}{dead}"
    elsewhere = re.sub(r"-[0-9a-f]{8}-", "-00000000-", f"{ours}{dead}")
    kept = {running, of_another, elsewhere, ".model.tmp2024", ".model.old2024", f".model.tmp{dead}"}
    for name in (f"{ours}{dead}", f"{elsewhere}9", *kept):
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights").write_text("half")
    for path in (tmp_path / f"{elsewhere}9/weights", tmp_path / f"{elsewhere}9"):
        os.utime(path, (0, 0))  # of a machine that ended long ago
    with atomic_directory(tmp_path / "model") as folder:
        (folder / "weights").write_text("whole")
    assert set(everything_in(tmp_path)) == {"model", *kept}


def test_what_was_moved_aside_comes_back(tmp_path):
    """Killed between the two renames, where the system cannot swap."""
    ours = temporary_name(tmp_path / "model").name.removesuffix(str(os.getpid()))
    old = tmp_path / f"{ours.replace('tmp', 'old')}{ended_process()}"
    old.mkdir()
    (old / "weights").write_text("good")
    remove_leftovers(tmp_path / "model")
    assert (tmp_path / "model/weights").read_text() == "good"
    assert everything_in(tmp_path) == ["model"]


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_takes_the_place_of_another(tmp_path, monkeypatch, swaps):
    if not swaps:
        monkeypatch.setattr("dimr.runtime.atomic.exchange", lambda *_: False)
    for text in ("old", "new"):
        with atomic_directory(tmp_path / "a") as folder:
            (folder / text).write_text(text)
    assert everything_in(tmp_path) == ["a"]
    assert everything_in(tmp_path / "a") == ["new"]


FULL_DISKS = {
    "system": OSError(errno.ENOSPC, "No space left on device"),
    "quota": OSError(errno.EDQUOT, "Disk quota exceeded"),
    "numpy": OSError("4096 requested and 0 written"),
    "safetensors": Exception("Error while serializing: I/O error: No space left (os error 28)"),
    "torch": RuntimeError("[enforce fail at inline_container.cc:664] . unexpected pos 128 vs 64"),
}


@pytest.mark.parametrize("who", FULL_DISKS)
def test_a_full_disk_is_told_whoever_meets_it(tmp_path, who):
    for writer in (atomic_file, atomic_directory):
        path = tmp_path / writer.__name__
        with pytest.raises(DiskFull, match=rf"{path}: no space left") as told, writer(path):
            raise FULL_DISKS[who]
        assert told.value.exit_code == 3
        assert not path.exists()
    assert everything_in(tmp_path) == []


def test_other_errors_stay_what_they_are(tmp_path):
    with pytest.raises(RuntimeError, match="a fault of ours"), atomic_file(tmp_path / "a"):
        raise RuntimeError("a fault of ours")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (45_230, "45.2 kB"),
        (138 * 10**9, "138 GB"),
    ],
)
def test_sizes_for_people(size, text):
    assert size_text(size) == text


def test_what_has_no_room_says_both_numbers(tmp_path):
    with pytest.raises(DiskFull, match="free, the model takes 1 EB: make room"):
        require_space(tmp_path, 10**18, "the model")


@pytest.mark.parametrize("dtype", ["u1", "<f2", "<i8", [("name", "S4"), ("size", "<i4")]])
def test_arrays_are_written_as_numpy_writes_them(tmp_path, dtype):
    array = np.zeros((5, 3), dtype)[::2]  # not contiguous
    save_array(array, tmp_path / "ours.npy")
    np.save(tmp_path / "numpy.npy", array)
    assert (tmp_path / "ours.npy").read_bytes() == (tmp_path / "numpy.npy").read_bytes()


@pytest.mark.parametrize("limit", [100, 5_000, 30_000])
def test_an_array_that_does_not_fit_is_an_error(tmp_path, limit):
    """numpy's own writer loses the error of what the C library's buffer holds at the end."""
    script = (
        "import resource, signal, sys, numpy as np\nfrom dimr.runtime.files import save_array\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "save_array(np.ones(30_720, np.uint8), sys.argv[1])\n"
    )
    command = [sys.executable, "-c", script, tmp_path / "a.npy", str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
