"""``dimr images`` of a set of one's own: crops, the split, and the order."""

import shutil

import numpy as np
import pytest
from PIL import Image
from tests.support.messages import error_in
from tests.support.own_images import AWKWARD, fill, section

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.schema import Digits, Images
from dimr.data.image_arrays import ImagesManifest, load_images
from dimr.data.imagenet import center_crop
from dimr.data.imagenet.acquire import acquire
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.own import look
from dimr.data.own.crop import crop_images, split_classes
from dimr.runtime.errors import DimrError
from dimr.runtime.record import recorded_key, seal
from dimr.runtime.strict_yaml import dump

KEY = "0123456789abcdef"


def images(**changes):
    section = {"source": "mine", "image_size": 8, "heldout": 0.2, "split_seed": 0, **changes}
    return Images.model_validate(section)


@pytest.fixture
def store(own, tmp_path):
    """The set of awkward names, taken in, with a record."""
    out = tmp_path / "source"

    def add(folder):
        seal(folder, "source", {"key": KEY})

    acquire(section(look(own)), str(own), out, KEY, add)
    return out


@pytest.fixture
def crop(store, tmp_path):
    """The arrays' folder for a configuration."""

    def run(source=store, **changes):
        out = tmp_path / "images"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        crop_images(source, out, images(**changes), KEY)
        return out

    return run


@pytest.mark.parametrize("size", [1, 8, 30])
def test_every_image_is_in_one_split_as_its_centre_crop(size, own, crop):
    wanted = {}
    for path in own.glob("*/*"):
        with Image.open(path) as opened:
            pixels = center_crop(opened, size)
        wanted.setdefault(list(AWKWARD).index(path.parent.name), []).append(pixels.tobytes())
    out = crop(image_size=size)
    found = {}
    for split in ("train", "heldout"):
        pixels, labels = load_images(out, split)
        assert pixels.shape == (len(labels), size, size, 3)
        for image, label in zip(pixels, labels.tolist(), strict=True):
            found.setdefault(label, []).append(image.tobytes())
    assert {label: sorted(some) for label, some in found.items()} == {
        label: sorted(some) for label, some in wanted.items()
    }


def test_the_manifest(crop):
    manifest = ImagesManifest.read(crop())
    assert manifest.class_names == list(AWKWARD)
    assert (manifest.dataset, manifest.size, manifest.classes) == ("mine", 8, 5)
    assert manifest.counts == {"train": 7, "heldout": 5}
    assert manifest.key == KEY
    assert manifest.split == (
        "heldout: 0.2 of each class's images, at least one, drawn with seed 0; train: all others; "
        "both go round the classes"
    )


def test_arrays_are_as_numpy_writes_them(crop, tmp_path):
    for path in crop().glob("*.npy"):
        np.save(tmp_path / "again.npy", np.load(path))
        assert (tmp_path / "again.npy").read_bytes() == path.read_bytes()


def labels_of(counts):
    return np.repeat(np.arange(len(counts)), counts)


