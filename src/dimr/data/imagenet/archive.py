"""Images in the official archive: ``ILSVRC2012_img_train.tar``, a tar of one tar a class.

Nothing is extracted to paths: members are found, checked by name and kind, and their bytes copied.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from dimr.config.schema import Source
from dimr.data.imagenet.devkit import NAME as DEVKIT
from dimr.data.imagenet.devkit import read_devkit
from dimr.data.imagenet.digest import check_md5
from dimr.data.imagenet.members import members
from dimr.data.imagenet.names import WNID, check_name, check_size
from dimr.data.imagenet.resumable_store import Work
from dimr.data.imagenet.source import ClassFiles, ImageSource, missing_bytes
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

NAME = "ILSVRC2012_img_train.tar"


class ArchiveSource(ImageSource):
    """The archive, with its devkit beside it. ``DimrError`` names archive and member."""

    kind = "archive"

    def __init__(self, path: Path, config: Source) -> None:
        self.path, self.where, self.config = path, str(path), config
        self._bad = set(config.known_bad)
        if not path.is_file():
            raise DimrError(f"{path}: not a file")
        synsets = read_devkit(path.with_name(DEVKIT))
        self.words = {wnid: synset.words for wnid, synset in synsets.items()}
        self._tars = self._inner_tars()
        if different := sorted(self._tars.keys() ^ synsets.keys()):
            which = "lacks" if different[0] in synsets else "alone has"
            more = f" (and {len(different) - 1} more differ)" if len(different) > 1 else ""
            raise DimrError(f"{path}: {which} class {different[0]} of {DEVKIT}{more}")
        bad = [name.split("_")[0] for name in self._bad]
        self._classes = {
            wnid: ClassFiles(synset.images - bad.count(wnid), self._tars[wnid].size)
            for wnid, synset in synsets.items()
        }

    def facts(self) -> dict[str, Any]:
        """With the archives' MD5 where it was verified."""
        verified = {n: self.config.md5[n] for n in (NAME, DEVKIT) if n in self.config.md5}
        return {**super().facts(), "md5": verified}

    def space(self, work: Work) -> int:
        """The sizes of the inner tars are known."""
        return missing_bytes(self._classes, work)

    def prepare(self, work: Work) -> None:
        """Compare the MD5 of both archives, once; that of the images may have any name."""
        for name, path in ((DEVKIT, self.path.with_name(DEVKIT)), (NAME, self.path)):
            if name in self.config.md5:
                check_md5(path, self.config.md5[name], work.folder / "verified.json")

    def classes(self) -> dict[str, ClassFiles]:
        """As the devkit has them; their bytes are those of their tars."""
        return self._classes

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """Members are listed first, then read one by one in the order of their names."""
        where = f"{self.path}: {self._tars[wnid].name}"
        with open(self.path, "rb", buffering=0) as file:
            window = _Window(file, self._tars[wnid])
            found = {}
            reader = io.BufferedReader(window)
            for member in _plain_files(reader, self._tars[wnid].size, where):
                name = check_name(member.name, where)
                if name in found:
                    raise DimrError(f"{where}: {name} is there twice")
                check_size(name, member.size, where)
                found[name] = member
            for name in sorted(found.keys() - self._bad):
                yield name, window.member(found[name], where)

    def _inner_tars(self) -> dict[str, tarfile.TarInfo]:
        found: dict[str, tarfile.TarInfo] = {}
        try:
            size = self.path.stat().st_size
            with open(self.path, "rb") as file:
                for member in _plain_files(file, size, self.where):
                    wnid = member.name.removesuffix(".tar")
                    if not WNID.fullmatch(wnid) or wnid == member.name:
                        raise DimrError(f"{self.path}: {member.name[:200]!r} is no tar of a class")
                    if wnid in found:
                        raise DimrError(f"{self.path}: {member.name} is there twice")
                    if member.offset_data + member.size > size:
                        raise DimrError(f"{self.path}: truncated in {member.name}")
                    found[wnid] = member
        except OSError as error:
            raise DimrError(f"{self.path}: not readable ({single_line(error)})") from None
        return found


def _plain_files(file: Any, size: int, where: str) -> Iterator[tarfile.TarInfo]:
    """Headers of an uncompressed tar; only plain files are let through."""
    for member in members(file, size, where):
        if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE) or member.issparse():
            name = member.name[:200]
            raise DimrError(f"{where}: {name!r} is {_kind(member)}, no plain file")
        yield member


def _kind(member: tarfile.TarInfo) -> str:
    kinds = {
        tarfile.SYMTYPE: "a link",
        tarfile.LNKTYPE: "a link",
        tarfile.DIRTYPE: "a folder",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a pipe",
    }
    return "sparse" if member.issparse() else kinds.get(member.type, f"of type {member.type!r}")


class _Window(io.RawIOBase):
    """A tar within an open tar, as a file of its own."""

    def __init__(self, file: BinaryIO, tar: tarfile.TarInfo) -> None:
        self._file, self._start, self._size, self._position = file, tar.offset_data, tar.size, 0

    def member(self, member: tarfile.TarInfo, where: str) -> bytes:
        """The bytes of a member of the inner tar."""
        data = self._at(member.offset_data, member.size)
        if len(data) != member.size:
            raise DimrError(f"{where}: truncated in {member.name}")
        return data

    def _at(self, position: int, size: int) -> bytes:
        size = max(0, min(size, self._size - position))
        try:
            return os.pread(self._file.fileno(), size, self._start + position)
        except OSError as error:
            raise DimrError(f"{self._file.name}: not readable ({single_line(error)})") from None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Bytes from the inner tar's beginning."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        """As of any file."""
        data = self._at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
