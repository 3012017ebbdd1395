"""Reading a store: from workers, in little memory; what is damaged is named."""

import json
import pickle
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from tests.support.miniature import Miniature, encoded

from dimr.data.imagenet import ImageStore, center_crop, store, verify
from dimr.runtime.errors import DimrError


@pytest.fixture
def folder(miniature, take, tmp_path):
    return take(miniature.class_folders(tmp_path / "images"))


class Crops(torch.utils.data.Dataset):
    def __init__(self, opened):
        self.store = opened

    def __len__(self):
        return len(self.store)

    def __getitem__(self, i):
        return self.store.crop(i, 32, mirror=i % 2 == 1)


def test_workers_read_what_one_process_reads(folder, miniature):
    opened = ImageStore(folder)
    opened.image(0)  # a tar is open before workers are started
    wanted = [center_crop(opened.image(i), 32) for i in range(len(opened))]
    loader = torch.utils.data.DataLoader(
        Crops(opened), batch_size=5, num_workers=2, multiprocessing_context="fork"
    )
    crops = np.concatenate([batch.numpy() for batch in loader])
    assert len(crops) == miniature.count
    for i, crop in enumerate(crops):
        assert np.array_equal(crop, wanted[i][:, ::-1] if i % 2 else wanted[i])


def test_it_can_be_pickled(folder):
    opened = ImageStore(folder)
    opened.read(3)
    again = pickle.loads(pickle.dumps(opened))
    assert again.read(3) == opened.read(3)
    assert len(pickle.dumps(opened)) < 1000  # the folder's name, not the index


def test_few_tars_are_open_at_once(folder, miniature, monkeypatch):
    monkeypatch.setattr(store, "OPEN_TARS", 2)
    opened = ImageStore(folder)
    for i in np.random.default_rng(0).integers(0, len(opened), 100):
        opened.read(int(i))
        assert len(opened._open) <= 2
    assert [opened.read(i) for i in range(len(opened))] == [d for _, _, d in miniature.images()]


def test_threads_read_at_once(folder, miniature, monkeypatch):
    monkeypatch.setattr(store, "OPEN_TARS", 1)
    opened, wanted, wrong = ImageStore(folder), [d for _, _, d in miniature.images()], []

    def read(seed):
        for i in np.random.default_rng(seed).integers(0, len(wanted), 300):
            if opened.read(int(i)) != wanted[i]:
                wrong.append(i)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_index_stays_on_the_disk(folder):
    opened = ImageStore(folder)
    base = opened.index
    while not isinstance(base, np.memmap) and base.base is not None:
        base = base.base
    assert isinstance(base, np.memmap)


def damaged(miniature, tmp_path, data):
    wnid = miniature.wnids[1]
    name = list(miniature.files[wnid])[2]
    files = {**miniature.files, wnid: {**miniature.files[wnid], name: data}}
    return Miniature(files).class_folders(tmp_path / "damaged"), f"{wnid}.tar: {name}: "


@pytest.mark.parametrize("what", ["cut", "header", "text"])
def test_an_image_that_does_not_decode_is_named(what, miniature, take, tmp_path):
    whole = encoded(Image.new("RGB", (300, 200), (9, 99, 200)))
    data = {"cut": whole[: len(whole) // 2], "header": whole[:20], "text": whole[:3] + b"text"}
    source, named = damaged(miniature, tmp_path, data[what])
    opened = ImageStore(take(source))
    with pytest.raises(DimrError) as caught:
        for i in range(len(opened)):
            opened.image(i)
    assert named in str(caught.value)
    assert "known_bad" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)


def test_a_store_with_a_shorter_tar(folder):
    path = folder / "n02123045.tar"
    opened = ImageStore(folder)
    with open(path, "r+b") as file:
        file.truncate(2000)
    with pytest.raises(DimrError, match=r"n02123045\.tar: .*JPEG: the tar is truncated"):
        [opened.read(i) for i in range(len(opened))]
    with pytest.raises(DimrError, match=r"n02123045\.tar: has 2000 bytes, manifest\.json says"):
        ImageStore(folder)
    path.unlink()
    with pytest.raises(DimrError, match=r"n02123045\.tar: no such file"):
        ImageStore(folder)


def test_verify_finds_a_flipped_bit(folder):
    for name in ("n01440764.tar", "index.npy"):
        whole = (folder / name).read_bytes()
        changed = bytearray(whole)
        changed[-5] ^= 1
        (folder / name).write_bytes(changed)
        ImageStore(folder)
        with pytest.raises(DimrError, match=rf"{name}: checksum differs"):
            verify(folder)
        (folder / name).write_bytes(whole)


def test_an_index_of_other_labels(folder):
    index = np.load(folder / "index.npy")
    for change, message in (([5, 0], "not 0 to 2 in order"), ([0, 1], "images per class are not")):
        wrong = index.copy()
        wrong["label"][[0, 5]] = change
        np.save(folder / "index.npy", wrong)
        with pytest.raises(DimrError, match=rf"index\.npy: .*{message}"):
            ImageStore(folder)
    np.save(folder / "index.npy", index[:-1])
    with pytest.raises(DimrError, match=r"index\.npy: holds"):
        ImageStore(folder)


BAD_MANIFESTS = {
    "format: 'x': input should be 'dimr-source-1'": {"format": "x"},
    ".*wnids are not sorted": {"wnids": ["n2", "n1", "n3"]},
    r"wnids\.0: '../n1' is not the name of a file": {"wnids": ["../n1", "n2", "n3"]},
    ".*class_names: 1 for 3 classes": {"class_names": ["a"]},
    ".*counts are of 3 images, images is 18": {"counts": [1, 1, 1]},
    r"index\.sha256: None: input should be a valid string": {"index": {"sha256": None}},
    "tars: 3: input should be a valid array": {"tars": 3},
    "key: 3: input should be a valid string": {"key": 3},
}


@pytest.mark.parametrize("message", BAD_MANIFESTS)
def test_bad_manifests_are_named_with_the_key(folder, message):
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BAD_MANIFESTS[message]))
    with pytest.raises(DimrError, match=rf"manifest\.json: {message}"):
        ImageStore(folder)