@pytest.mark.parametrize("heldout", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("seed", range(4))
def test_shares_and_order_of_any_sets(seed, heldout):
    counts = np.random.default_rng(seed).integers(2, 40, 7).tolist()
    config = images(heldout=heldout, split_seed=seed)
    train, held = split_classes(counts, config)
    assert sorted([*train, *held]) == list(range(sum(counts)))
    labels = labels_of(counts)
    wanted = [config.heldout_of(count) for count in counts]
    assert np.bincount(labels[held], minlength=7).tolist() == wanted
    assert all(0 < few < count for few, count in zip(wanted, counts, strict=True))
    for numbers in (train, held):
        order = labels[numbers]
        least = np.bincount(order, minlength=7).min()
        assert np.array_equal(order[: 7 * least], np.arange(7 * least) % 7)
        left, at = np.bincount(order, minlength=7).tolist(), 0
        while any(left):  # round those that have some left
            turn = [label for label in range(7) if left[label]]
            assert order[at : at + len(turn)].tolist() == turn
            at += len(turn)
            left = [max(0, number - 1) for number in left]


def test_the_share_is_rounded_and_at_least_one():
    assert [images(heldout=0.1).heldout_of(n) for n in (2, 4, 14, 16, 100)] == [1, 1, 1, 2, 10]
    assert [images(heldout=0.9).heldout_of(n) for n in (2, 3, 10)] == [1, 2, 9]


def test_the_split_is_drawn_by_the_seed():
    counts = [30, 20]
    first, other = split_classes(counts, images()), split_classes(counts, images(split_seed=1))
    for one, two in zip(first, split_classes(counts, images(image_size=3)), strict=True):
        assert np.array_equal(one, two)
    assert set(first[1].tolist()) != set(other[1].tolist())
    assert first[0].tolist() != sorted(first[0].tolist())


def test_a_class_does_not_move_the_split_of_others():
    held = [split_classes(counts, images())[1] for counts in ([30, 20], [30, 20, 9])]
    assert set(held[0].tolist()) < set(held[1].tolist())


def test_one_class(tmp_path, crop):
    place = fill(tmp_path / "flat", {"": ["a.png", "b.png", "c.png"]})
    acquire(section(look(place)), str(place), tmp_path / "flat store", KEY)
    out = crop(tmp_path / "flat store")
    assert load_images(out, "train")[1].tolist() == [0, 0]
    assert load_images(out, "heldout")[1].tolist() == [0]


# --- what is refused ------------------------------------------------------------------------------


def test_a_class_of_one_image_in_a_store(own, crop, tmp_path):
    work = StoreWork(tmp_path / "one", KEY)
    work.store.mkdir(parents=True)
    data = (own / "2/a.png").read_bytes()
    work.write_class("class00000", [("000000.png", data)], 1)
    work.finish(["class00000"], ["lone cat"], {"kind": "folder"}, ())
    with pytest.raises(DimrError, match=r"one: class 'lone cat' has one image, and one is held"):
        crop(tmp_path / "one")


def test_a_damaged_store_is_named(store, crop):
    tar = store / "class00002.tar"
    data = bytearray(tar.read_bytes())
    data[700] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DimrError, match=r"class00002\.tar: checksum differs"):
        crop()


def test_too_little_space_is_found_first(crop, monkeypatch):
    usage = shutil.disk_usage("/")._replace(free=12 * 8 * 8 * 3 - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DimrError, match=r"free, the set of arrays takes"):
        crop()


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def command(store, tmp_path):
    def run(config, *options, out="out"):
        path = tmp_path / "images.yaml"
        path.write_text(dump(config.model_dump(mode="json")))
        return main(["images", "--config", str(path), "--out", str(tmp_path / out), *options])

    return lambda config, source=store, **more: run(
        config, *(["--source", str(source)] if source else []), **more
    )


def test_the_key_is_of_the_configuration_and_the_source(command, tmp_path):
    assert command(images()) == 0
    key = recorded_key(tmp_path / "out")
    assert key == section_key(images(), KEY) == ImagesManifest.read(tmp_path / "out").key
    assert command(images(heldout=0.5), out="other") == 0
    assert recorded_key(tmp_path / "other") != key


def test_it_is_the_same_each_time(command, tmp_path):
    for out in ("out", "again"):
        assert command(images(), out=out) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()} - {"provenance.json"}
    for name in files:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("own_images", [True, False])
def test_a_source_that_is_missing_or_too_many(own_images, command, store, tmp_path, caplog):
    digits = Digits(source="digits", image_size=8, train_per_class=1, split_seed=0)
    config, source = (images(), None) if own_images else (digits, store)
    assert command(config, source) == 2
    wanted = "needed: what dimr data made" if own_images else "not taken, of the digits"
    assert f"source: {config.source}: --source is {wanted}" in error_in(caplog)
    assert not (tmp_path / "out").exists()


def test_an_interrupted_start_leaves_nothing(command, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(ImagesManifest, "write", fail)
    before = set(tmp_path.iterdir())
    assert command(images()) != 0
    assert {path.name for path in set(tmp_path.iterdir()) - before} <= {"images.yaml"}
