"""Shard folders that are put together from pieces, by one process or several, at once or not."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest

from dimr.data.resumable_shards import Assembly, Part
from dimr.data.shards import open_shards, verify
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_text

COUNT, SHARD = 23, 5
LABELS = np.arange(COUNT) % 3


def images(numbers):
    return np.stack([np.full((2, 2, 3), number, np.uint8) for number in numbers])


@pytest.fixture
def work(tmp_path):
    return Assembly(tmp_path / "out", "key", "pixels", (2, 2, 3), COUNT, SHARD)


def write(work, *numbers):
    for number in numbers:
        work.write(number, images(work.samples(number)))


def finish(work, **arguments):
    return work.finish(LABELS, ["a", "b", "c"], **arguments)


@pytest.mark.parametrize(("text", "index", "count"), [("1/1", 0, 1), ("2/8", 1, 8), ("8/8", 7, 8)])
def test_parts_are_counted_from_one(text, index, count):
    assert Part.parse(text) == Part(index, count)


@pytest.mark.parametrize(
    "text", ["0/2", "3/2", "1", "a/b", "1/2/3", "", "-1/2", "1/0", " 1/2", "1_0/20", "\u0661/2"]
)
def test_other_parts_are_refused(text):
    with pytest.raises(ValueError):  # noqa: PT011 argparse and the command line word it
        Part.parse(text)


def test_sizes(work):
    assert work.shards == 5
    assert work.nbytes == COUNT * 12
    assert [len(work.samples(number)) for number in range(5)] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
def test_parts_share_the_shards_out(work, count):
    shares = [work.missing(Part(index, count)) for index in range(count)]
    assert sorted(number for share in shares for number in share) == list(range(5))
    write(work, 0, 3)
    assert work.missing() == [1, 2, 4]


def test_shards_in_any_order_make_the_folder(work):
    write(work, 4, 1, 0)
    write(Assembly(work.out, "key", "pixels", (2, 2, 3), COUNT, SHARD), 3, 2)  # a later start
    assert not work.out.exists()
    manifest = finish(work)
    assert manifest == verify(work.out)
    assert np.array_equal(np.concatenate(open_shards(work.out).arrays), images(range(COUNT)))
    assert manifest.key == "key"
    assert [path.name for path in work.out.parent.iterdir()] == ["out"]
    assert {path.suffix for path in work.out.iterdir()} == {".npy", ".json"}
    assert len(list(work.out.glob("*.json"))) == 1


def test_it_is_not_finished_without_all(work):
    write(work, 0, 1, 2)
    with pytest.raises(DimrError, match="2 of 5 shards are missing"):
        finish(work)
    assert not work.out.exists()
    assert work.missing() == [3, 4]


def test_what_is_added_is_there_when_the_folder_appears(work):
    write(work, *range(5))

    def fail(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(work, add=fail)
    assert not work.out.exists()
    finish(work, add=lambda folder: write_text(folder / "more.txt", "more"))
    assert (work.out / "more.txt").read_text() == "more"


def test_it_replaces_what_was_there_and_other_work(work):
    work.out.mkdir()
    (work.out / "old").touch()
    other = Assembly(work.out, "other", "pixels", (2, 2, 3), COUNT, SHARD)
    write(other, 0)
    assert work.missing() == list(range(5))  # of another configuration
    write(work, *range(5))
    finish(work)
    assert not (work.out / "old").exists()
    assert [path.name for path in work.out.parent.iterdir()] == ["out"]


def test_bad_shards_are_refused_and_leave_nothing(work):
    with pytest.raises(DimrError, match="4 samples for 5"):
        work.write(0, images(range(4)))
    with pytest.raises(DimrError, match="pixels must be uint8"):
        work.write(0, images(range(5)).astype(np.float32))
    with pytest.raises(DimrError, match="sample 5 has shape"):
        work.write(1, np.zeros((5, 2, 2, 1), np.uint8))
    assert not work.folder.exists()


def test_a_truncated_shard_is_named_once_and_made_again(work, caplog):
    write(work, 0, 1)
    path = work.store / "00001.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert work.missing() == [1, 2, 3, 4]
    assert work.missing() == [1, 2, 3, 4]
    (record,) = caplog.records
    assert record.getMessage().startswith(f"{path}: has 187 bytes, was written with 188")
    write(work, 1, 2, 3, 4)
    finish(work)
    assert verify(work.out).count == COUNT


def test_a_flipped_byte_is_found_at_the_end_and_the_shard_made_again(work):
    write(work, *range(5))
    path = work.store / "00003.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(DimrError, match=r"00003\.npy: checksum differs .* 1 of 5 shards"):
        finish(work)
    assert not work.out.exists()
    assert work.missing() == [3]
    write(work, 3)
    finish(work)
    assert verify(work.out).count == COUNT


def test_complete_is_whole_and_of_this_work(work):
    write(work, *range(5))
    assert not work.is_complete()
    finish(work)
    assert work.is_complete()
    assert not Assembly(work.out, "other", "pixels", (2, 2, 3), COUNT, SHARD).is_complete()
    path = work.out / "00003.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert not work.is_complete()


def test_behind_a_link_the_work_lies_beside_the_target(tmp_path):
    large = tmp_path / "large"
    large.mkdir()
    link = tmp_path / "out"
    link.symlink_to(large / "latents")  # not there yet; then it is replaced
    for _ in range(2):
        work = Assembly(link, "key", "pixels", (2, 2, 3), COUNT, SHARD)
        with work.claimed():
            write(work, *range(5))
            assert work.folder.parent == large
            finish(work)
        assert link.is_symlink()
        assert verify(link).count == COUNT
        assert [path.name for path in large.iterdir()] == ["latents"]


def test_work_on_another_disk_is_refused_at_once(work, monkeypatch):
    stat = Path.stat

    def other_disk(path, **options):
        found = stat(path, **options)
        is_there = path == work.store
        return os.stat_result([*found[:2], found.st_dev + is_there, *found[3:]])

    with work.claimed():
        pass
    monkeypatch.setattr(Path, "stat", other_disk)
    with pytest.raises(DimrError, match=r"key: is on another disk than .*put the whole of"):
        work.claimed().__enter__()


def test_a_shard_without_its_note_is_made_again(work):
    write(work, 0, 1)
    note = work.folder / "notes/00000.json"
    note.unlink()
    assert work.missing() == [0, 2, 3, 4]
    write(work, 0)
    text = note.read_text()
    unsealed = '{"files": {"store/00000.npy": {"bytes": "x"}}}'
    other = (work.folder / "notes/00001.json").read_text()
    for damaged in (text[:-5], "[]", "{}", text.replace("bytes", "size"), unsealed, other):
        note.write_text(damaged)
        assert work.missing() == [0, 2, 3, 4]
        assert not note.exists()


def test_room_for_what_is_missing(work, monkeypatch):
    write(work, 0, 1)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(13 * 12 + 99))
    work.require_space()
    work.require_space(99)
    with pytest.raises(DimrError, match=r" free, what is missing of .*out takes"):
        work.require_space(100)


HOLD = """
import sys
from pathlib import Path
from dimr.data.resumable_shards import Assembly, Part
part = Part.parse(sys.argv[3]) if len(sys.argv) > 3 else None
with Assembly(Path(sys.argv[1]), sys.argv[2], "pixels", (2, 2, 3), 23, 5).claimed(part):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def held_by_another(work, key="key", *part):
    """A process works on all, or a part, until the end, when it is killed."""
    command = [sys.executable, "-c", HOLD, str(work.out), key, *part]
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
    with held_by_another(work, "key", "2/3"):
        for part in (Part(1, 3), None, Part(0, 2)):  # itself, all, another division
            assert "another process is making part 2/3 of it" in refusal(work, part)
        with work.claimed(Part(0, 3)), work.claimed(Part(2, 3)):
            pass
    with work.claimed(Part(1, 3)):
        write(work, *range(5))
    with work.claimed():
        finish(work)


