"""Archives whose headers lie: one line, at once, and next to no memory."""

import contextlib
import gzip
import io
import re
import struct
import tarfile
import tracemalloc
import zlib

import pytest
from tests.support.miniature import ARCHIVE, DEVKIT, tar_of, tar_with

from dimr.data.imagenet.archive import HEADER_BYTES, members, read_devkit
from dimr.runtime.errors import DimrError

WNID = "n01440764"
TABLE = "ILSVRC2012_devkit_t12/data/meta.mat"


@pytest.fixture(autouse=True)
def in_little_memory():
    """Every test here takes less memory than one image may have."""
    tracemalloc.start()
    yield
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6


def header(name, kind, size, content=b"", extended=False):
    """A header that claims ``size`` bytes, and the content that follows it, in whole blocks."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, 0
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = extended  # more about a sparse file's holes follows
    # base 256, which holds any number: GNU tar's form for large and negative ones
    block[124:136] = bytes([128 if size >= 0 else 255]) + size.to_bytes(11, "big", signed=True)
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block) + content + bytes(-len(content) % 512)


def pax(**records):
    """A pax record for the next member, as its own text says its length."""
    text = b""
    for key, value in records.items():
        body = f" {key.replace('_', '.')}={value}\n".encode()
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length += 1
        text += str(length).encode() + body
    return header("pax", tarfile.XHDTYPE, len(text), text)


PLAIN = header(f"{WNID}_1.JPEG", tarfile.REGTYPE, 3, b"\xff\xd8\xff")
LIES = {
    "long name of 100 GB": header("././@LongLink", tarfile.GNUTYPE_LONGNAME, 10**11, b"a"),
    "long link of 100 GB": header("././@LongLink", tarfile.GNUTYPE_LONGLINK, 10**11, b"a"),
    "long name below zero": header("././@LongLink", tarfile.GNUTYPE_LONGNAME, -512, b"a"),
    "pax of 100 GB": header("pax", tarfile.XHDTYPE, 10**11, b"13 path=a.tar\n"),
    "global pax of 100 GB": header("pax", tarfile.XGLTYPE, 10**11, b"13 path=a.tar\n"),
    "pax below zero": header("pax", tarfile.XHDTYPE, -1024),
    "size below zero": header("a.tar", tarfile.REGTYPE, -1536),
    "pax size below zero": pax(size=-1536) + header("a.tar", tarfile.REGTYPE, 0),
    "pax size of 100 GB": pax(size=10**11) + header("a.tar", tarfile.REGTYPE, 0),
    "headers of headers": header("@", tarfile.GNUTYPE_LONGNAME, 1, b"a") * 5000,
    "pax of pax": pax(comment="x") * 5000,
    "sparse for ever": header("a.tar", tarfile.GNUTYPE_SPARSE, 0, extended=True)
    + (bytes(504) + b"\1" + bytes(7)) * 5000,
}  # fmt: skip


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("before", [b"", PLAIN])
def test_headers_that_lie(lie, before):
    data = before + LIES[lie]
    with pytest.raises(DimrError, match=r"^x\.tar: [^\n]*$") as caught:
        for _ in members(io.BytesIO(data), 0, len(data), "x.tar"):
            pass
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("inner", [True, False])
def test_archives_with_headers_that_lie(lie, inner, miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    tars = {f"{wnid}.tar": tar_of(files) for wnid, files in miniature.files.items()}
    if inner:
        tars[f"{WNID}.tar"] = PLAIN + LIES[lie]
        path.write_bytes(tar_of(tars))
    else:
        path.write_bytes(LIES[lie] + tar_of(tars))
    message = refused(path)
    assert message.startswith(f"a/{ARCHIVE}: {WNID}.tar: " if inner else f"a/{ARCHIVE}: ")
    assert len(message) < 400


def test_long_names_and_pax_records_as_tar_writes_them_are_read():
    for kind in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        file = io.BytesIO()
        with tarfile.open(fileobj=file, mode="w", format=kind) as archive:
            for name in ("a" * 150, "b" * 4000, "é" * 90):
                info = tarfile.TarInfo(name)
                info.size = 3
                archive.addfile(info, io.BytesIO(b"abc"))
        size = file.tell()
        file.seek(0)
        found = [member.name for member in members(file, 0, size, "x.tar")]
        assert found == ["a" * 150, "b" * 4000, "é" * 90]


def test_what_is_slow_to_parse_is_short():
    """Python's pattern for pax records takes time that grows with the square of their length."""
    digits = b"1" * (HEADER_BYTES - 1024)
    data = header("pax", tarfile.XHDTYPE, len(digits), digits) + PLAIN
    with contextlib.suppress(DimrError):  # some releases of Python 3.11 refuse such a record
        assert len(list(members(io.BytesIO(data), 0, len(data), "x.tar"))) == 1


