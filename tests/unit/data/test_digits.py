import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dimr.data.digits import enlarge, make_digits, split_indices
from dimr.data.image_arrays import ImagesManifest, load_images
from dimr.runtime.errors import DimrError

COUNT, TRAIN = 1797, 1000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits at their own 8x8, where enlarging changes nothing and each can be recognised."""
    out = tmp_path_factory.mktemp("digits") / "d8"
    make_digits(out, size=8, train_per_class=100, seed=0)
    return out


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    out = tmp_path / "copy"
    out.mkdir()
    for path in folder.iterdir():
        (out / path.name).write_bytes(path.read_bytes())
    return out


def rows(images: np.ndarray) -> list[bytes]:
    return [image[..., 0].tobytes() for image in images]


def source_rows() -> list[bytes]:
    levels = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    return [image.tobytes() for image in levels]


def test_sizes_and_interleaving(folder: Path) -> None:
    images, labels = load_images(folder, "train")
    held, held_labels = load_images(folder, "heldout")
    assert images.shape == (TRAIN, 8, 8, 3)
    assert held.shape == (COUNT - TRAIN, 8, 8, 3)
    assert images.dtype == np.uint8
    assert labels.dtype == held_labels.dtype == np.int64
    assert np.array_equal(labels, np.arange(TRAIN) % 10)
    total = np.bincount(labels, minlength=10) + np.bincount(held_labels, minlength=10)
    assert np.array_equal(total, np.bincount(load_digits().target))


def test_the_manifest_byte_for_byte(folder: Path) -> None:
    names = ["heldout.npy", "heldout_labels.npy", "train.npy", "train_labels.npy"]
    sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}
    manifest = {
        "format": "dimr-images-1",
        "dataset": "digits",
        "size": 8,
        "counts": {"train": TRAIN, "heldout": COUNT - TRAIN},
        "classes": 10,
        "class_names": list("0123456789"),
        "split": (
            "train: 100 images of each class, chosen with seed 0, interleaved (image i has label "
            "i % 10); heldout: all others, in the dataset's order"
        ),
        "key": "fee4ea92d819fb45",
        "files": {name: {"sha256": sums[name]} for name in names},
    }
    assert (folder / "manifest.json").read_text() == json.dumps(manifest, indent=2) + "\n"


def test_every_image_is_in_one_split_with_its_own_label(folder: Path) -> None:
    images, labels = load_images(folder, "train")
    held, held_labels = load_images(folder, "heldout")
    found = zip(rows(images) + rows(held), [*labels, *held_labels], strict=True)
    assert sorted(found) == sorted(zip(source_rows(), load_digits().target, strict=True))


def test_validation_images_are_taken_from_those_held_out(tmp_path: Path) -> None:
    """The training images stay the same; every image is in one split, with its own label."""
    plain, split = tmp_path / "plain", tmp_path / "split"
    make_digits(plain, 8, 100, 0)
    manifest = make_digits(split, 8, 100, 0, validation_per_class=25)
    assert manifest.counts == {"train": 1000, "heldout": 547, "validation": 250}
    for name in ("train.npy", "train_labels.npy"):
        assert (split / name).read_bytes() == (plain / name).read_bytes()
    images, labels = load_images(split, "validation")
    assert np.bincount(labels).tolist() == [25] * 10
    every = [row for name in manifest.counts for row in rows(load_images(split, name)[0])]
    assert sorted(every) == sorted(source_rows())
    own = dict(zip(source_rows(), load_digits().target.tolist(), strict=True))
    assert [own[row] for row in rows(images)] == labels.tolist()


def test_heldout_keeps_the_order_of_the_dataset(folder: Path) -> None:
    source = iter(source_rows())
    assert all(row in source for row in rows(load_images(folder, "heldout")[0]))


def test_channels_are_equal_and_maps_are_read_only(folder: Path) -> None:
    images, _ = load_images(folder, "train")
    assert (images == images[..., :1]).all()
    assert not images.flags.writeable


def test_split_is_disjoint_and_depends_on_the_seed() -> None:
    labels = load_digits().target
    train, held = split_indices(labels, 100, seed=0)
    assert np.array_equal(np.sort(np.concatenate([train, held])), np.arange(COUNT))
    assert np.array_equal(train, split_indices(labels, 100, seed=0)[0])
    assert not np.array_equal(np.sort(train), np.sort(split_indices(labels, 100, seed=1)[0]))


@pytest.mark.parametrize("train_per_class", [0, 174])
def test_split_must_leave_something_of_each_class(train_per_class: int) -> None:
    labels = load_digits().target  # the rarest digit, 8, has 174 images
    with pytest.raises(DimrError, match=r"train_per_class: .* use 1 to 173"):
        split_indices(labels, train_per_class, seed=0)
    assert len(split_indices(labels, 173, seed=0)[1]) == COUNT - 1730


def test_enlarging_keeps_constants_and_ramps() -> None:
    flat = enlarge(np.stack([np.zeros((8, 8)), np.full((8, 8), 16)]), 32)
    assert (flat[0] == 0).all()
    assert (flat[1] == 255).all()
    ramp = enlarge(np.tile(2.0 * np.arange(8), (1, 8, 1)), 32)
    centres = (np.arange(32) + 0.5) / 4 - 0.5  # bicubic interpolation is exact on linear functions
    inside = slice(8, 24)  # away from the border
    expected = np.rint(2 * centres * 255 / 16)[inside]
    assert np.abs(ramp[0, :, inside, 0].astype(int) - expected).max() <= 1


def test_enlarging_clips_overshoot() -> None:
    edge = np.zeros((1, 8, 8))
    edge[:, :, 4:] = 16  # bicubic overshoots on both sides of an edge
    row = enlarge(edge, 32)[0, 16, :, 0].astype(int)
    assert row[:12].max() < 30
    assert row[20:].min() > 225  # wrapped values would be far from the plateau


def test_too_small_a_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DimrError, match="size: 4"):
        make_digits(tmp_path / "d", size=4)


DAMAGES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "checksum": ("heldout.npy", lambda p: p.write_bytes(p.read_bytes()[:-1] + b"x")),
    "truncated": ("heldout.npy", lambda p: p.write_bytes(p.read_bytes()[:-100])),
    "no such file": ("heldout.npy", lambda p: p.unlink()),
    "holds int32": ("heldout_labels.npy", lambda p: np.save(p, np.zeros(COUNT - TRAIN, np.int32))),
    r"holds int64 \(3,\)": ("heldout_labels.npy", lambda p: np.save(p, np.zeros(3, np.int64))),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_damage_names_the_file(copy: Path, message: str) -> None:
    name, damage = DAMAGES[message]
    damage(copy / name)
    with pytest.raises(DimrError, match=rf"{name}: {message}"):
        load_images(copy, "heldout")
    assert len(load_images(copy, "train")[0]) == TRAIN


BAD_MANIFESTS = {
    "format: 'other': input should be 'dimr-images-1'": {"format": "other"},
    "size: '8': input should be a valid integer": {"size": "8"},
    "has no entry 'train.npy'": {"files": {}},
    "files.train.npy.sha256: is missing": {"files": {"train.npy": {}}},
}


@pytest.mark.parametrize("message", BAD_MANIFESTS)
def test_bad_manifests_are_named(copy: Path, message: str) -> None:
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | BAD_MANIFESTS[message]))
    with pytest.raises(DimrError, match=rf"manifest\.json: {message}"):
        load_images(copy, "train")


def test_what_is_no_manifest_or_split_is_named(copy: Path) -> None:
    with pytest.raises(DimrError, match="use one of train, heldout"):
        load_images(copy, "test")
    (copy / "manifest.json").write_text("[]")
    with pytest.raises(DimrError, match=r"manifest\.json: "):
        load_images(copy, "train")
    (copy / "manifest.json").unlink()
    with pytest.raises(DimrError, match=r"manifest\.json: no such file"):
        load_images(copy, "train")


def test_an_interrupted_write_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(ImagesManifest, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        make_digits(tmp_path / "d", size=8)
    assert list(tmp_path.iterdir()) == []
