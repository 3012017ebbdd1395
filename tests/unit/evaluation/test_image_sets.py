"""Images from every form: the same, in constant memory, in order; anything else is one line."""

import io
import itertools
import os
import tracemalloc

import numpy as np
import pytest
from PIL import Image
from tests.support.shards import write_shards

from dimr.data.npz import array_header, array_pieces, check_whole, load_arrays
from dimr.evaluation.image_sets import (
    ArrayImages,
    NpzImages,
    check_images,
    image_tensor,
    open_images,
)
from dimr.evaluation.reference import open_set
from dimr.runtime.errors import DimrError
from dimr.runtime.files import sha256
from dimr.sampling.folder import write_samples

from .conftest import save_pictures

SIDE, COUNT = 16, 40
LABELS = np.arange(COUNT) % 10


def noise(count, seed=0, size=8):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


@pytest.fixture
def images():
    """Of a few levels of grey, which JPEG keeps."""
    return np.kron(noise(COUNT, size=2)[..., :1], np.ones((1, 8, 8, 3), np.uint8))


def everything(images):
    return np.concatenate(list(images.batches(7)))


# --- .npz -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("rows", [1, 7, 20, 100])
def test_pieces_are_the_array(tmp_path, save, rows):
    images = noise(20)
    save(tmp_path / "a.npz", other=np.arange(3), arr_0=images)
    assert array_header(tmp_path / "a.npz", "arr_0") == (images.shape, np.dtype(np.uint8))
    pieces = list(array_pieces(tmp_path / "a.npz", "arr_0", rows))
    assert [len(piece) for piece in pieces[:-1]] == [rows] * (len(pieces) - 1)
    assert np.array_equal(np.concatenate(pieces), images)


def test_sets_give_the_same_images_from_anywhere(tmp_path):
    images = noise(20)
    np.savez(tmp_path / "a.npz", images)
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder/reference.npz", images)
    opened = [
        open_images(tmp_path / "a.npz"),
        open_images(tmp_path / "folder"),
        ArrayImages("parts", [images[:9], images[9:]]),
    ]
    for each in opened:
        assert each.shape == images.shape
        for _ in range(2):  # a second pass starts again
            batches = list(each.batches(6))
            assert max(map(len, batches)) <= 6
            assert np.array_equal(np.concatenate(batches), images)


def test_memory_does_not_grow_with_the_file(tmp_path):
    """32 MB of images; a batch of 16 is 0.2 MB. The features of each batch are dropped here."""
    images = noise(2600, size=64)
    np.savez(tmp_path / "large.npz", images)
    np.savez_compressed(tmp_path / "deflated.npz", images)
    for name in ("large", "deflated"):
        tracemalloc.start()
        total = sum(int(b.sum()) for b in NpzImages(tmp_path / f"{name}.npz").batches(16))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert total == images.sum()
        assert peak < 2e6, name


def refusal_or_images(path):
    """The message of the refusal, or the images."""
    try:
        check_whole(path)
        return np.concatenate(list(NpzImages(path).batches(1)))
    except DimrError as error:
        return str(error)


def test_damage_anywhere_is_one_line(tmp_path):
    """Bytes of headers, directory and data in turn: refused, or nothing has changed."""
    images = noise(2)
    np.savez(tmp_path / "good.npz", images)
    good = (tmp_path / "good.npz").read_bytes()
    found = []
    for place in itertools.chain(range(230), range(230, len(good), 5)):
        changed = bytearray(good)
        changed[place] ^= 0x5A
        (tmp_path / "bad.npz").write_bytes(changed)
        found.append(refusal_or_images(tmp_path / "bad.npz"))
    messages = [each for each in found if isinstance(each, str)]
    assert len(messages) > len(found) / 2
    assert all("bad.npz: " in message and "\n" not in message for message in messages)
    assert all(np.array_equal(each, images) for each in found if not isinstance(each, str))


