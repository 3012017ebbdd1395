"""Shard folders that are put together from pieces, by one process or several, at once or not."""

import shutil
from collections import namedtuple

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


def test_complete_is_whole_and_of_this_work(work, caplog):
    write(work, *range(5))
    assert not work.is_complete()
    work.out.mkdir()  # as Snakemake leaves it for a job
    assert not work.is_complete()
    assert not caplog.messages
    work.out.rmdir()
    finish(work)
    assert work.is_complete()
    assert not Assembly(work.out, "other", "pixels", (2, 2, 3), COUNT, SHARD).is_complete()
    path = work.out / "00003.npy"
    path.write_bytes(path.read_bytes()[:-1])
    assert not work.is_complete()


def test_room_for_what_is_missing(work, monkeypatch):
    write(work, 0, 1)
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(13 * 12 + 99))
    work.require_space()
    work.require_space(99)
    with pytest.raises(DimrError, match=r" free, what is missing of .*out takes"):
        work.require_space(100)


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
