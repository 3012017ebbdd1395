"""Images in the official archive: ``ILSVRC2012_img_train.tar``, a tar of one tar per class.

Beside it lies the devkit, which says which classes there are, and how many images of each. Nothing
is extracted to paths: members are found, checked by name and kind, and their bytes copied. Anybody
may have made a tar, so what its headers claim is checked first: ``tarfile`` reads a long name or a
pax record whole, however long the header says that it is, and follows sizes below zero back to
headers that it has read.
"""

import contextlib
import gzip
import hashlib
import io
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dimr.config.schema import Source
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.source import WNID, ClassFiles, ImageSource, check_name, check_size
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line, write_json
from dimr.runtime.progress import progress_bar

NAME = "ILSVRC2012_img_train.tar"
DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
HEADER_BYTES = 2**13
"""Limit for one member's headers together: its name, and its pax records."""
KINDS = {
    tarfile.SYMTYPE: "a link",
    tarfile.LNKTYPE: "a link",
    tarfile.DIRTYPE: "a folder",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}
"""What messages call members that are not plain files."""
TABLE = "data/meta.mat"
TABLE_BYTES = 2**26
"""Limit for the devkit's table, as it is stored and unpacked."""
UNPACKED_BYTES = 2**28
"""How much of the devkit is unpacked at most."""
MOST = 1000
"""How many members of the devkit, and variables of its table, are looked at."""
COMPRESSED = 15
"""The kind of a compressed variable in the table."""


class ArchiveSource(ImageSource):
    """The archive, with its devkit beside it. ``DimrError`` names archive and member."""

    kind = "archive"

    def __init__(self, path: Path, config: Source) -> None:
        super().__init__(str(path), config)
        self.path, self.devkit = path, path.with_name(DEVKIT)
        if not path.is_file():
            raise DimrError(f"{path}: not a file")
        synsets = read_devkit(self.devkit)
        self.words = {wnid: synset.words for wnid, synset in synsets.items()}
        self._tars = self._inner_tars()
        if different := sorted(self._tars.keys() ^ synsets.keys()):
            one = different[0]
            problem = f"of {DEVKIT} is missing" if one in synsets else f"is not in {DEVKIT}"
            more = f" (and {len(different) - 1} more differ)" if len(different) > 1 else ""
            raise DimrError(f"{path}: class {one} {problem}{more}")
        bad = [name.split("_")[0] for name in self.known_bad]
        self._classes = {
            wnid: ClassFiles(synset.images - bad.count(wnid), self._tars[wnid].size)
            for wnid, synset in synsets.items()
        }

    def facts(self) -> dict[str, Any]:
        """With the archives' MD5 where it was verified."""
        verified = {n: self.config.md5[n] for n in (NAME, DEVKIT) if n in self.config.md5}
        return {**super().facts(), "md5": verified}

    def prepare(self, work: StoreWork) -> None:
        """Compare the MD5 of both archives, once; the images' archive may have any name."""
        for name, path in ((DEVKIT, self.devkit), (NAME, self.path)):
            if name in self.config.md5:
                check_md5(path, self.config.md5[name], work.folder / "verified.json")

    def classes(self) -> dict[str, ClassFiles]:
        """As the devkit has them; their bytes are those of their tars."""
        return self._classes

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """Members are listed first, then read one by one in the order of their names."""
        tar = self._tars[wnid]
        where, found = f"{self.path}: {tar.name}", {}
        with _readable(self.where), open(self.path, "rb") as file:
            for member in _plain_files(file, tar.offset_data, tar.size, where):
                name = check_name(member.name, where)
                if name in found:
                    raise DimrError(f"{where}: {name} is in it twice")
                check_size(name, member.size, where)
                found[name] = member
            for name in sorted(found.keys() - self.known_bad):
                member = found[name]
                start = tar.offset_data + member.offset_data
                data = os.pread(file.fileno(), member.size, start)
                if len(data) != member.size or member.offset_data + member.size > tar.size:
                    raise DimrError(f"{where}: truncated in {name}")
                yield name, data

    def _inner_tars(self) -> dict[str, tarfile.TarInfo]:
        found: dict[str, tarfile.TarInfo] = {}
        with _readable(self.where), open(self.path, "rb") as file:
            size = self.path.stat().st_size
            for member in _plain_files(file, 0, size, self.where):
                wnid = member.name.removesuffix(".tar")
                if not WNID.fullmatch(wnid) or wnid == member.name:
                    raise DimrError(f"{self.path}: {member.name[:200]!r} is not the tar of a class")
                if wnid in found:
                    raise DimrError(f"{self.path}: {member.name} is in it twice")
                if member.offset_data + member.size > size:
                    raise DimrError(f"{self.path}: truncated in {member.name}")
                found[wnid] = member
        return found


@contextlib.contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DimrError(f"{where}: not readable ({single_line(error)})") from None


# --- tars -----------------------------------------------------------------------------------------


def members(file: Any, start: int, size: int, where: str) -> Iterator[tarfile.TarInfo]:
    """Headers of an uncompressed tar within a file, of members of any kind, in their order.

    Args:
        file: open for reading bytes; nobody else may move its position meanwhile.
        start: where the tar begins; positions of members are counted from here.
        size: of the tar, or how many bytes of it are read at most.
        where: begins the error's line.

    Raises:
        DimrError: damage; headers that are too long, lead back, or lead beyond the end.
        OSError: of reading.
    """
    guarded: Any = _Guarded(file, start, size)
    try:
        with tarfile.open(fileobj=guarded, mode="r:") as archive:
            while member := archive.next():
                if member.size < 0:
                    raise tarfile.ReadError(f"a member of {member.size} bytes")
                yield member
                guarded.left = HEADER_BYTES
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise DimrError(
            f"{where}: truncated or not an uncompressed tar ({single_line(error)})"
        ) from None


