"""What cannot be a set of images: one clear line each, with the name of what is wrong."""

import os

import numpy as np
import pytest
from PIL import Image
from tests.support.own_images import encoded, fill, picture

from dimr.data.own import look

TAKEN = ".jpeg, .jpg, .png, .webp"


@pytest.fixture
def two(tmp_path):
    """Two classes of two images."""
    return fill(tmp_path / "set", {"cat": ["1.png", "2.png"], "dog": ["1.png", "2.png"]})


@pytest.mark.parametrize("place", ["nowhere", "~nobody-of-this-name/x", "x" * 5000])
def test_places_that_there_are_not(place, refused, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = refused(place)
    assert message.startswith(place[:200])
    assert "no such folder" in message or "not readable" in message


def test_a_file_and_a_loop(refused, tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(picture(0)))
    assert refused(tmp_path / "a.png") == "a.png: not a folder of images, nor a .parquet file"
    (tmp_path / "loop").symlink_to("loop")
    assert refused(tmp_path / "loop").startswith("loop: ")


@pytest.mark.parametrize("inside", [(), ("cat",), ("a.txt",), (".hidden.png",)])
def test_folders_without_images(inside, refused, tmp_path):
    (tmp_path / "set").mkdir()
    for name in inside:
        path = tmp_path / "set" / name
        path.write_text("x") if path.suffix else path.mkdir()
    assert refused(tmp_path / "set") == (
        f"set: no images in it: looked for folders of {TAKEN} files, such files, labels.csv, and "
        ".parquet files"
    )


def test_a_class_folder_without_images(two, refused):
    (two / "bird").mkdir()
    (two / "bird/notes.txt").write_text("x")
    assert refused(two) == "set: no images in 1 class folder (bird): remove or fill them"


DAMAGED = {
    "empty": (b"", "0 bytes"),
    "text": (b"not an image", "not JPEG, PNG or WebP"),
    "gif": (encoded(picture(0), "GIF"), "not JPEG, PNG or WebP"),
    "truncated": (encoded(picture(0, (64, 64)))[:-4000], "does not decode"),
    "torn": (encoded(picture(0, (64, 64)), "JPEG")[:-900], "does not decode"),
}


@pytest.mark.parametrize("problem", DAMAGED)
def test_an_image_that_does_not_decode(problem, two, refused):
    data, message = DAMAGED[problem]
    (two / "dog/2.png").write_bytes(data)
    found = refused(two)
    assert found.startswith("set/dog")
    assert "2.png: " in found
    assert message in found


def test_values_without_a_known_range(two, refused):
    Image.fromarray(np.zeros((4, 4), np.float32)).save(two / "dog/f.tiff")
    assert refused(two) == (
        f"set/dog/f.tiff: .tiff images are not taken (only {TAKEN}): convert it"
    )
    (two / "dog/f.tiff").rename(two / "dog/f.png")
    assert "f.png: not JPEG, PNG or WebP" in refused(two)


@pytest.mark.parametrize("suffix", [".gif", ".BMP", ".tiff", ".heic", ".avif"])
@pytest.mark.parametrize("where", ["", "cat/"])
def test_formats_that_are_not_taken(suffix, where, two, refused):
    (two / f"{where}x{suffix}").write_bytes(b"x")
    assert refused(two).startswith(f"set/{where}x{suffix}: {suffix.lower()} images are not taken")


def test_files_that_differ_in_case(two, refused):
    for name in ("A.png", "a.PNG"):
        (two / "cat" / name).write_bytes(encoded(picture(7)))
    assert refused(two) == (
        "set: class 'cat': files 'cat/A.png' and 'cat/a.PNG' differ only in case, which many disks "
        "cannot tell apart: rename or join them"
    )


def test_class_folders_that_differ_in_case(two, refused):
    fill(two, {"Cat": ["1.png", "2.png"]})
    found = refused(two)
    assert found.startswith("set: class folders ")
    assert {"'cat'", "'Cat'"} <= set(found.split())
    assert "differ only in case" in found


@pytest.mark.parametrize("name", ["big  cat", " big cat", "big cat "])
def test_class_folders_that_differ_in_blanks(name, two, refused):
    fill(two, {"big cat": ["1.png", "2.png"], name: ["1.png", "2.png"]})
    assert refused(two) == "set: two class folders' names differ in blanks only: rename one"


@pytest.mark.parametrize("name", ["x" * 201, "a\x1bb", b"\xff".decode("utf-8", "surrogateescape")])
def test_names_that_cannot_be_shown(name, two, refused):
    (two / "cat").rename(two / name)
    found = refused(two)
    assert "cannot name a class (1 to 200 characters" in found
    found.encode()


def test_a_class_of_one_image(two, refused):
    (two / "cat/1.png").unlink()
    assert refused(two) == (
        "set: 1 class with one image (cat): one is held out, so at least two are needed"
    )


def test_a_flat_folder_of_one_image(refused, tmp_path):
    assert "set: 1 class with one image (set)" in refused(fill(tmp_path / "set", {"": ["a.png"]}))


def test_images_beside_class_folders(two, refused):
    for number in (1, 2):
        (two / f"{number}.png").write_bytes(encoded(picture(number)))
    assert refused(two) == (
        "set: holds 2 images (1.png, 2.png) beside 2 folders of images (cat, dog): put every image "
        "into the folder of its class"
    )


def test_splits_are_no_classes(two, refused, tmp_path):
    (tmp_path / "all").mkdir()
    two.rename(tmp_path / "all/train")
    assert refused(tmp_path / "all") == (
        "all/train/cat: a folder of images within a folder: give the folder whose own folders are "
        "the classes (all/train?)"
    )


@pytest.mark.parametrize("kind", ["gone", "loop", "pipe", "folder"])
def test_images_that_are_no_files(kind, two, refused):
    path = two / "cat/x.png"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        fill(two / "cat", {"x.png": ["1.png"]})
    else:
        path.symlink_to("nowhere" if kind == "gone" else "x.png")
    assert "cat/x.png" in refused(two)


def test_links_that_lead_back(two, refused):
    for name in ("up", "again"):  # of two that are followed there would be no end
        (two / "cat" / name).symlink_to("..")
    assert refused(two) == "set/cat/again: a link that leads back to a folder that it is in"


def test_links_to_other_folders_are_followed(two, tmp_path):
    (two / "dog").rename(tmp_path / "elsewhere")
    (two / "dog").symlink_to(tmp_path / "elsewhere")
    assert look(two).classes == {"cat": 2, "dog": 2}


# --- labels.csv -----------------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path, refused):
    """What is said of two images and the lines of a ``labels.csv``."""
    folder = fill(tmp_path / "set", {"": ["a.png", "b.png"], "sub": ["c.png", "d.png"]})
    (folder / "a.txt").write_text("x")

    def run(*lines):
        text = "\n".join(lines)
        (folder / "labels.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
        return refused(folder)

    return run


LINES = ("a.png,x", "b.png,y", "sub/c.png,x", "sub/d.png,y")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ((*LINES, "e.png,x"), ": line 5: e.png: no such file"),
        (("file,label", *LINES, "e.png,x"), ": line 6: e.png: no such file"),
        ((*LINES, "a.txt,x"), ": line 5: a.txt: not an image file (allowed: .jpeg, .jpg"),
        ((*LINES, "../set/a.png,x"), ": line 5: '../set/a.png' leads out of the folder"),
        ((*LINES, "/etc/passwd,x"), ": line 5: '/etc/passwd' leads out of the folder"),
        ((*LINES, "./a.png,x"), ": line 5: ./a.png has a label already"),
        ((*LINES[:3], "sub/d.png,"), ": line 4: no label"),
        ((*LINES[:3], ",y"), ": line 4: no file"),
        ((*LINES[:3], "sub/d.png"), ": line 4: 1 columns, should be file,label"),
        (LINES[:2], ": leaves 2 images out (sub/c.png, sub/d.png)"),
        ((*LINES[:3], "sub/d.png,X"), ": classes 'x' and 'X' differ only in case"),
        ((*LINES[:3], 'sub/d.png,"y'), ": not readable as CSV"),
        ((*LINES[:3], "sub/d.png,\udcff"), ": not readable as CSV"),
        (("file,label",), ": lists no files"),
        ((), ": lists no files"),
    ],
)
def test_what_labels_csv_may_not_say(lines, message, listed):
    assert listed(*lines).startswith(f"set/labels.csv{message}")


def test_classes_of_one_line(listed):
    assert "set: 2 classes with one image (y, z)" in listed(*LINES[:3], "sub/d.png,z")
