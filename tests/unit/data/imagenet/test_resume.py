"""Killed at any moment, the next start resumes; what is done is not read again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dimr.config.schema import Source
from dimr.data.imagenet import parquet
from dimr.data.imagenet.folder import FolderSource
from dimr.data.imagenet.resumable_store import StoreWork

from .conftest import KEY, content

PER_CLASS = 6


@pytest.fixture
def whole(miniature, take, tmp_path):
    """The bytes that an uninterrupted start writes."""
    return content(take(miniature.class_folders(tmp_path / "whole"), tmp_path / "uninterrupted"))


@pytest.mark.parametrize("form", ["class_folders", "archive", "shards"])
@pytest.mark.parametrize("done", [0, 1, 8, 17])
def test_finished_classes_are_kept(form, done, miniature, take, whole, writing, tmp_path):
    source = getattr(miniature, form)(tmp_path / "images")
    with writing.stop_at(done):
        take(source)
    assert not (tmp_path / "source").exists()
    assert content(take(source)) == whole
    kept = done // PER_CLASS * PER_CLASS
    assert writing == [name for _, name, _ in miniature.images()][kept:]


def test_a_killed_process(miniature, take, whole, writing, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    kill = f"""
import os, signal
from pathlib import Path
from dimr.data.imagenet import acquire, resumable_store as work
from dimr.config.schema import Source
check, seen = work.check_content, []
def checked(name, data, where):
    seen.append(name)
    if len(seen) == 9:
        os.kill(os.getpid(), signal.SIGKILL)
    check(name, data, where)
work.check_content = checked
config = Source.model_validate({miniature.section()!r})
acquire.acquire(config, {str(source)!r}, Path({str(tmp_path / "source")!r}), {KEY!r})
"""
    done = subprocess.run([sys.executable, "-c", kill], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(tmp_path.glob(".source.part-*/store/.n02123045.tar.dimr-tmp-*"))  # half a class
    writing.clear()
    assert content(take(source)) == whole
    assert len(writing) == 2 * PER_CLASS


@pytest.mark.parametrize("after", [0, 2, 4])
def test_shards_are_taken_in_once(after, miniature, take, whole, tmp_path, monkeypatch):
    source = miniature.shards(tmp_path / "images", 5)
    opened = []
    read = parquet.read_rows

    def counted(shard):
        if len(opened) == after:
            raise KeyboardInterrupt
        opened.append(shard.name)
        return read(shard)

    monkeypatch.setattr(parquet, "read_rows", counted)
    with pytest.raises(KeyboardInterrupt):
        take(source)
    names = [path.name for path in sorted(source.iterdir())]
    assert opened == names[:after]
    opened.clear()
    after = None
    assert content(take(source)) == whole
    assert opened == names[len(names) - len(opened) :]
    assert len(opened) + len(names[: len(names) - len(opened)]) == 5


def test_a_shard_of_another_size_is_taken_in_again(miniature, take, whole, tmp_path, monkeypatch):
    source = miniature.shards(tmp_path / "images", 3)
    reads = []
    read = parquet.read_rows

    def counted(shard):
        reads.append(shard.name)
        if len(reads) == 3:
            raise KeyboardInterrupt
        return read(shard)

    monkeypatch.setattr(parquet, "read_rows", counted)
    with pytest.raises(KeyboardInterrupt):
        take(source)
    first, second, third = (path.name for path in sorted(source.iterdir()))
    pq.write_table(pq.read_table(source / first), source / first, compression="none")
    assert content(take(source)) == whole
    assert reads == [first, second, third, first, third]


def test_only_what_is_missing_takes_space(miniature, take, writing, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    with writing.stop_at(PER_CLASS + 1):
        take(source)
    config = Source.model_validate(miniature.section())
    work = StoreWork(tmp_path / "source", KEY)
    missing = [data for label, _, data in miniature.images() if label > 0]
    needed = FolderSource(source, config).space(work)
    assert needed == sum(map(len, missing)) + 1024 * len(missing)
    shards = parquet.ParquetSource(miniature.shards(tmp_path / "shards"), config)
    files = sum(path.stat().st_size for path in Path(tmp_path / "shards").iterdir())
    stored = sum(path.stat().st_size for path in work.folder.glob("store/*.tar"))
    assert shards.space(work) == 2 * files + miniature.count * 1024 - stored


def test_another_source_is_refused(miniature, take, refused, writing, tmp_path):
    with writing.stop_at(8):
        take(miniature.class_folders(tmp_path / "images"))
    message = refused(miniature.archive(tmp_path / "archive"))
    assert "begun from the folder" in message
    assert "images, not from archive/ILSVRC2012_img_train.tar" in message


def test_another_source_is_fine_while_nothing_was_taken_in(miniature, take, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    refused(source, images=19)
    take(miniature.archive(tmp_path / "archive"))


def test_a_source_that_changed_is_refused(miniature, take, refused, writing, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    with writing.stop_at(8):
        take(source)
    path = next((source / "n01440764").iterdir())
    (source / "n01440764" / f"more_{path.name}").write_bytes(path.read_bytes())
    message = refused(source, images=miniature.count + 1)
    assert "n01440764.tar: taken in with 6 images, the source now has 7: remove" in message


def test_two_at_once(miniature, take, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    with StoreWork(tmp_path / "source", KEY).claimed():
        messages = []
        other = threading.Thread(target=lambda: messages.append(refused(source)))
        other.start()
        other.join()
    assert "source: another process is making it" in messages[0]
    assert os.path.isdir(take(source))


def test_a_full_disk_is_named_by_a_folder_that_can_be_a_link(miniature, refused, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    usage = namedtuple("usage", "free")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage(10))
        message = refused(source)
    assert message.startswith(f"{tmp_path}: 10 bytes free")
    assert "a link to one" in message
