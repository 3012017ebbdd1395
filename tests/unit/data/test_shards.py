import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dimr.data.shards import map_array, open_shards, read_manifest, verify, write_shards
from dimr.runtime.errors import DimrError

COUNT, SHARD = 23, 10
SETTINGS: dict[str, Any] = {
    "kind": "posterior",
    "classes": 3,
    "class_names": ["a", "b", "c"],
    "scaling_factor": 0.5,
    "key": "k",
    "shard_size": SHARD,
}
PIXELS = SETTINGS | {"kind": "pixels", "scaling_factor": None}
LABELS = np.arange(COUNT) % 3


def moments(count: int = COUNT) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((count, 4, 2, 3)).astype(np.float32)
    values[:, 2:] = np.abs(values[:, 2:])
    return values


def batches(data: np.ndarray, size: int = 7) -> Iterator[np.ndarray]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(tmp_path / "z", batches(moments()), LABELS, **SETTINGS)
    return tmp_path / "z"


@pytest.mark.parametrize("size", [1, 7, 10, 23])
def test_round_trip_whatever_the_batches(tmp_path: Path, size: int) -> None:
    manifest = write_shards(tmp_path / "z", batches(moments(), size), LABELS, **SETTINGS)
    assert [shard["count"] for shard in manifest["shards"]] == [10, 10, 3]
    stored = np.concatenate([np.load(tmp_path / "z" / f"0000{i}.npy") for i in range(3)])
    assert np.array_equal(stored, moments().astype(np.float16))
    assert np.array_equal(np.load(tmp_path / "z" / "labels.npy"), LABELS)
    opened = open_shards(tmp_path / "z")
    assert np.array_equal(np.concatenate(opened.arrays), stored)


