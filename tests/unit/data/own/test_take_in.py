"""``dimr data`` of a set of one's own: what is stored, resuming, and content that has changed."""

import io
import shutil

import numpy as np
import pytest
from PIL import Image
from tests.support.messages import error_in
from tests.support.own_images import AWKWARD, encoded, fill, parquet, picture, rows, section

from dimr.cli import main
from dimr.config.project import PROJECT, Project
from dimr.config.schema import Source
from dimr.config.validation import load_section
from dimr.data.imagenet import ImageStore, resumable_store, verify
from dimr.data.imagenet.acquire import acquire
from dimr.data.own import look, source
from dimr.runtime.errors import DimrError
from dimr.runtime.strict_yaml import dump

KEY = "0123456789abcdef"


@pytest.fixture
def take(tmp_path):
    """Take a place in as it was when it was ``found`` (now)."""

    def run(place, found=None, out=None, **changes):
        config = section(found or look(place, progress=False), **changes)
        out = out or tmp_path / "store"
        acquire(config, str(place), out, KEY, name="mine")
        return out

    return run


@pytest.fixture
def refused(take, tmp_path):
    def run(place, found, **changes):
        with pytest.raises(DimrError) as caught:
            take(place, found, **changes)
        assert not (tmp_path / "store").exists()
        message = str(caught.value)
        assert "\n" not in message
        return message.replace(f"{tmp_path}/", "")

    return run


def test_no_awkward_name_is_in_the_store(own, take):
    store = ImageStore(take(own))
    assert store.wnids == [f"class{label:05d}" for label in range(5)]
    assert store.class_names == list(AWKWARD)
    assert store.manifest.counts == [2, 3, 3, 2, 2]
    names = [store.name(i) for i in range(5)]
    assert names == ["000000.png", "000001.jpg", "000000.png", "000001.jpg", "000002.webp"]
    files = {path.name for path in store.folder.iterdir()} - {"index.npy", "manifest.json"}
    assert files == {f"{wnid}.tar" for wnid in store.wnids}
    verify(store.folder)


def test_the_bytes_are_the_original_ones(own, take):
    store = ImageStore(take(own))
    originals = sorted(path.read_bytes() for path in own.rglob("*.*"))
    assert sorted(store.read(i) for i in range(len(store))) == originals
    webp = Image.open(io.BytesIO((own / "10/10.webp").read_bytes())).convert("RGB")
    assert np.array_equal(np.asarray(store.image(4)), np.asarray(webp))


def test_where_from_is_in_the_manifest(own, take):
    found = look(own)
    manifest = ImageStore(take(own)).manifest
    assert manifest.source.model_dump(exclude_defaults=True) == {
        "kind": "folder", "sha256": found.sha256
    }  # fmt: skip
    assert str(own) not in (own.parent / "store/manifest.json").read_text()


@pytest.mark.parametrize("part", [1, 500, 1 << 28])
def test_rows_are_sorted_by_class_and_keep_their_order(part, take, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "SPILLED", part)
    images, labels = rows(9), ["b", "a", "b"] * 3
    place = tmp_path / "set"
    parquet(place / "1.parquet", {"image": images[:4], "label": labels[:4]})
    parquet(place / "2.parquet", {"image": images[4:], "label": labels[4:]})
    store = ImageStore(take(place))
    assert store.class_names == ["a", "b"]
    assert [store.read(i) for i in range(9)] == [
        images[i]["bytes"] for i in (1, 4, 7, 0, 2, 3, 5, 6, 8)
    ]
    assert store.manifest.source.model_dump()["kind"] == "parquet"


def test_a_flat_folder_keeps_its_name_wherever_it_is_now(take, tmp_path):
    found = look(fill(tmp_path / "Fotos", {"": ["a.png", "b.png"]}))
    (tmp_path / "Fotos").rename(tmp_path / "moved")
    assert ImageStore(take(tmp_path / "moved", found)).class_names == ["Fotos"]


def test_many_classes_are_stored_in_the_order_of_their_labels(take, tmp_path):
    names = [str(number) for number in range(12)]
    place = fill(tmp_path / "set", {name: ["1.png", "2.png"] for name in names})
    assert ImageStore(take(place)).class_names == names


NAMES = [
    "yes", "null", "1e3", "007", "~", "a: b", "# x", "- y", "'q'", '"dq"', "{a}", "&b", "*c", "%d",
    "@e", "12:30:00", "2021-01-01", "a\\b", "a,b", "x" * 200, "word " * 39 + "end", "日本語",
    "مرحبا", "👨\u200d👩\u200d👧", "=cmd()", "n01440764", "train", "class00000",
]  # fmt: skip


def test_names_are_the_same_in_yaml_and_in_the_store(take, tmp_path):
    found = look(fill(tmp_path / "set", {name: ["1.png", "2.png"] for name in NAMES}))
    assert set(found.classes) == set(NAMES)
    entry = section(found).model_dump(mode="json")
    path = tmp_path / "source.yaml"
    path.write_text(dump(entry), encoding="utf-8")
    config = load_section(Source, path)
    assert config.class_names == tuple(found.classes)
    store = ImageStore(take(tmp_path / "set", found))
    assert store.class_names == list(found.classes)
    verify(store.folder)