def test_foreign_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "fortran.npz", np.asfortranarray(noise(4)))
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    (tmp_path / "x.npz").mkdir()
    with pytest.raises(DimrError, match=r"fortran\.npz: arr_0: an array in Fortran order"):
        NpzImages(tmp_path / "fortran.npz")
    with pytest.raises(DimrError, match=r"objects\.npz: arr_0: holds Python objects"):
        NpzImages(tmp_path / "objects.npz")
    with pytest.raises(DimrError, match=r"objects\.npz: arr_0: holds Python objects"):
        load_arrays(tmp_path / "objects.npz", ["arr_0"])
    with pytest.raises(DimrError, match=r"x\.npz: no images here"):
        open_images(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent", "no such file"), ("short", "not readable as .npz"),
        ("empty", "not readable as .npz"), ("named", "holds images; expected an array arr_0"),
        ("floats", "images are float64"), ("single", "a single array"),
    ],
)  # fmt: skip
def test_an_npz_that_holds_no_images_is_named(tmp_path, name, message):
    np.savez(tmp_path / "good.npz", noise(40))
    (tmp_path / "short.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:300])
    (tmp_path / "empty.npz").write_bytes(b"")
    np.savez(tmp_path / "named.npz", images=noise(2))
    np.savez(tmp_path / "floats.npz", noise(2) / 255)
    with open(tmp_path / "single.npz", "wb") as file:
        np.save(file, noise(2))
    with pytest.raises(DimrError, match=f"{name}.npz: {message}") as caught:
        NpzImages(tmp_path / f"{name}.npz")
    assert "\n" not in str(caught.value)


# --- every form -----------------------------------------------------------------------------------


def test_every_form_gives_the_same_images(images, tmp_path):
    np.savez(tmp_path / "a.npz", images)
    np.save(tmp_path / "a.npy", images)
    forms = [tmp_path / "a.npz", tmp_path / "a.npy", shards(tmp_path / "shards", images)]
    for folder, options in (("png", {}), ("x", {"name": "x_{:05d}"}), ("PNG", {"kind": "PNG"})):
        forms.append(save_pictures(tmp_path / folder, images, **options))
    for path in forms:
        opened = open_images(path)
        assert opened.shape == images.shape
        for _ in range(2):
            assert np.array_equal(everything(opened), images)
    jpegs = save_pictures(tmp_path / "jpg", images, "jpg", quality=95)
    assert np.abs(everything(open_images(jpegs)).astype(int) - images).mean() < 4


def shards(folder, images):
    write_shards(
        folder, [images], LABELS, kind="pixels", classes=10, class_names=list("0123456789"),
        scaling_factor=None, key="k", shard_size=15,
    )  # fmt: skip
    return folder


def test_names_are_sorted_as_people_count(images, tmp_path):
    stems = ("img 1", "img 2", "img 10", "img 010", "img 100", "x", "x1")
    names = [f"{stem}.png" for stem in stems]
    folder = tmp_path / "named"
    folder.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(images[number]).save(folder / name)
    found = open_images(folder)
    order = [names.index(path.name) for path in found.paths]
    assert order == [0, 1, 3, 2, 4, 5, 6]  # 010 before 10: as names
    assert np.array_equal(everything(found), images[order])


def test_pictures_are_read_with_their_meaning_kept(tmp_path):
    """16 bits, transparency, orientation, palettes: as ``as_rgb`` has them."""
    folder = tmp_path / "modes"
    folder.mkdir()
    deep = np.linspace(10_000, 50_000, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(deep).save(folder / "0.png")
    Image.fromarray(np.full((8, 8, 4), (255, 0, 0, 0), np.uint8)).save(folder / "1.png")
    exif = Image.Exif()
    exif[0x0112] = 3
    upright = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(upright[::-1, ::-1].copy()).save(folder / "2.png", exif=exif)
    found = everything(open_images(folder))
    assert np.array_equal(found[0, ..., 1], np.rint(deep / 257))
    assert (found[1] == 255).all()
    assert np.array_equal(found[2], upright)


def test_images_that_are_turned_need_not_lie_as_they_are_stored(tmp_path):
    folder = tmp_path / "turned"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4), (1, 2, 3)).save(folder / "0.png")
    Image.new("RGB", (4, 6), (1, 2, 3)).save(folder / "1.png", exif=exif)
    assert everything(open_images(folder)).shape == (2, 4, 6, 3)
    Image.new("RGB", (4, 6), (1, 2, 3)).save(folder / "1.png")
    with pytest.raises(DimrError, match=r"turned/1\.png: is 6x4; 0\.png is 4x6, and all must be"):
        everything(open_images(folder))


def test_what_identifies_pictures_is_their_names_and_bytes(images, tmp_path):
    one, other = (save_pictures(tmp_path / name, images[:5]) for name in ("a", "b"))
    key = open_set(one).record["key"]
    assert key == open_set(other).record["key"]
    (other / "4.png").rename(other / "5.png")
    assert open_set(other).record["key"] != key
    np.save(tmp_path / "a.npy", images)
    assert open_set(tmp_path / "a.npy").record["key"] == sha256(tmp_path / "a.npy")


