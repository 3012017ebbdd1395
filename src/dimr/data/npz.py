"""Arrays of ``.npz`` files: small ones read whole, large ones read and written as a stream.

A member, stored or deflated, is read in order to its end, where zip's checksum is compared; a
memory map of a stored member would skip the comparison. What a header states is compared with the
bytes that follow before it is used.
"""

import contextlib
import hashlib
import math
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from dimr.data.shards import MANIFEST, FileEntry, ShardManifest
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import require_file, single_line
from dimr.runtime.progress import progress_bar

HEADERS = {
    (1, 0): npy.read_array_header_1_0,
    (2, 0): npy.read_array_header_2_0,
}
DAMAGE = (
    OSError, ValueError, EOFError, RuntimeError, NotImplementedError, MemoryError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
SUFFIX = ".npy"
"""Suffix of an array's name in the archive."""
DENSEST = 1100
"""Bytes that one deflated byte can expand to (1,032), and a little more."""
BLOCK = 4 * 2**20
"""Bytes that are copied at a time."""


def load_arrays(path: str | Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Named arrays, read whole.

    Raises:
        DimrError: a missing, damaged or foreign file, an array that is not there or holds objects.
    """
    for name in names:
        array_header(path, name)  # its claims are checked before memory is allocated
    with _readable(path), np.load(path, allow_pickle=False) as arrays:
        return [arrays[name] for name in names]


def array_names(path: str | Path) -> list[str]:
    """Names of the arrays that the file holds."""
    with _readable(path), _archive(path) as archive:
        return _names(archive)


def array_header(path: str | Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a named array; its values are not read.

    Raises:
        DimrError: as ``load_arrays``; also a header that does not fit the bytes that are there.
    """
    with _member(path, name) as (file, size):
        return _header(f"{path}: {name}", file, size)


def file_header(path: str | Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the array of an ``.npy`` file; errors as for ``array_header``."""
    require_file(path)
    with _readable(path, SUFFIX), open(path, "rb") as file:
        return _header(str(path), file, os.fstat(file.fileno()).st_size)


def array_pieces(path: str | Path, name: str, rows: int) -> Iterator[NDArray[Any]]:
    """A named array piece by piece, ``rows`` of its first axis at a time (the last may be fewer).

    Raises:
        DimrError: as ``array_header``; damage may show only at the last piece.
    """
    with _member(path, name) as (file, size):
        shape, dtype = _header(f"{path}: {name}", file, size)
        row = math.prod(shape[1:]) * dtype.itemsize
        for start in range(0, shape[0], rows):
            count = min(rows, shape[0] - start)
            data = file.read(count * row)
            if len(data) != count * row:
                raise DimrError(f"{path}: {name} ends after {start + len(data) // row} rows")
            if start + count == shape[0]:
                file.read(1)  # the end of the member: the checksum is compared here
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])


def check_whole(path: str | Path) -> None:
    """Read every member and compare its checksum; ``DimrError`` names the file."""
    with _readable(path), _archive(path) as archive:
        if (bad := archive.testzip()) is not None:
            raise DimrError(f"{path}: not readable as .npz (checksum of {bad} differs)")


@contextlib.contextmanager
def _readable(path: str | Path, kind: str = ".npz") -> Iterator[None]:
    """Turn what damaged files raise into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise DimrError(f"{path}: not readable as {kind} ({single_line(error)})") from None


def _archive(path: str | Path) -> zipfile.ZipFile:
    """The archive, after checking that no member claims more bytes than the file can expand to."""
    if not Path(path).is_file() and Path(path).exists():
        raise DimrError(f"{path}: not a file; expected an .npz")
    with open(path, "rb") as file:
        if file.read(6) == npy.MAGIC_PREFIX:
            raise DimrError(f"{path}: a single array; expected an .npz")
        there = os.fstat(file.fileno()).st_size
    archive = zipfile.ZipFile(path)
    name, times = next(iter(Counter(archive.namelist()).most_common(1)), ("", 0))
    if times > 1:
        archive.close()
        raise DimrError(f"{path}: holds {name[:99]!r} {times} times: which?")
    if sum(member.file_size for member in archive.infolist()) > DENSEST * there:
        archive.close()
        raise DimrError(f"{path}: not readable as .npz (claims more than {there} bytes can hold)")
    return archive


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(SUFFIX) for name in archive.namelist() if name.endswith(SUFFIX)]


@contextlib.contextmanager
def _member(path: str | Path, name: str) -> Iterator[tuple[IO[bytes], int]]:
    """A named array's bytes, header first, and their number."""
    with _readable(path), _archive(path) as archive:
        if name not in (names := _names(archive)):
            held = ", ".join(names) or "nothing"
            raise DimrError(f"{path}: holds {held[:200]}; expected an array {name}")
        member = archive.getinfo(f"{name}{SUFFIX}")
        with archive.open(member) as file:
            yield file, member.file_size


def _header(what: str, file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype that the next bytes of ``file`` state, of an array of ``size`` bytes in all.

    Raises:
        DimrError: what no plain array states, or another number of bytes than there are.
    """
    version = npy.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"{SUFFIX} format {version} of an array")
    try:
        shape, fortran_order, dtype = HEADERS[version](file)
    except Exception as error:  # numpy's parser raises nearly anything
        raise ValueError(f"header: {single_line(error)[:200]}") from None
    if dtype.hasobject:
        raise DimrError(f"{what}: holds Python objects; expected plain numbers")
    if any(type(side) is not int or side < 0 for side in shape):
        raise DimrError(f"{what}: shape {str(shape)[:99]} is none that an array can have")
    if fortran_order and len(shape) > 1:
        raise DimrError(f"{what}: an array in Fortran order; expected C order")
    if file.tell() + math.prod(shape) * dtype.itemsize != size:
        stated = f"{dtype} {str(shape)[:99]}"
        raise DimrError(f"{what}: its header states {stated}, which {size:,} bytes are not")
    return shape, dtype


def write_npz(folder: Path, out: Path) -> None:
    """Write a folder of image shards as an ADM-style ``.npz``, in constant memory.

    It holds the images, ``arr_0`` uint8 (N, H, W, 3), and their labels, ``arr_1`` (N,) int64,
    uncompressed as ``np.savez`` does it, in zip64: of any size. Each file is compared with its
    checksum on the way.

    Raises:
        DimrError: names the shard that is damaged; ``out`` is then as it was before.
    """
    manifest = ShardManifest.read(folder)
    shape = (manifest.count, *manifest.shape)
    arrays: tuple[tuple[Any, tuple[int, ...], Sequence[FileEntry]], ...] = (
        (np.uint8, shape, manifest.shards),
        (np.int64, shape[:1], [manifest.labels]),
    )
    with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for number, (kind, sides, files) in enumerate(arrays):
            descr = npy.dtype_to_descr(np.dtype(kind))
            header = {"descr": descr, "fortran_order": False, "shape": sides}
            with archive.open(f"arr_{number}{SUFFIX}", "w", force_zip64=True) as member:
                npy.write_array_header_1_0(member, header)
                bar = progress_bar(files, description=out.name, unit="file", shown=len(files) > 1)
                for entry in bar:
                    _append(member, folder / entry.file, entry.sha256)


def _append(member: IO[bytes], shard: Path, checksum: str) -> None:
    """Copy the values of a ``.npy`` file."""
    with open(shard, "rb") as file:
        npy.read_magic(file)
        npy.read_array_header_1_0(file)
        values = file.tell()
        file.seek(0)
        digest = hashlib.sha256(file.read(values))
        while block := file.read(BLOCK):
            digest.update(block)
            member.write(block)
    if digest.hexdigest() != checksum:
        raise DimrError(
            f"{shard}: checksum differs from {MANIFEST}; remove it, and the same command "
            "regenerates it"
        )
