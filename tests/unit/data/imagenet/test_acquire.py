"""The same store from every published form, and what it must hold."""

import hashlib
import json
import shutil
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from tests.support import miniature as makers
from tests.support.miniature import ARCHIVE, DEVKIT

from dimr.cli import main
from dimr.config.phases import section_key
from dimr.config.schema import Source
from dimr.data.imagenet import ImageStore, verify
from dimr.data.imagenet.resumable_store import StoreWork

from .conftest import KEY, content

FORMS = ("folder", "train", "kaggle", "archive", "archive-folder", "shards", "data")


def written(miniature, form, folder):
    """The miniature in a published form; what ``--source`` says."""
    if form in ("folder", "train", "kaggle"):
        below = {"folder": "", "train": "train", "kaggle": "ILSVRC/Data/CLS-LOC/train"}[form]
        (folder / "val").mkdir(parents=True)
        miniature.class_folders(folder / "images" / below)
        (folder / "images" / below / "n01440764/.DS_Store").write_bytes(b"x")
        return folder / "images"
    if form.startswith("archive"):
        path = miniature.archive(folder)
        return path if form == "archive" else folder
    miniature.shards(folder / "data", 3, "official" if form == "data" else "repeated")
    return folder if form == "data" else folder / "data"


@pytest.fixture
def stores(miniature, take, tmp_path):
    return lambda *forms: [
        take(written(miniature, form, tmp_path / form), tmp_path / f"{form}-store")
        for form in forms
    ]


def test_every_form_gives_the_same_files(stores):
    first, *others = stores(*FORMS)
    assert set(content(first)) == {f"{wnid}.tar" for wnid in ImageStore(first).wnids} | {
        "index.npy"
    }
    manifests = [json.loads((store / "manifest.json").read_text()) for store in [first, *others]]
    kinds = [manifest.pop("source")["kind"] for manifest in manifests]
    assert kinds == ["folder"] * 3 + ["archive"] * 2 + ["parquet"] * 2
    for store, manifest in zip(others, manifests[1:], strict=True):
        assert content(store) == content(first)
        assert manifest == manifests[0]


def test_a_store_holds_what_was_published(miniature, stores, tmp_path):
    (folder,) = stores("archive")
    store = ImageStore(folder)
    images = list(miniature.images())
    assert len(store) == miniature.count == len(images)
    assert store.labels.tolist() == [label for label, _, _ in images]
    assert [store.name(i) for i in range(len(store))] == [name for _, name, _ in images]
    assert [store.read(i) for i in range(len(store))] == [data for _, _, data in images]
    assert store.wnids == miniature.wnids
    assert store.class_names == ["tench, Tinca tinca", "tabby, tabby cat", "castle"]
    assert store.manifest.key == KEY
    assert {store.image(i).mode for i in range(len(store))} == {"RGB"}
    # an ordinary tar, for other people's tools
    with tarfile.open(folder / "n01440764.tar") as tar:
        assert tar.getnames() == list(miniature.files["n01440764"])
    assert verify(folder) == store.manifest
    assert not list(tmp_path.glob(".*"))  # nothing of the work is left


def test_images_without_names_are_called_by_their_place(miniature, take, tmp_path, monkeypatch):
    monkeypatch.setattr("dimr.data.imagenet.parquet.wordnet_ids", lambda _: miniature.wnids)
    store = ImageStore(take(miniature.shards(tmp_path / "shards", 2, "none")))
    names = [store.name(i) for i in range(len(store))]
    assert names == sorted(names)
    assert names[0].startswith("n01440764_00000_00000")
    wanted = sorted((label, data) for label, _, data in miniature.images())
    assert sorted((int(store.labels[i]), store.read(i)) for i in range(len(store))) == wanted


def test_known_bad_images_are_left_out(miniature, take, tmp_path):
    bad = list(miniature.files["n02123045"])[2]
    forms = ("folder", "archive", "shards")
    stores = [
        take(
            written(miniature, form, tmp_path / form), tmp_path / f"{form}-store", known_bad=(bad,)
        )
        for form in forms
    ]
    for folder in stores:
        store = ImageStore(folder)
        assert len(store) == miniature.count - 1
        assert bad not in [store.name(i) for i in range(len(store))]
        assert store.manifest.known_bad == (bad,)
        assert content(folder) == content(stores[0])


def test_the_devkits_words_name_other_classes(miniature, take, tmp_path, monkeypatch):
    monkeypatch.setattr(makers, "WNIDS", (*makers.WNIDS[:2], "n99999999"))
    *known, last = miniature.files
    other = makers.Miniature({
        **{wnid: miniature.files[wnid] for wnid in known},
        "n99999999": miniature.files[last],
    })  # fmt: skip
    store = ImageStore(take(other.archive(tmp_path / "archive")))
    assert store.class_names == ["tench, Tinca tinca", "tabby, tabby cat", "castle"]
    assert store.wnids[-1] == "n99999999"