# --- changed content ------------------------------------------------------------------------------

CHANGES = {
    "its files, or their names, are others": (
        lambda own: (own / "2/a.png").write_bytes(encoded(picture(99)))
    ),
    "class '10' has 2 images, had 3": lambda own: (own / "10/1.PNG").unlink(),
    "class '2' has 3 images, had 2": (
        lambda own: (own / "2/c.png").write_bytes(encoded(picture(99)))
    ),
    "class '2' has 0 images, had 2": lambda own: (own / "2").rename(own / "3"),
    "class 'new' has 2 images, had 0": lambda own: fill(own, {"new": ["1.png", "2.png"]}),
}


@pytest.mark.parametrize("problem", CHANGES)
def test_content_that_changed_is_refused(problem, own, refused):
    found = look(own)
    CHANGES[problem](own)
    assert refused(own, found) == (
        f"own: changed since dimr dataset new looked at it ({problem}): run dimr dataset new mine "
        "--images own --replace"
    )


def test_classes_in_another_order_are_refused(own, refused):
    found = look(own)
    turned = dict(reversed(found.classes.items()))
    assert "(its classes have another order)" in refused(own, found, classes=turned)


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_an_image_that_changes_meanwhile(form, take, tmp_path, monkeypatch):
    place = tmp_path / "set"
    if form == "folder":
        fill(place, {"a": ["1.png", "2.png"]})
    else:
        parquet(place / "1.parquet", {"image": rows(2), "label": ["a", "a"]})
    found, prepare = look(place), source.OwnSource.prepare

    def changed(self, work):
        if form == "folder":
            (place / "a/2.png").write_bytes(encoded(picture(99)))
        else:
            parquet(place / "1.parquet", {"image": rows(2, 50), "label": ["a", "a"]})
        prepare(self, work)

    monkeypatch.setattr(source.OwnSource, "prepare", changed)
    with pytest.raises(DimrError, match="changed while it was read: start again"):
        take(place, found)
    assert not (tmp_path / "store").exists()


# --- resuming -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["folder", "parquet"])
def test_an_interrupted_start_resumes(form, own, take, tmp_path, monkeypatch):
    if form == "folder":
        place = own
    else:
        labels = [f"c{i % 5}" for i in range(12)]
        place = parquet(tmp_path / "a.parquet", {"image": rows(12), "label": labels})
    expected = take(place, out=tmp_path / "whole")
    written, check = [], resumable_store.check_content

    def stopped(name, data, where):
        if len(written) == 6:  # in the third class
            raise KeyboardInterrupt
        written.append((where, name))
        check(name, data, where)

    monkeypatch.setattr(resumable_store, "check_content", stopped)
    with pytest.raises(KeyboardInterrupt):
        take(place)
    first = list(written)
    monkeypatch.setattr(
        resumable_store,
        "check_content",
        lambda name, data, where: (written.append((where, name)), check(name, data, where)),
    )
    take(place)
    again = {where for where, _ in written[6:]}
    assert {where for where, _ in first} - again == {"class00000", "class00001"}
    for path in expected.iterdir():
        assert (tmp_path / "store" / path.name).read_bytes() == path.read_bytes()


def test_a_complete_store_is_left_as_it_is(own, take):
    found = look(own)
    take(own, found)
    shutil.rmtree(own)
    take(own, found)


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def project(own, tmp_path, monkeypatch):
    """A project whose sources.yaml has the set as ``mine``."""
    entry = section(look(own, progress=False)).model_dump(mode="json") | {"folder": str(own)}
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/sources.yaml").write_text(dump({"mine": entry}))
    project = Project(tmp_path)
    monkeypatch.setattr("dimr.stages.download.PROJECT", project)
    return project


def test_the_command_finds_the_folder_of_its_entry(project, own, tmp_path):
    assert main(["data", "mine", "--out", str(tmp_path / "out")]) == 0
    assert ImageStore(tmp_path / "out").class_names == list(AWKWARD)
    config = tmp_path / "source.yaml"
    config.write_text(dump(project.source("mine").model_dump(mode="json")))
    assert str(own) not in config.read_text()
    arguments = ["data", "mine", "--config", str(config), "--out", str(tmp_path / "again")]
    assert main(arguments) == 0
    records = [(tmp_path / name / "record.json").read_bytes() for name in ("out", "again")]
    assert records[0] == records[1]


@pytest.mark.usefixtures("project")
def test_the_folder_has_moved(own, tmp_path, monkeypatch, caplog):
    own.rename(tmp_path / "moved")
    assert main(["data", "mine", "--out", str(tmp_path / "out")]) == 2
    assert error_in(caplog) == (
        f"dimr: data: {own}: this folder is gone (sources.yaml: mine): pass --source, or set "
        "DIMR_MINE, to where it is now"
    )
    monkeypatch.setenv("DIMR_MINE", str(tmp_path / "moved"))
    assert main(["data", "mine", "--out", str(tmp_path / "out")]) == 0


def test_a_published_set_has_no_folder():
    assert PROJECT.source("imagenet").folder is None
