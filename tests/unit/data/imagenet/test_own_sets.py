"""Sets of images of one's own: any names of folders and files, upright images, any PIL mode."""

import os
import re
import socket
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.support.miniature import encoded

from dimr.config.project import PROJECT
from dimr.config.schema import Source
from dimr.data.imagenet import ImageStore, center_crop
from dimr.runtime.errors import DimrError

WNID = "n01440764"


def corners(size=(6, 4)):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))


def section(images, classes=2, **more):
    return {"classes": classes, "images": images, "repo": None, **more}


@pytest.fixture
def own(tmp_path):
    """Two class folders of any names, with three images."""
    files = {"cat": ["img 1.png", "Kätzchen (2).png"], "Hunde & mehr": ["a.png"]}
    for label, (folder, names) in enumerate(files.items()):
        (tmp_path / "own" / folder).mkdir(parents=True)
        for number, name in enumerate(names):
            image = Image.new("RGB", (8, 8), (50 * label, 50 * number, 7))
            image.save(tmp_path / "own" / folder / name)
    return tmp_path / "own"


@pytest.mark.parametrize("below", ["", "train"])
def test_folders_of_any_names_are_classes(below, own, take, tmp_path):
    if below:
        (tmp_path / "set").mkdir()
        own.rename(tmp_path / "set" / below)
        (tmp_path / "set/val").mkdir()
        own = tmp_path / "set"
    store = ImageStore(take(own, **section(3)))
    assert store.wnids == store.class_names == ["Hunde & mehr", "cat"]
    assert [store.name(i) for i in range(3)] == ["a.png", "Kätzchen (2).png", "img 1.png"]
    colours = [store.image(i).getpixel((0, 0)) for i in range(3)]
    assert colours == [(50, 0, 7), (0, 50, 7), (0, 0, 7)]
    assert store.labels.tolist() == [0, 1, 1]


def test_images_beside_an_archive_or_shards_are_no_classes(miniature, take, tmp_path):
    for form in ("archive", "shards"):
        getattr(miniature, form)(tmp_path / form)
        (tmp_path / form / "val").mkdir()
        corners().save(tmp_path / form / "val/a.png")
        store = ImageStore(take(tmp_path / form, tmp_path / f"{form}-store"))
        assert store.wnids == miniature.wnids


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("-rf", r"i: '-rf' is not a plain class name (at most 40 bytes"),
        ("a\nb", r"i: 'a\nb' is not a plain class name"),
        ("x" * 41, "is not a plain class name"),
        ("\udcff", "is not a plain class name"),
        ("ends with a blank ", "is not a plain class name"),
    ],
)
def test_folders_that_no_class_can_be_called_as(name, message, own, refused, tmp_path):
    own.rename(tmp_path / "i")
    (tmp_path / "i/cat").rename(tmp_path / "i" / name)
    assert message in refused(tmp_path / "i", **section(3))


# --- what is no folder ----------------------------------------------------------------------------


