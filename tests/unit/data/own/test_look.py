"""What is recognised: forms, names, formats; and what does not matter."""

import csv
import os
import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image
from tests.support.own_images import encoded, fill, picture

from dimr.data.own import look
from dimr.data.own.look import Found, list_images


def facts(found: Found) -> dict[str, object]:
    return {name: value for name, value in vars(found).items() if name not in ("folder", "form")}


def test_class_folders_of_any_names(own):
    found = look(own)
    assert found.form == "5 class folders"
    assert list(found.classes.items()) == [
        ("2", 2), ("10", 3), ("blue squares", 3), ("Größe & Maß", 2), ("z" * 150, 2)
    ]  # fmt: skip
    files = [path for path in own.rglob("*") if path.is_file()]
    assert found.images == len(files) == 12
    assert found.nbytes == sum(path.stat().st_size for path in files)
    assert (found.least_side, found.is_grey, found.folder) == (9, False, str(own))
    assert found.notes == ()


def test_within_a_class_names_have_the_order_that_people_give_them(own):
    listing = list_images(own)
    assert listing.classes["10"] == ["10/1.PNG", "10/2.jpeg", "10/10.webp"]


def test_a_flat_folder_is_one_class(tmp_path):
    found = look(fill(tmp_path / "Meine Fotos", {"": ["a.png", "b.jpg", "c.webp"]}))
    assert (found.form, found.classes) == ("a flat folder", {"Meine Fotos": 3})


def test_a_folder_is_known_by_where_it_is(tmp_path, monkeypatch):
    fill(tmp_path / "Fotos", {"": ["a.png", "b.jpg"]})
    monkeypatch.chdir(tmp_path / "Fotos")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert look(".") == look("~/Fotos") == look(tmp_path / "Fotos")


def table(folder, rows, **options):
    with open(folder / "labels.csv", "w", encoding=options.pop("encoding", "utf-8")) as file:
        csv.writer(file, **options).writerows(rows)
    return folder


ROWS = [["a.png", "rot, hell"], ["sub/b.png", "2"], ["c.png", "rot, hell"], ["d.webp", "2"]]


@pytest.fixture
def mixed(tmp_path):
    return fill(tmp_path / "mixed", {"": ["a.png", "c.png", "d.webp"], "sub": ["b.png"]})


@pytest.mark.parametrize(
    ("head", "order"),
    [
        (None, (0, 1)),
        (["file", "label"], (0, 1)),
        (["Filename", "Class"], (0, 1)),
        (["class", "filename"], (1, 0)),
        (["id", "label", "file"], (1, 1, 0)),
    ],
)
def test_labels_csv(head, order, mixed):
    lines = [[row[column] for column in order] for row in ROWS]
    found = look(table(mixed, [head, *lines] if head else lines))
    assert (found.form, found.classes) == ("labels.csv", {"2": 2, "rot, hell": 2})
    assert found.notes == ()


@pytest.mark.parametrize(
    "written", [{"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-8-sig"}]
)
def test_labels_csv_as_spreadsheets_write_it(written, mixed):
    lines = [["file", "label"], *([f"./{file}", label] for file, label in ROWS), []]
    assert look(table(mixed, lines, **written)).classes == {"2": 2, "rot, hell": 2}


def test_labels_csv_may_write_names_otherwise_than_the_disk(tmp_path):
    """Accents composed or not, and folders as Windows writes them."""
    folder = fill(tmp_path / "set", {"sub": [unicodedata.normalize("NFD", "ü.png"), "b\\c.png"]})
    table(folder, [["sub\\ü.png", "x"], ["sub/b\\c.png", "x"]])
    assert look(folder).classes == {"x": 2}


# --- what images may be ---------------------------------------------------------------------------


def grey_ramp():
    return Image.fromarray(np.linspace(10_000, 50_000, 64).reshape(8, 8).astype(np.uint16))


def see_through(mode):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:4] = (255, 0, 0, 255)
    image = Image.fromarray(pixels)
    return image.quantize(4) if mode == "P" else image.convert(mode)