# --- anything else --------------------------------------------------------------------------------


def refusal(path):
    with pytest.raises(DimrError) as caught:
        open_set(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_anything_else_is_told_what_is_expected(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden/.a.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("x")
    os.mkfifo(tmp_path / "pipe.npz")
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    for name in ("empty", "hidden", "notes.txt", "pipe.npz", "loop.npz"):
        assert refusal(tmp_path / name).startswith(
            f"{tmp_path / name}: no images here; expected an .npz (arr_0: uint8 (N, H, W, 3);"
        )
    assert "nowhere: no such file or folder; expected an .npz" in refusal(tmp_path / "nowhere")


@pytest.mark.parametrize("stray", ["a.txt", "b.webp", "c.npy", "loop.png", "pipe.png", "below"])
def test_what_is_among_pictures_must_be_pictures(stray, images, tmp_path):
    folder = save_pictures(tmp_path / "png", images[:4])
    if stray == "below":
        (folder / stray).mkdir()
    elif stray == "loop.png":
        (folder / stray).symlink_to(stray)
    elif stray == "pipe.png":
        os.mkfifo(folder / stray)
    else:
        (folder / stray).write_bytes(b"x")
    assert refusal(folder).startswith(f"{folder / stray}: not a PNG or JPEG file; expected an .npz")


def test_pictures_of_several_sizes_name_the_first_that_differs(images, tmp_path):
    folder = save_pictures(tmp_path / "png", images[:12])
    for number in (11, 3):
        Image.new("RGB", (17, 16)).save(folder / f"{number}.png")
    assert refusal(folder) == f"{folder / '3.png'}: is 16x17; 0.png is 16x16, and all must be"


def test_pictures_that_do_not_decode_are_named(images, tmp_path):
    folder = save_pictures(tmp_path / "png", images[:3])
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(b"GIF89a" + whole)
    assert refusal(folder) == f"{folder / '1.png'}: neither PNG nor JPEG"
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DimrError, match=r"1\.png: not readable \("):
        everything(open_images(folder))
    Image.new("F", (SIDE, SIDE)).save(file := io.BytesIO(), "TIFF")
    (folder / "1.png").write_bytes(file.getvalue())
    assert "neither PNG nor JPEG" in refusal(folder)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4, 4, 3)), "images are float64; expected a uint8 array"),
        (np.zeros((3, 3, 4, 4), np.uint8), "images have shape"),
        (np.zeros((3, 4, 4), np.uint8), "images have shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), "images have shape"),
        (np.asfortranarray(np.zeros((3, 4, 4, 3), np.uint8)), "an array in Fortran order"),
        (np.array([{}], object), "holds Python objects"),
    ],
)
def test_arrays_of_something_else(array, message, tmp_path):
    np.save(tmp_path / "a.npy", array)
    assert message in refusal(tmp_path / "a.npy")


def test_a_folder_of_samples_whose_manifest_is_gone_is_no_folder_of_pictures(images, tmp_path):
    write_samples(tmp_path / "s", images, LABELS, list("0123456789"), "k")
    (tmp_path / "s/manifest.json").unlink()
    assert "not a PNG or JPEG file; expected an .npz" in refusal(tmp_path / "s")


# --- checks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 4, 4, 3)), "set: images are float64; expected a uint8 array"),
        ([[1]], "set: images are list"),
        (np.zeros((2, 3, 4, 4), np.uint8), r"set: images have shape \(2, 3, 4, 4\)"),
        (np.zeros((4, 4, 3), np.uint8), "set: images have shape"),
        (np.zeros((0, 4, 4, 3), np.uint8), "set: images have shape"),
        (np.zeros((3, 4, 4, 3), np.uint8), "set: 3 images; expected 2"),
        (np.zeros((2, 4, 5, 3), np.uint8), "set: images are 4x5; expected 4x4"),
    ],
)
def test_check_images_names_what_is_wrong(images, message):
    with pytest.raises(DimrError, match=message):
        check_images(images, "set", count=2, size=4)


def test_image_tensor_moves_channels_and_copies():
    images = noise(2)
    tensor = image_tensor(images)
    assert tensor.shape == (2, 3, 8, 8)
    assert tensor[1, 2, 3, 4] == images[1, 3, 4, 2]
    tensor.zero_()
    assert images.any()
