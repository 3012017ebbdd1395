"""Shard folders: what is written, every kind of damage named, and samples by number."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.shards import write_shards

from dimr.data.shards import ShardManifest, map_array, open_shards, verify
from dimr.runtime.errors import DimrError

COUNT, SHARD = 23, 10
SETTINGS: dict[str, Any] = {
    "kind": "posterior",
    "class_names": ["a", "b", "c"],
    "scaling_factor": 0.5,
    "shard_size": SHARD,
}
PIXELS = SETTINGS | {"kind": "pixels", "scaling_factor": None}
LABELS = np.arange(COUNT) % 3


def moments(count: int = COUNT) -> np.ndarray:
    values = np.random.default_rng(0).standard_normal((count, 4, 2, 3)).astype(np.float32)
    values[:, 2:] = np.abs(values[:, 2:])
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_shards(tmp_path / "z", [moments()], LABELS, **SETTINGS)
    return tmp_path / "z"


def test_shards_and_labels_hold_the_samples(folder: Path) -> None:
    stored = [np.load(folder / f"0000{number}.npy") for number in range(3)]
    assert [len(shard) for shard in stored] == [10, 10, 3]
    assert np.array_equal(np.concatenate(stored), moments().astype(np.float16))
    opened = open_shards(folder)
    assert np.array_equal(np.concatenate(opened.arrays), np.concatenate(stored))
    assert np.array_equal(opened.labels, LABELS)
    assert opened.labels.dtype == np.int64


def test_the_manifest_byte_for_byte(folder: Path, tmp_path: Path) -> None:
    def sum_of(path: Path) -> str:
        return hashlib.sha256(path.read_bytes()).hexdigest()

    images = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 5, 3), np.uint8)
    write_shards(tmp_path / "p", [images], LABELS, **PIXELS)
    for out, kind, shape, dtype in (
        (folder, "posterior", [4, 2, 3], "float16"),
        (tmp_path / "p", "pixels", [4, 5, 3], "uint8"),
    ):
        names = [(f"0000{number}.npy", count) for number, count in enumerate((10, 10, 3))]
        manifest = {
            "format": "dimr-shards-1",
            "kind": kind,
            "count": COUNT,
            "shape": shape,
            "dtype": dtype,
            "classes": 3,
            "class_names": ["a", "b", "c"],
            "key": "k",
            "shards": [{"file": n, "count": c, "sha256": sum_of(out / n)} for n, c in names],
            "labels": {"file": "labels.npy", "sha256": sum_of(out / "labels.npy")},
            **({"scaling_factor": 0.5} if kind == "posterior" else {}),
        }
        assert (out / "manifest.json").read_text() == json.dumps(manifest, indent=2) + "\n"


BAD_CALLS = {
    "labels must lie in 0..2": {"labels": LABELS + 1},
    "labels must be a non-empty list of integers": {"labels": LABELS / 2},
    "shards hold 23 samples, count is 22": {"labels": LABELS[:22]},
    "sample 5 is not finite": {"data": np.where(np.arange(23) == 5, 1e6, 1)},
    "standard deviation": {"data": np.full(23, -1)},
    "scaling_factor is None for posterior": {"scaling_factor": None},
    "scaling_factor: 0.0: input should be greater than 0": {"scaling_factor": 0.0},
    "scaling_factor: nan: input should be a finite number": {"scaling_factor": float("nan")},
    "is float32; pixels must be uint8": {"kind": "pixels"},
    "scaling_factor is 0.5 for pixels": {"kind": "pixels", "dtype": np.uint8, "shape": (2, 2, 3)},
    r"must be \(H, W, 3\)": {"kind": "pixels", "dtype": np.uint8, "scaling_factor": None},
    r"must be \(2C, h, w\)": {"shape": (3, 2, 2)},
}


@pytest.mark.parametrize("message", BAD_CALLS)
def test_what_no_folder_may_hold_is_refused(tmp_path: Path, message: str) -> None:
    change = dict(BAD_CALLS[message])
    labels = change.pop("labels", LABELS)
    column = np.asarray(change.pop("data", np.ones(COUNT)), change.pop("dtype", np.float32))
    shape = change.pop("shape", (4, 2, 2))
    data = np.broadcast_to(column[:, None, None, None], (COUNT, *shape))
    with pytest.raises(DimrError, match=message) as caught:
        write_shards(tmp_path / "z", [data], labels, **(SETTINGS | change))
    assert "z" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "z").exists()


def test_verify_finds_a_flipped_bit(folder: Path) -> None:
    assert verify(folder) == ShardManifest.read(folder)
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
    "format: 'x': input should be 'dimr-shards-1'": {"format": "x"},
    "kind: 'x': input should be 'posterior' or 'pixels'": {"kind": "x"},
    ".*dtype is uint8, must be float16": {"dtype": "uint8"},
    ".*shards hold 23 samples, count is 24": {"count": 24},
    ".*shards hold 0 samples": {"shards": []},
    r".*shape is \(3, 2, 2\)": {"shape": [3, 2, 2]},
    ".*3 class_names for 4 classes": {"classes": 4},
    "scaling_factor: '1': input should be a valid number": {"scaling_factor": "1"},
    "labels.file: .*'../labels.npy' is not the name of a file": {
        "labels": {"file": "../labels.npy", "sha256": ""}
    },
    "labels: 3: ": {"labels": 3},
    "shards.0.sha256: is missing": {"shards": [{"file": "00000.npy", "count": 23}]},
}


@pytest.mark.parametrize("message", BAD_MANIFESTS)
def test_bad_manifests_are_named_with_the_key(folder: Path, message: str) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BAD_MANIFESTS[message]))
    with pytest.raises(DimrError, match=rf"z/manifest\.json: {message}") as caught:
        open_shards(folder)
    assert "\n" not in str(caught.value)


def test_a_missing_or_broken_manifest_is_named(folder: Path) -> None:
    path = folder / "manifest.json"
    for text in ("{", "[]", "3", '{"format": "dimr-shards-1"}'):
        path.write_text(text)
        with pytest.raises(DimrError, match=r"z/manifest\.json: "):
            verify(folder)
    path.unlink()
    with pytest.raises(DimrError, match=r"z/manifest\.json: no such file"):
        verify(folder)


def test_samples_are_taken_by_number_from_whole_shards(folder: Path) -> None:
    shards = open_shards(folder)
    every = np.concatenate(shards.arrays)
    numbers = [COUNT - 1, 0, SHARD - 1, SHARD, 0]
    assert np.array_equal(shards.take(numbers), every[numbers])
    assert shards.take([]).shape == (0, *every.shape[1:])
    for wrong in ([0, COUNT], [-1]):
        with pytest.raises(IndexError, match="holds 23 samples"):
            shards.take(wrong)
    name = shards.manifest.shards[1].file
    damaged = bytearray((folder / name).read_bytes())
    damaged[-1] ^= 1
    (folder / name).write_bytes(damaged)
    assert np.array_equal(shards.take([0]), every[[0]])  # of another shard
    with pytest.raises(DimrError, match=rf"{name}: checksum"):
        shards.take(numbers)
    assert len(shards.take(numbers, compare=False)) == 5
