"""Array headers that lie: refused in one line, before memory is taken for what they state."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from dimr.config.schema import ReferenceConfig
from dimr.data.npz import array_header, array_names, check_whole, load_arrays
from dimr.evaluation.downloads import acquire_reference
from dimr.evaluation.image_sets import NpzImages, open_images
from dimr.evaluation.reference import open_set, read_statistics
from dimr.runtime.errors import DimrError

FILE = "VIRTUAL_small.npz"
IMAGES = np.zeros((6, 8, 8, 3), np.uint8)


@pytest.fixture(autouse=True)
def in_little_memory():
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 200e6


def npy(shape, descr="'|u1'", data=bytes(IMAGES.nbytes), order="False"):
    """The bytes of an array whose header says whatever it is told to."""
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"
    text += " " * (-(len(text) + 11) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


def write(path, **members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return path


LIES = {
    "below zero": npy("(-5, 8, 8, 3)"),
    "twice below zero": npy("(-6, -8, 8, 3)"),
    "10^12 images": npy("(1000000000000, 8, 8, 3)"),
    "more than 64 bits": npy(f"({10**30}, 8, 8, 3)"),
    "more digits than are read": npy(f"({'9' * 5000}, 8, 8, 3)"),
    "an overflow to the right size": npy(f"({2**64 + 6}, 8, 8, 3)"),
    "one image less": npy("(5, 8, 8, 3)"),
    "one image more": npy("(7, 8, 8, 3)"),
    "a side below zero": npy("(6, 8, -8, 3)"),
    "true as a side": npy("(6, 64, True, 3)"),
    "another width": npy("(6, 8, 8, 3)", "'<f8'"),
    "wide text": npy("(6, 8, 8, 3)", "'<U268435455'"),
    "objects": npy("(6, 8, 8, 3)", "'|O'"),
    "objects within": npy("(6, 8, 8, 3)", "[('a', '|O')]"),
    "no shape": npy("None"),
    "deep brackets": npy("(" * 4000),
    "no header": b"\x93NUMPY\x01\x00\xff\xff{}",
    "another version": b"\x93NUMPY\x09\x00" + npy("(6, 8, 8, 3)")[8:],
    "no array": b"hello",
    "nothing": b"",
}


def refused(call, *arguments):
    with pytest.raises(DimrError, match=r"^[^\n]*\.np[yz]: [^\n]*$") as caught:
        call(*arguments)
    assert len(str(caught.value)) < 400
    return str(caught.value)


@pytest.mark.parametrize("lie", LIES)
def test_headers_that_lie(tmp_path, lie):
    path = write(tmp_path / FILE, arr_0=LIES[lie])
    for read in (NpzImages, open_images, open_set, lambda path: load_arrays(path, ["arr_0"])):
        refused(read, path)
    phase = ReferenceConfig(file=FILE, image_size=8)
    refused(acquire_reference, phase, str(path), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "a.npy").write_bytes(LIES[lie])
    refused(open_set, tmp_path / "a.npy")


@pytest.mark.slow
@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("name", ["mu", "sigma", "arr_1"])
def test_other_arrays_too(tmp_path, lie, name):
    good = {"arr_0": npy(IMAGES.shape), "mu": saved(np.zeros(2048)), "sigma": saved(np.eye(2048))}
    path = write(tmp_path / FILE, **{**good, name: LIES[lie]})
    refused(open_set, path)
    if name != "arr_1":
        refused(read_statistics, path)


def saved(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_a_directory_that_lies_as_the_header_does(tmp_path):
    """Header and zip directory agree on 10^9 images; the file has six."""
    path = write(tmp_path / "a.npz", arr_0=npy("(1000000000, 8, 8, 3)"))
    data = path.read_bytes()
    real = struct.pack("<I", len(npy("(1000000000, 8, 8, 3)")))
    claimed = struct.pack("<I", (len(npy("(1000000000, 8, 8, 3)", data=b"")) + 192 * 10**9) % 2**32)
    path.write_bytes(data.replace(real + real, real + claimed))
    assert path.read_bytes() != data
    refused(open_images, path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("arr_0.npy", npy("(100000, 8, 8, 3)", data=bytes(192 * 10**5)))
    packed = path.read_bytes()
    size = len(npy("(100000, 8, 8, 3)", data=b"")) + 192 * 10**5
    path.write_bytes(packed.replace(struct.pack("<I", size), struct.pack("<I", 2**31)))
    assert "claims more than" in refused(open_images, path)


def test_members_that_are_no_arrays_do_not_count(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0", npy(IMAGES.shape))
        archive.writestr("readme.txt", "x")
    assert array_names(tmp_path / "a.npz") == []
    assert "holds nothing; expected an array arr_0" in refused(open_images, tmp_path / "a.npz")


def test_honest_headers_are_read(tmp_path):
    path = write(tmp_path / "a.npz", arr_0=npy("(6, 8, 8, 3)"), one=npy("(1,)", data=b"x"))
    assert array_header(path, "arr_0") == ((6, 8, 8, 3), np.dtype(np.uint8))
    assert array_header(path, "one") == ((1,), np.dtype(np.uint8))
    check_whole(path)
    assert np.array_equal(load_arrays(path, ["arr_0"])[0], IMAGES)


# --- a reference folder ---------------------------------------------------------------------------


def test_a_reference_that_was_changed_is_refused(tmp_path):
    np.savez(tmp_path / FILE, IMAGES)
    acquire_reference(ReferenceConfig(file=FILE, image_size=8), str(tmp_path), tmp_path / "out")
    assert open_set(tmp_path / "out").images.shape == IMAGES.shape
    other = IMAGES.copy()
    other[0] += 1
    (tmp_path / "out/reference.npz").unlink()  # a link to the source
    np.savez(tmp_path / "out/reference.npz", other)  # whole, and another
    message = refused(open_set, tmp_path / "out")
    assert message.endswith("damaged: its SHA-256 is not the one in reference.json")


@pytest.mark.parametrize(
    "sigma",
    [-np.eye(4), np.triu(np.ones((4, 4))), np.eye(4) + np.eye(4)[::-1] * 3, np.diag([1, 1, 1, -1])],
)
def test_a_sigma_that_is_no_covariance_is_refused(tmp_path, sigma):
    """Of one with variances below 0 FID came out as 0."""
    path = tmp_path / "a.npz"
    good = np.cov(np.random.default_rng(0).random((4, 9)) * [[1], [10], [0], [1e-3]])
    for dtype in (np.float16, np.float64):
        np.savez(path, mu=np.zeros(4), sigma=good.astype(dtype))
        assert read_statistics(path, 4) is not None
    np.savez(path, mu=np.zeros(4), sigma=sigma.astype(float))
    with pytest.raises(DimrError, match=r"a\.npz: sigma is not a covariance"):
        read_statistics(path, 4)
