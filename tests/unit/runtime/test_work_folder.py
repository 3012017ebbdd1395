"""Work in pieces: notes and what damages them, processes that share it, and taking its place."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dimr.runtime.errors import DimrError
from dimr.runtime.work_folder import Part, WorkFolder

OTHER_DISK = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@pytest.fixture
def work(tmp_path):
    return WorkFolder(tmp_path / "out", "key")


def add(work, piece="notes/a", text="abc", **facts):
    """Write a piece of one file; return the file."""
    file = work.store / f"{piece.split('/')[-1]}.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    work.note(piece, {file: None}, **facts)
    return file


@pytest.mark.parametrize(("text", "index", "count"), [("1/1", 0, 1), ("2/8", 1, 8), ("8/8", 7, 8)])
def test_parts_are_counted_from_one(text, index, count):
    assert Part.parse(text) == Part(index, count)
    assert list(range(10))[Part(1, 3).slice] == [1, 4, 7]


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "1", "a/b", "1/2/3", "", "-1/2", "1/0", " 1/2", "1_0/20", "\u0661/2"]
)
def test_other_parts_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 argparse and the command line word it
        Part.parse(text)


# --- pieces ---------------------------------------------------------------------------------------


def test_a_piece_is_finished_when_it_is_noted(work):
    assert work.finished("notes/a") is None
    file = add(work, count=3)
    for again in (work, WorkFolder(work.out, "key")):
        found = again.finished("notes/a")
        assert found["count"] == 3
        assert found["files"]["store/a.txt"]["bytes"] == 3
    assert WorkFolder(work.out, "other").finished("notes/a") is None
    file.unlink()
    assert work.finished("notes/a") is None


@pytest.mark.parametrize("compare", ["sizes", "once", "again"])
def test_damage_is_found_and_named_once(work, caplog, compare):
    for text, how in (("ab", "has 2 bytes, was written with 3"), ("abd", "checksum differs")):
        file = add(work)
        file.write_text(text)
        later = WorkFolder(work.out, "key")
        if compare == "sizes" and how.startswith("checksum"):
            assert later.finished("notes/a", compare) is not None
            continue
        caplog.clear()
        assert later.finished("notes/a", compare) is None
        assert later.finished("notes/a", compare) is None
        (record,) = caplog.records
        assert record.getMessage().startswith(f"{file}: {how}")


def test_files_are_compared_once_unless_again_is_asked_for(work):
    file = add(work)
    file.write_text("abd")  # after this process has written it
    assert work.finished("notes/a") is not None
    assert work.finished("notes/a", "again") is None


def test_damaged_notes_are_not_believed(work):
    add(work)
    add(work, "notes/b", "xyz")
    note, other = work.folder / "notes/a.json", work.folder / "notes/b.json"
    text = note.read_text()
    unsealed = '{"files": {"store/a.txt": {"bytes": "x"}}}'
    for damaged in (text[:-5], "[]", "{}", text.replace("bytes", "size"), unsealed,
                    text.replace('"bytes": 3', '"bytes": 4'), other.read_text()):  # fmt: skip
        note.write_text(damaged)
        assert work.finished("notes/a") is None
        assert not note.exists()


# --- processes ------------------------------------------------------------------------------------

HOLD = """
import sys
from pathlib import Path
from dimr.runtime.work_folder import Part, WorkFolder
part = Part.parse(sys.argv[3]) if len(sys.argv) > 3 else None
with WorkFolder(Path(sys.argv[1]), sys.argv[2]).claimed(part):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(work, *part):
    """A process works on all, or a part, until the end, when it is killed."""
    command = [sys.executable, "-c", HOLD, str(work.out), work.key, *part]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout.readline() == "held\n"
        yield
        other.kill()


def refusal(work, part=None):
    with pytest.raises(DimrError) as caught, work.claimed(part):
        pass
    return str(caught.value)


def test_a_part_has_one_process(work):
    with held_by_another(work, "2/3"):
        for part in (Part(1, 3), None, Part(0, 2)):  # itself, all, another division
            assert "out: another process is making part 2/3 of it; wait" in refusal(work, part)
        with work.claimed(Part(0, 3)), work.claimed(Part(2, 3)):
            pass
    with work.claimed(Part(1, 3)):
        pass


def test_one_who_makes_all_is_alone(work):
    with held_by_another(work):
        for part in (None, Part(0, 3)):
            assert "out: another process is making it; wait" in refusal(work, part)
    with work.claimed():
        pass


def test_what_killed_processes_left_torn_is_removed(work):
    add(work)
    torn = [work.folder / name for name in ("store/.a.txt.dimr-tmp-0-1", "notes/.x.dimr-tmp-1")]
    for path in torn:
        path.touch()
    with work.claimed(Part(1, 2)):  # others may be writing
        assert all(path.exists() for path in torn)
    with work.claimed():
        assert not any(path.exists() for path in torn)
    torn[0].touch()
    work.place()
    assert [path.name for path in work.out.iterdir()] == ["a.txt"]


# --- the result -----------------------------------------------------------------------------------


def test_the_result_takes_the_place_of_what_was_there_and_of_other_work(work):
    work.out.mkdir()
    (work.out / "old").touch()
    other = WorkFolder(work.out, "other")
    add(other)
    with work.claimed():
        add(work)
        work.place()
    assert [path.name for path in work.out.iterdir()] == ["a.txt"]
    assert [path.name for path in work.out.parent.iterdir()] == ["out"]


def test_other_work_that_goes_on_is_left(work):
    other = WorkFolder(work.out, "other")
    add(other)
    for held in (True, False):
        add(work)
        with held_by_another(other, "1/2") if held else contextlib.nullcontext():
            work.place()
        assert other.folder.exists() == held


def test_behind_a_link_the_work_lies_beside_the_target(tmp_path):
    large, link = tmp_path / "large", tmp_path / "out"
    large.mkdir()
    link.symlink_to(large / "result")  # not there yet; then it is replaced
    for _ in range(2):
        work = WorkFolder(link, "key")
        with work.claimed():
            add(work)
            assert work.folder == large / ".result.part-key"
            work.place()
        assert link.is_symlink()
        assert [path.name for path in large.iterdir()] == ["result"]


def test_work_on_another_disk_is_refused_at_once(work):
    with tempfile.TemporaryDirectory(dir=OTHER_DISK) as other:
        work.folder.symlink_to(other)
        if os.stat(other).st_dev == os.stat(work.out.parent).st_dev:
            pytest.skip("only one disk")
        with pytest.raises(DimrError, match=r"key: is on another disk than .*put the whole of"):
            work.claimed().__enter__()
        assert not list(Path(other).glob("store/*"))