def test_manifest_holds_the_format(folder: Path) -> None:
    manifest = read_manifest(folder)
    entries = [*manifest.pop("shards"), manifest.pop("labels")]
    for entry in entries:
        content = (folder / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
    assert manifest == {
        "format": "dimr-shards-1",
        "kind": "posterior",
        "count": COUNT,
        "shape": [4, 2, 3],
        "dtype": "float16",
        "classes": 3,
        "class_names": ["a", "b", "c"],
        "key": "k",
        "scaling_factor": 0.5,
    }


def test_pixels_have_no_scaling_factor(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
    manifest = write_shards(tmp_path / "p", batches(images), LABELS, **PIXELS)
    assert "scaling_factor" not in manifest
    assert (manifest["dtype"], manifest["shape"]) == ("uint8", [4, 5, 3])
    assert np.array_equal(np.concatenate(open_shards(tmp_path / "p").arrays), images)


def test_writing_reads_the_stream_as_it_goes(tmp_path: Path) -> None:
    """When sample 20 is asked for, the first ten are on disk already, under the hidden name."""
    seen = []

    def stream() -> Iterator[np.ndarray]:
        for sample in moments():
            seen.append(len(list(tmp_path.glob(".z.dimr-tmp-*/0*.npy"))))
            yield sample[None]

    write_shards(tmp_path / "z", stream(), LABELS, **SETTINGS)
    assert seen == [i // SHARD for i in range(COUNT)]


def test_an_interrupted_write_keeps_what_was_there(folder: Path) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def stream() -> Iterator[np.ndarray]:
        yield moments()[:12]
        raise KeyboardInterrupt

    for out in (folder, folder.with_name("new")):
        with pytest.raises(KeyboardInterrupt):
            write_shards(out, stream(), LABELS, **SETTINGS)
    assert [path.name for path in folder.parent.iterdir()] == ["z"]
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


BAD_CALLS = {
    "23 samples or more for 22 labels": {"labels": LABELS[:22]},
    "23 samples for 24 labels": {"labels": np.arange(24) % 3},
    "labels must lie in 0..2": {"labels": LABELS + 1},
    "labels must be a non-empty list of integers": {"labels": LABELS / 2},
    "sample 5 is not finite": {"data": np.where(np.arange(23) == 5, 1e6, 1)},
    "standard deviation": {"data": np.full(23, -1)},
    "3 class names for 4 classes": {"classes": 4},
    "scaling_factor is None": {"scaling_factor": None},
    "scaling_factor is 0": {"scaling_factor": 0.0},
    "scaling_factor is nan": {"scaling_factor": float("nan")},
    "kind is 'latents'": {"kind": "latents"},
    "shard_size is 0": {"shard_size": 0},
    "scaling_factor is for kind posterior": {"kind": "pixels"},
    r"must be \(H, W, 3\)": {"kind": "pixels", "scaling_factor": None},
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_bad_calls_are_refused_and_leave_nothing(tmp_path: Path, message: str) -> None:
    change = dict(BAD_CALLS[message])
    labels = change.pop("labels", LABELS)
    column = np.asarray(change.pop("data", np.ones(COUNT)), np.float32)
    data = np.broadcast_to(column[:, None, None, None], (COUNT, 4, 2, 2))
    with pytest.raises(DimrError, match=message) as caught:
        write_shards(tmp_path / "z", batches(data), labels, **(SETTINGS | change))
    assert str(tmp_path / "z") in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_uneven_samples_are_refused(tmp_path: Path) -> None:
    stream = iter([np.zeros((10, 4, 2, 3)), np.zeros((13, 4, 2, 4))])
    with pytest.raises(DimrError, match=r"sample 10 has shape \(4, 2, 4\)"):
        write_shards(tmp_path / "z", stream, LABELS, **SETTINGS)
    with pytest.raises(DimrError, match=r"\(3, 2, 2\), must be \(2C, h, w\)"):
        write_shards(tmp_path / "z", iter([np.zeros((23, 3, 2, 2))]), LABELS, **SETTINGS)
    with pytest.raises(DimrError, match="float64; pixels must be uint8"):
        write_shards(tmp_path / "z", iter([np.zeros((23, 4, 4, 3))]), LABELS, **PIXELS)


def test_verify_finds_a_flipped_bit(folder: Path) -> None:
    assert verify(folder) == read_manifest(folder)
    for name in ("00001.npy", "labels.npy"):
        whole = (folder / name).read_bytes()
        damaged = bytearray(whole)
        damaged[-16] ^= 1  # keeps a label in range: only the checksum can tell
        (folder / name).write_bytes(damaged)
        open_shards(folder)
        with pytest.raises(DimrError, match=rf"{name}: checksum"):
            verify(folder)
        (folder / name).write_bytes(whole)


def test_verify_finds_an_unlisted_shard(folder: Path) -> None:
    (folder / "00003.npy").write_bytes(b"")
    with pytest.raises(DimrError, match=r"00003\.npy: not listed"):
        verify(folder)


@pytest.mark.parametrize("lost", [1, 100, 10**6])
def test_opening_finds_a_truncated_shard(folder: Path, lost: int) -> None:
    path = folder / "00001.npy"
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(DimrError, match=r"00001\.npy: truncated"):
        open_shards(folder)


def test_opening_finds_a_shard_that_is_too_long(folder: Path) -> None:
    with (folder / "00002.npy").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(DimrError, match=r"00002\.npy: has \d+ bytes, its header says"):
        open_shards(folder)


def test_opening_finds_foreign_arrays(folder: Path) -> None:
    def refused(array: np.ndarray, match: str) -> None:
        np.save(folder / "00000.npy", array)
        with pytest.raises(DimrError, match=rf"00000\.npy: holds {match}"):
            open_shards(folder)

    refused(np.zeros((9, 4, 2, 3), np.float16), r"float16 \(9, 4, 2, 3\), should hold float16")
    refused(np.zeros((10, 4, 2, 3), np.float32), "float32")
    refused(np.zeros((10, 4, 2, 3), ">f2"), ">f2")
    refused(np.asfortranarray(np.zeros((10, 4, 2, 3), np.float16)), ".* in C order")
    (folder / "00000.npy").unlink()
    with pytest.raises(DimrError, match=r"00000\.npy: no such file"):
        open_shards(folder)


def test_a_damaged_header_never_raises_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((4, 2), np.float16))
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[generator.integers(0, 80)] = generator.integers(0, 256)
        path.write_bytes(damaged)
        try:
            map_array(path, (4, 2), "float16")  # a change among blanks may pass
        except DimrError as error:
            messages.append(str(error))
    assert len(messages) > 200
    assert not any("\n" in message for message in messages)


def test_what_is_no_file_is_refused_at_once(folder: Path) -> None:
    """A pipe in a shard's place would be waited for without end."""
    for name in ("00001.npy", "labels.npy"):
        (folder / name).rename(folder / "kept")
        os.mkfifo(folder / name)
        for reads in (open_shards, verify):
            with pytest.raises(DimrError, match=rf"{name}: not a file"):
                reads(folder)
        (folder / "kept").rename(folder / name)


def test_opening_finds_bad_labels(folder: Path) -> None:
    np.save(folder / "labels.npy", LABELS[:-1])
    with pytest.raises(DimrError, match=r"labels\.npy: holds int64 \(22,\)"):
        open_shards(folder)
    np.save(folder / "labels.npy", LABELS + 1)
    with pytest.raises(DimrError, match=r"labels\.npy: labels must lie in 0\.\.2"):
        open_shards(folder)


BAD_MANIFESTS = {
    "format is 'x'": {"format": "x"},
    "kind is 'x'": {"kind": "x"},
    "dtype is 'float32'": {"dtype": "float32"},
    "shards hold 23 samples, count is 24": {"count": 24},
    "shards hold 0 samples": {"shards": []},
    r"shape is \(3, 2, 2\)": {"shape": [3, 2, 2]},
    "3 class names for 4 classes": {"classes": 4},
    "scaling_factor is '1'": {"scaling_factor": "1"},
    "is not a file of this folder": {"labels": {"file": "../labels.npy", "sha256": ""}},
    "not a manifest of shards": {"labels": 3},
}


@pytest.mark.parametrize("message", BAD_MANIFESTS)
def test_bad_manifests_are_named(folder: Path, message: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BAD_MANIFESTS[message]))
    with pytest.raises(DimrError, match=rf"z/manifest\.json: .*{message}"):
        open_shards(folder)


def test_a_missing_or_broken_manifest_is_named(folder: Path) -> None:
    path = folder / "manifest.json"
    for text in ("{", "[]", "3", '{"format": "dimr-shards-1"}'):
        path.write_text(text)
        with pytest.raises(DimrError, match=r"z/manifest\.json: not"):
            read_manifest(folder)
    path.unlink()
    with pytest.raises(DimrError, match=r"z/manifest\.json: no such file"):
        verify(folder)


def test_samples_are_taken_by_number_from_whole_shards(folder: Path) -> None:
    shards = open_shards(folder)
    every = np.concatenate(shards.arrays)
    numbers = [len(every) - 1, 0, len(shards.arrays[0]) - 1, len(shards.arrays[0]), 0]
    assert (shards.take(numbers) == every[numbers]).all()
    name = shards.manifest["shards"][1]["file"]
    damaged = bytearray((folder / name).read_bytes())
    damaged[-1] ^= 1
    (folder / name).write_bytes(damaged)
    assert (shards.take([0]) == every[[0]]).all()  # of another shard
    with pytest.raises(DimrError, match=rf"{name}: checksum"):
        shards.take(numbers)