def make(kind, path):
    if kind == "loop":
        path.symlink_to(path.name)
    elif kind == "gone":
        path.symlink_to("nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "file":
        path.write_bytes(b"x")
    else:
        with socket.socket(socket.AF_UNIX) as opened:
            os.chdir(path.parent)  # a socket's path may have 107 bytes
            opened.bind(path.name)


KINDS = {"loop": "a link that leads nowhere", "gone": "a link that leads nowhere",
         "pipe": "not a folder", "socket": "not a folder"}  # fmt: skip
SHARD = "train-00001-of-00002.parquet"
PLACES = [
    ("class_folders", "n00000001", "i/n00000001: {}; a class folder is expected"),
    ("class_folders", "n09999999", "i/n09999999: {}; a class folder is expected"),
    ("class_folders", f"{WNID}/a.jpg", f"i/{WNID}(/a.jpg: not a file|: not readable)"),
    ("own", "bird", "i/bird: {}; a class folder is expected"),
    ("empty", WNID, f"i/{WNID}: {{}}; a class folder is expected"),
    ("shards", SHARD, f"i/{SHARD}: not a file"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("form", "name", "message"), PLACES)
def test_what_is_neither_file_nor_folder(
    kind, form, name, message, own, miniature, refused, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    source, facts = tmp_path / "i", section(3) if form == "own" else {}
    if form == "own":
        own.rename(source)
    elif form == "empty":
        source.mkdir()
    else:
        getattr(miniature, form)(source)
    (source / name).unlink(missing_ok=True)
    make(kind, source / name)
    assert re.match(message.format(KINDS[kind]), refused(source, **facts))


@pytest.mark.parametrize("kind", ["loop", "pipe", "socket", "gone"])
@pytest.mark.parametrize("name", ["images", "own/images", "x.tar", "ILSVRC2012_img_train.tar"])
def test_sources_that_are_no_files(kind, name, refused, tmp_path, monkeypatch):
    """Not even asked for on the hub, which ``own/images`` could be the name of."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own").mkdir()
    make(kind, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert refused(name) == f"{name}: neither a folder nor a file, or a link that leads nowhere"


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_an_archive_or_class_that_is_another_thing(kind, miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    path.unlink()
    os.mkfifo(path)
    assert refused(tmp_path / "a") == f"a/{path.name}: not a file"
    source = miniature.class_folders(tmp_path / "i")
    make(kind, source / "n09999999")
    assert refused(source) == "i/n09999999: not a folder; a class folder is expected"


def test_a_home_that_there_is_not(refused):
    assert "not readable" in refused("~nobody-of-this-name/images")


def test_names_that_are_too_long(refused):
    assert "File name too long" in refused("/" + "x" * 5000)


@pytest.fixture
def closed():
    """A folder that everybody sees; when it is closed, nobody but root may look into it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        for path in (folder, *folder.iterdir()):
            path.chmod(0o755)


@pytest.mark.parametrize("what", ["", WNID])
def test_folders_that_may_not_be_read(what, closed, miniature, take):
    miniature.class_folders(closed / "i")
    (closed / "i" / what).chmod(0)
    is_root = os.geteuid() == 0
    out = closed / "out"
    out.mkdir(mode=0o777)
    out.chmod(0o777)
    if is_root:
        os.seteuid(65534)
    try:
        with pytest.raises(DimrError, match=rf"^{closed}/i[^\n]*: not readable \([^\n]*\)$"):
            take(closed / "i", out / "store")
    finally:
        if is_root:
            os.seteuid(0)
        (closed / "i").chmod(0o755)


# --- what is made of them -------------------------------------------------------------------------


def photo(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.fixture
def photos(tmp_path):
    """A folder of one class: an image for each orientation, as a camera stores it."""
    folder = tmp_path / "photos/all"
    folder.mkdir(parents=True)
    for orientation in range(1, 9):
        corners().save(folder / f"{orientation}.png", exif=photo(orientation))
    return tmp_path / "photos"


def test_photos_are_upright(photos, take):
    store = ImageStore(take(photos, **section(8, 1)))
    assert "exif_orientation" not in (store.folder / "manifest.json").read_text()
    turned = [None, 0, 3, 1, 5, 4, 6, 2]  # numbers of Image.Transpose, by orientation
    for number, turn in enumerate(turned):
        wanted = corners() if turn is None else corners().transpose(turn)
        assert np.array_equal(np.asarray(store.image(number)), np.asarray(wanted))
        assert np.array_equal(center_crop(store.image(number), 4), center_crop(wanted, 4))


def test_sets_are_used_as_stored_where_the_section_says_so(photos, take, miniature, tmp_path):
    store = ImageStore(take(photos, **section(8, 1, exif_orientation="ignore")))
    assert store.manifest.source.model_dump() == {"kind": "folder", "exif_orientation": "ignore"}
    for number in range(8):
        assert np.array_equal(np.asarray(store.image(number)), np.asarray(corners()))
        assert np.array_equal(center_crop(store.image(number), 4), center_crop(corners(), 4))
    for form in ("archive", "shards"):
        source = getattr(miniature, form)(tmp_path / form)
        taken = take(source, tmp_path / f"{form}-store", exif_orientation="ignore")
        assert ImageStore(taken).manifest.source.exif_orientation == "ignore"


def test_a_file_that_applies_does_not_name_it():
    """So that keys of sections that were written before stay what they are."""
    own = Source.model_validate(section(8, gigabytes=1.0))
    assert own.exif_orientation == "apply"
    assert "exif_orientation" not in own.model_dump()
    ignoring = Source.model_validate({**own.model_dump(), "exif_orientation": "ignore"})
    assert Source.model_validate(ignoring.model_dump()) == ignoring
    assert PROJECT.source("imagenet").exif_orientation == "ignore"


def test_a_manifest_of_another_orientation_is_refused(photos, take):
    folder = take(photos, **section(8, 1, exif_orientation="ignore"))
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"ignore"', '"ignroe"'))
    with pytest.raises(DimrError, match=r"manifest\.json: source\.exif_orientation: 'ignroe'"):
        ImageStore(folder)


def test_modes_of_own_images(take, tmp_path):
    folder = tmp_path / "own/a"
    folder.mkdir(parents=True)
    ramp = np.linspace(10_000, 50_000, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "1.png")
    hidden = np.full((8, 8, 4), (255, 0, 0, 0), np.uint8)
    Image.fromarray(hidden).save(folder / "2.png")
    (folder / "3.jpg").write_bytes(encoded(Image.new("CMYK", (8, 8), (10, 20, 30, 40))))
    store = ImageStore(take(tmp_path / "own", **section(3, 1)))
    grey = np.asarray(store.image(0))
    assert np.array_equal(grey[..., 0], np.rint(ramp / 257))
    assert (np.asarray(store.image(1)) == 255).all()
    with Image.open(folder / "3.jpg") as opened:
        assert np.array_equal(np.asarray(store.image(2)), np.asarray(opened.convert("RGB")))