def test_one_who_makes_all_is_alone(work):
    with held_by_another(work):
        for part in (None, Part(0, 3)):
            assert "out: another process is making it; wait" in refusal(work, part)
    with work.claimed():
        pass


def test_other_work_that_goes_on_is_left(work):
    other = Assembly(work.out, "other", "pixels", (2, 2, 3), COUNT, SHARD)
    write(other, 0)
    write(work, *range(5))
    with held_by_another(work, "other", "1/2"), work.claimed():
        finish(work)
    assert len(other.missing()) == 4
    write(work, *range(5))
    finish(work)
    assert not other.folder.exists()  # nobody works there any more


def test_a_shard_is_whole_or_absent(work, monkeypatch):
    """Interrupted between the shard and its note, or while it is written."""

    def fail(*_):
        raise KeyboardInterrupt

    for place in ("dimr.data.shards.sha256", "dimr.runtime.work_folder.write_json"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            with pytest.raises(KeyboardInterrupt):
                write(work, 2)
        assert 2 in work.missing()
    write(work, *range(5))
    finish(work)
    assert verify(work.out).count == COUNT


def test_what_killed_processes_left_torn_is_removed(work):
    write(work, *range(5))
    torn = [work.folder / name for name in ("store/.00000.npy.dimr-tmp-0-1", "notes/.x.dimr-tmp-1")]
    for path in torn:
        path.touch()
    with work.claimed(Part(1, 2)):  # others may be writing
        assert all(path.exists() for path in torn)
    with work.claimed():
        assert not any(path.exists() for path in torn)
    torn[0].touch()
    finish(work)
    assert not list(work.out.glob(".*"))