def test_sparse_members_are_refused(miniature, refused, tmp_path):
    path = miniature.archive(tmp_path / "a")
    sparse = pax(GNU_sparse_map="0,1", GNU_sparse_size=10**11) + header(
        f"{WNID}.tar", tarfile.REGTYPE, 0
    )
    path.write_bytes(sparse)
    assert refused(path) == f"a/{ARCHIVE}: '{WNID}.tar' is sparse, not a plain file"


# --- the devkit -----------------------------------------------------------------------------------


def bomb(before=b"", gigabytes=4):
    """A gzip of so many gigabytes of zeros, quickly made: one compressed piece, repeated."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    start = packer.compress(before) + packer.flush(zlib.Z_FULL_FLUSH)
    piece = zlib.compressobj(9, zlib.DEFLATED, -15)
    zeros = piece.compress(bytes(2**24)) + piece.flush(zlib.Z_FULL_FLUSH)
    return start + zeros * (gigabytes * 2**6) + packer.flush()


def refusal(path):
    with pytest.raises(DimrError, match=rf"{re.escape(str(path))}: [^\n]*$") as caught:
        read_devkit(path)
    return str(caught.value)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (header("readme.txt", tarfile.REGTYPE, 2**32), "a header leads to byte 4,294,9.* of 268,"),
        (header(TABLE, tarfile.REGTYPE, 2**32), r"data/meta\.mat: 4294967296 bytes, too large"),
        (header("@", tarfile.GNUTYPE_LONGNAME, 2**32), "a header of 4,294,967,296 bytes; allowed"),
    ],
)
def test_a_devkit_that_unpacks_to_gigabytes(head, message, tmp_path):
    path = tmp_path / DEVKIT
    path.write_bytes(bomb(head))
    assert path.stat().st_size < 6e6
    assert re.search(message, refusal(path))


def test_a_devkit_of_many_members(tmp_path):
    path = tmp_path / DEVKIT
    path.write_bytes(gzip.compress(header("readme.txt", tarfile.REGTYPE, 0) * 100_000, 1))
    assert refusal(path).endswith("holds more than 1000 members")


@pytest.mark.parametrize("lie", LIES)
def test_a_devkit_with_headers_that_lie(lie, tmp_path):
    path = tmp_path / DEVKIT
    path.write_bytes(gzip.compress(LIES[lie]))
    refusal(path)


def test_a_table_that_unpacks_to_gigabytes(tmp_path):
    zeros = bomb(gigabytes=1)
    packed = zlib.compress(b"", 9)[:2] + zeros[10:]  # zlib's header in the place of gzip's
    table = b"MATLAB 5.0".ljust(124) + b"\0\1IM" + struct.pack("<II", 15, len(packed)) + packed
    path = tmp_path / DEVKIT
    for content, message in (
        (table, "unpacks to more than 67,108,864 bytes"),
        (table[:128] + bytes(2**24), "more than 1000 variables"),
    ):
        path.write_bytes(gzip.compress(tar_with([(tarfile.TarInfo(TABLE), content)]), 1))
        assert f"not the table of synsets (ValueError: {message})" in refusal(path)