def test_a_finished_store_is_left_as_it_is(miniature, take, tmp_path, monkeypatch):
    source = miniature.class_folders(tmp_path / "images")
    out = take(source)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(StoreWork, "write_class", None)
    take(source)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_a_damaged_store_is_made_anew(miniature, take, tmp_path):
    source = miniature.class_folders(tmp_path / "images")
    out = take(source)
    good = content(out)
    (out / "n01440764.tar").write_bytes(b"short")
    assert content(take(source)) == good


def test_published_checksums_are_verified_once(miniature, take, refused, tmp_path, monkeypatch):
    archive = miniature.archive(tmp_path / "a")
    sums, wrong = miniature.md5(tmp_path / "a"), "0" * 32
    message = refused(archive, md5={**sums, ARCHIVE: wrong})
    assert message == (
        f"a/{ARCHIVE}: its MD5 is {sums[ARCHIVE]}, published is {wrong}: download it again"
    )
    monkeypatch.setattr(StoreWork, "write_class", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        take(archive, md5=sums)
    monkeypatch.undo()
    monkeypatch.setattr(hashlib, "md5", None)  # already known: not read again
    manifest = json.loads((take(archive, md5=sums) / "manifest.json").read_text())
    assert manifest["source"] == {"kind": "archive", "md5": {n: sums[n] for n in (ARCHIVE, DEVKIT)}}


def test_a_renamed_archive_is_verified_too(miniature, take, refused, tmp_path):
    sums = miniature.md5(miniature.archive(tmp_path / "a").parent)
    archive = (tmp_path / "a" / ARCHIVE).rename(tmp_path / "a/train.tar")
    message = refused(archive, md5={**sums, ARCHIVE: "0" * 32})
    assert f"a/train.tar: its MD5 is {sums[ARCHIVE]}" in message
    manifest = json.loads((take(archive, md5=sums) / "manifest.json").read_text())
    assert manifest["source"]["md5"] == sums


@pytest.mark.parametrize("form", ["folder", "archive", "shards"])
def test_space_is_checked_before_anything_is_written(
    form, miniature, refused, tmp_path, monkeypatch
):
    source = written(miniature, form, tmp_path / form)
    size = sum(len(data) for _, _, data in miniature.images())
    usage = SimpleNamespace(free=size // 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    message = refused(source)
    assert " free, the images' store takes" in message
    assert not [p for p in tmp_path.glob(".*/**/*") if p.is_file() and p.stat().st_size > 1000]


def test_the_command(miniature, tmp_path, monkeypatch, caplog):
    source = miniature.class_folders(tmp_path / "images")
    config = tmp_path / "source.yaml"
    config.write_text(yaml.safe_dump(miniature.section()))
    command = ["data", "imagenet", "--config", str(config), "--out", str(tmp_path / "store")]
    monkeypatch.delenv("DIMR_IMAGENET", raising=False)
    assert main(command) == 2
    assert "pass --source, or set DIMR_IMAGENET" in caplog.text
    assert "--source who/miniature to download it" in caplog.text
    monkeypatch.setenv("DIMR_IMAGENET", str(source))
    assert main(command) == 0
    record = json.loads((tmp_path / "store/record.json").read_text())
    key = section_key(Source(**miniature.section()))
    assert record["key"] == key == ImageStore(tmp_path / "store").manifest.key
    provenance = json.loads((tmp_path / "store/provenance.json").read_text())
    assert provenance["source"] == str(source)
    assert "18 images; " in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["imagnet"], "no 'imagnet' (did you mean imagenet?"),
        (["imagenet", "--source", "/no/where"], "/no/where: no such folder or file, and no"),
        (["reference"], "reference needs --config"),
        (["extractor", "--config", "x"], "extractor takes no --config"),
    ],
)
def test_commands_that_cannot_be(arguments, message, tmp_path, caplog):
    assert main(["data", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert message in caplog.text
    assert not (tmp_path / "out").exists()


def test_the_manifest_byte_for_byte(miniature, take, tmp_path):
    archive, bad = miniature.archive(tmp_path / "a"), list(miniature.files["n02123045"])[2]
    sums = miniature.md5(archive.parent)
    out = take(archive, md5=sums, known_bad=(bad,), exif_orientation="ignore")

    def sum_of(name):
        return hashlib.sha256((out / name).read_bytes()).hexdigest()

    tars = [f"{wnid}.tar" for wnid in miniature.wnids]
    manifest = {
        "format": "dimr-source-1",
        "key": KEY,
        "source": {
            "kind": "archive",
            "exif_orientation": "ignore",
            "md5": {name: sums[name] for name in (ARCHIVE, DEVKIT)},
        },
        "images": 17,
        "known_bad": [bad],
        "wnids": miniature.wnids,
        "class_names": ["tench, Tinca tinca", "tabby, tabby cat", "castle"],
        "counts": [6, 5, 6],
        "index": {"sha256": sum_of("index.npy")},
        "tars": [{"size": (out / tar).stat().st_size, "sha256": sum_of(tar)} for tar in tars],
    }
    assert (out / "manifest.json").read_text() == json.dumps(manifest, indent=2) + "\n"


def test_index_and_labels_agree(stores):
    (folder,) = stores("shards")
    index = np.load(folder / "index.npy")
    pairs = list(zip(index["label"], index["name"], strict=True))
    assert pairs == sorted(pairs)
