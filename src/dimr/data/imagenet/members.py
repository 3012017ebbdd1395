"""Headers of tars that anybody may have made: what they claim is checked before it is believed.

``tarfile`` reads a long name or a pax record whole, however long the header says that it is, and
follows sizes below zero back to headers that it has read. Here a header costs little, and the next
one comes after it; else the archive is refused in one line.
"""

import tarfile
from collections.abc import Iterator
from typing import Any

from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

HEADER_BYTES = 2**13
"""Of one member's headers together: its name, and what pax records say of it."""


def members(file: Any, end: int, where: str) -> Iterator[tarfile.TarInfo]:
    """Headers of an uncompressed tar, of members of any kind, in their order.

    Args:
        file: open to be read as bytes, at the tar's beginning; nobody else may move it meanwhile.
        end: its bytes, or how many are read of it at most.
        where: begins the error's line.

    Raises:
        DimrError: damage; headers that are too long, lead back, or lead beyond the end.
        OSError: of reading.
    """
    guarded: Any = _Guarded(file, end)
    try:
        with tarfile.open(fileobj=guarded, mode="r:") as archive:
            while member := archive.next():
                if member.size < 0:
                    raise tarfile.ReadError(f"a member of {member.size} bytes")
                yield member
                guarded.left = HEADER_BYTES
    except (tarfile.TarError, ValueError, EOFError, RecursionError) as error:
        raise DimrError(f"{where}: truncated or no plain tar ({single_line(error)})") from None


class _Guarded:
    """The file that ``tarfile`` reads headers from; ``left``: bytes that it may read."""

    def __init__(self, file: Any, end: int) -> None:
        self._file, self._end, self.left = file, end, HEADER_BYTES

    def read(self, size: int) -> bytes:
        """As of any file, but for what no header needs."""
        if not 0 <= size <= self.left:
            raise tarfile.ReadError(f"a header of {size:,} bytes; allowed are {HEADER_BYTES:,}")
        self.left -= size
        return self._file.read(size)

    def tell(self) -> int:
        """As of any file."""
        return self._file.tell()

    def seek(self, position: int) -> int:
        """Forward only, and not beyond the end."""
        if position < self.tell():
            raise tarfile.ReadError("a header leads back")
        if position > self._end:
            raise tarfile.ReadError(f"a header leads to byte {position:,} of {self._end:,}")
        return self._file.seek(position)
