"""Arrays of a ``.npz`` file: small ones read whole, large ones as a stream in constant memory.

A member is read in order to its end, where zip's checksum is compared, stored or deflated alike; a
memory map of a stored member would go without the comparison.
"""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dimr.errors import DimrError
from dimr.files import one_line

HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
DAMAGE = (
    OSError, ValueError, EOFError, RuntimeError, NotImplementedError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_arrays(path: str | Path, names: Sequence[str]) -> list[NDArray[Any]]:
    """Named arrays, read whole.

    Raises:
        DimrError: a missing, damaged or foreign file, an array that is not there or holds objects.
    """
    with _readable(path):
        with _archive(path) as archive:
            for name in names:
                _require(path, archive, name)
        with np.load(path, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]


def array_names(path: str | Path) -> list[str]:
    """Names of the arrays that the file holds."""
    with _readable(path), _archive(path) as archive:
        return _names(archive)


def array_header(path: str | Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of a named array; nothing of it is read."""
    with _member(path, name) as file:
        return _header(path, file)


def array_pieces(path: str | Path, name: str, rows: int) -> Iterator[NDArray[Any]]:
    """A named array piece by piece, ``rows`` of its first axis at a time (the last may be fewer).

    Raises:
        DimrError: as ``load_arrays``; damage may show only at the last piece.
    """
    with _member(path, name) as file:
        shape, dtype = _header(path, file)
        row = int(np.prod(shape[1:])) * dtype.itemsize
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
def _readable(path: str | Path) -> Iterator[None]:
    """Turn what damaged archives raise into one line that names the file."""
    try:
        yield
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except DAMAGE as error:
        raise DimrError(f"{path}: not readable as .npz ({one_line(error)})") from None


def _archive(path: str | Path) -> zipfile.ZipFile:
    with open(path, "rb") as file:
        if file.read(6) == np.lib.format.MAGIC_PREFIX:
            raise DimrError(f"{path}: a single array; expected an .npz")
    return zipfile.ZipFile(path)


def _names(archive: zipfile.ZipFile) -> list[str]:
    return [name.removesuffix(".npy") for name in archive.namelist()]


def _require(path: str | Path, archive: zipfile.ZipFile, name: str) -> None:
    if name not in (names := _names(archive)):
        held = ", ".join(names) or "nothing"
        raise DimrError(f"{path}: holds {held}; expected an array {name}")


@contextlib.contextmanager
def _member(path: str | Path, name: str) -> Iterator[IO[bytes]]:
    """A named array's bytes, header first."""
    with _readable(path), _archive(path) as archive:
        _require(path, archive, name)
        with archive.open(f"{name}.npy") as file:
            yield file


def _header(path: str | Path, file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f".npy format {version} of an array")
    shape, fortran_order, dtype = HEADERS[version](file)
    if fortran_order and len(shape) > 1:
        raise DimrError(f"{path}: an array in Fortran order; expected C order")
    return shape, dtype