class _Guarded:
    """The tar that ``tarfile`` reads headers from; ``left``: bytes that it may read."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file, self._start, self._size, self.left = file, start, size, HEADER_BYTES
        file.seek(start)

    def read(self, size: int) -> bytes:
        """As for any file, but refuses more than a header needs."""
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a header of {size:,} bytes; allowed are {HEADER_BYTES:,}")
        self.left -= size
        return self._file.read(min(size, self._size - self.tell()))

    def tell(self) -> int:
        """Bytes from the tar's beginning."""
        return self._file.tell() - self._start

    def seek(self, position: int) -> None:
        """Forward only, and not beyond the end."""
        if position < self.tell():
            raise tarfile.ReadError("a header leads back")
        if position > self._size:
            raise tarfile.ReadError(f"a header leads to byte {position:,} of {self._size:,}")
        self._file.seek(self._start + position)


def _plain_files(file: Any, start: int, size: int, where: str) -> Iterator[tarfile.TarInfo]:
    """As ``members``; anything but plain files is refused."""
    for member in members(file, start, size, where):
        if member.issparse() or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            other = KINDS.get(member.type, f"of type {member.type!r}")
            kind = "sparse" if member.issparse() else other
            raise DimrError(f"{where}: {member.name[:200]!r} is {kind}, not a plain file")
        yield member


def check_md5(path: Path, wanted: str, notes: Path) -> None:
    """Compare a file's MD5 with the published one.

    Args:
        path: of the file.
        wanted: 32 hex digits.
        notes: a JSON file that remembers verified files by path, size and time of change, so that
            138 GB are not read again by the next start.

    Raises:
        DimrError: another MD5, with both.
    """
    status = path.stat()
    identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    verified = read_json(notes) if notes.exists() else {}
    if verified.get(identity) == wanted:
        return
    digest = hashlib.md5(usedforsecurity=False)
    about = f"MD5 of {path.name}"
    bar = progress_bar(total=status.st_size, description=about, unit="B", scale=True)
    with bar, open(path, "rb") as file:
        while chunk := file.read(2**22):
            digest.update(chunk)
            bar.update(len(chunk))
    if (found := digest.hexdigest()) != wanted:
        raise DimrError(f"{path}: its MD5 is {found}, published is {wanted}: download it again")
    write_json(notes, {**verified, identity: wanted})


# --- the devkit -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Synset:
    """A class: its human-readable words, comma-separated, and its number of training images."""

    words: str
    images: int


def read_devkit(path: Path) -> dict[str, Synset]:
    """The classes by WordNet id, sorted.

    ``data/meta.mat`` also lists the synsets above the classes: those that have children are left
    out. ``DimrError`` names what is missing or damaged.
    """
    if not path.is_file():
        raise DimrError(
            f"{path}: no such file: the devkit must lie beside the archive, it says what must be "
            "in it"
        )
    table = _read_table(path)
    try:
        from scipy.io import loadmat  # slow to import

        _check_unpacked(table)
        rows = np.atleast_1d(
            loadmat(io.BytesIO(table), squeeze_me=True, variable_names=["synsets"])["synsets"]
        )
        found = {
            str(row["WNID"]): Synset(str(row["words"]), int(row["num_train_images"]))
            for row in rows
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # scipy raises nearly anything on damaged files
        reason = f"{type(error).__name__}: {single_line(error)}"
        raise DimrError(f"{path}: {TABLE}: not the table of synsets ({reason})") from None
    return dict(sorted(found.items()))


def _read_table(path: Path) -> bytes:
    """The bytes of the table, read into memory; nothing is extracted."""
    try:
        with gzip.open(path) as file:
            for number, member in enumerate(members(file, 0, UNPACKED_BYTES, str(path))):
                if number == MOST:
                    raise DimrError(f"{path}: holds more than {MOST} members")
                if member.name.endswith(f"/{TABLE}") and member.isreg():
                    if member.size > TABLE_BYTES:
                        raise DimrError(f"{path}: {TABLE}: {member.size} bytes, too large")
                    file.seek(member.offset_data)
                    return file.read(member.size)
    except (OSError, EOFError, zlib.error) as error:
        raise DimrError(f"{path}: truncated or not a .tar.gz ({single_line(error)})") from None
    raise DimrError(f"{path}: holds no {TABLE}")


def _check_unpacked(table: bytes) -> None:
    """Refuse a table whose compressed variables exceed the size of a table (``ValueError``).

    After 128 bytes, the last two of which give the byte order, come variables: kind, size,
    content. Source: MATLAB's "MAT-File Format", level 5.
    """
    order = ">" if table[126:128] == b"MI" else "<"
    position, left = 128, TABLE_BYTES
    for _ in range(MOST):
        if position + 8 > len(table):
            return
        kind, size = struct.unpack_from(f"{order}II", table, position)
        if kind == COMPRESSED:
            packed, unpacker = table[position + 8 : position + 8 + size], zlib.decompressobj()
            while packed:
                left -= len(unpacker.decompress(packed, 2**20))
                if left < 0:
                    raise ValueError(f"unpacks to more than {TABLE_BYTES:,} bytes")
                packed = unpacker.unconsumed_tail
        position += 8 + size
    raise ValueError(f"more than {MOST} variables")