GREY = {
    "1": lambda: picture(0).convert("1"),
    "L": lambda: picture(0).convert("L"),
    "LA": lambda: see_through("LA"),
    "I;16": grey_ramp,
    "RGB": lambda: picture(0).convert("L").convert("RGB"),
    "RGBA": lambda: Image.new("RGBA", (8, 8), (255, 0, 0, 0)),  # all on white
}
COLOUR = {
    "RGBA": lambda: see_through("RGBA"),
    "P": lambda: see_through("P"),
    "late": lambda: colour_at(7, 5),
}


def colour_at(x, y):
    image = Image.new("RGB", (33, 33))
    image.putpixel((x, y), (1, 0, 0))
    return image


@pytest.mark.parametrize(
    ("image", "is_grey"),
    [*((make, True) for make in GREY.values()), *((make, False) for make in COLOUR.values())],
    ids=[*GREY, *(f"{mode} of colours" for mode in COLOUR)],
)
def test_whether_all_are_grey(image, is_grey, tmp_path):
    fill(tmp_path / "set", {"": []})
    picture(0).convert("L").save(tmp_path / "set/a.png")
    image().save(tmp_path / "set/b.png")
    assert look(tmp_path / "set").is_grey is is_grey


def test_sides_are_those_of_upright_images(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, options in (("a.jpg", {"exif": exif}), ("b.jpg", {})):
        (tmp_path / "set").mkdir(exist_ok=True)
        picture(0, (20, 5)).save(tmp_path / "set" / name, **options)
    assert look(tmp_path / "set").least_side == 5


def test_other_suffixes_of_the_same_formats_and_animations(tmp_path):
    folder = fill(tmp_path / "set", {"": ["a.png"]})
    (folder / "b.jpg").write_bytes(encoded(picture(1)))
    frames = [picture(2), picture(3)]
    frames[0].save(folder / "c.webp", save_all=True, append_images=frames[1:], lossless=True)
    frames[0].save(folder / "d.png", save_all=True, append_images=frames[1:])
    assert look(folder).images == 4


# --- what is left out, and what does not matter ---------------------------------------------------


def test_what_systems_leave_is_not_seen(own):
    before = look(own)
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "2/.hidden.png", "2/thumbs.DB"):
        (own / name).write_bytes(b"x")
    for name in (".git", "__MACOSX", "2/.cache"):
        (own / name).mkdir()
        (own / name / "a.png").write_bytes(b"x")
    assert look(own) == before


def test_other_files_are_left_out_and_said(own):
    before = look(own)
    for name in ("README.txt", "2/notes.md", "labels.json"):
        (own / name).write_text("x")
    after = look(own)
    assert after.notes == ("3 other files left out (2/notes.md, labels.json, README.txt)",)
    assert after.sha256 == before.sha256


def test_content_is_known_wherever_and_whenever_it_is(own, tmp_path):
    before = look(own)
    shutil.copytree(own, tmp_path / "elsewhere/named otherwise")
    for path in (tmp_path / "elsewhere").rglob("*"):
        os.utime(path, (1, 1))
    assert facts(look(tmp_path / "elsewhere/named otherwise")) == facts(before)


def test_composed_and_decomposed_accents_are_one(own):
    before = look(own)
    for path in [*own.glob("*/*"), *own.glob("*")]:
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    assert any("o\u0308" in path.name for path in own.iterdir())
    assert look(own) == before


CHANGES = {
    "bytes": lambda own: (own / "2/a.png").write_bytes(encoded(picture(99))),
    "name": lambda own: (own / "2/a.png").rename(own / "2/c.png"),
    "class": lambda own: (own / "2").rename(own / "3"),
    "moved": lambda own: (own / "10/1.PNG").rename(own / "2/1.PNG"),
    "more": lambda own: (own / "2/c.png").write_bytes(encoded(picture(99))),
    "less": lambda own: (own / "10/1.PNG").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_other_content_is_known_as_such(change, own):
    before = look(own)
    CHANGES[change](own)
    assert look(own).sha256 != before.sha256


def test_progress_is_shown_unless_not_wanted(own, capsys):
    look(own)
    assert "look at images: 12/12 images" in capsys.readouterr().err
    look(own, progress=False)
    assert capsys.readouterr().err == ""
