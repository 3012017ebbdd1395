"""The devkit of ILSVRC2012: which classes the training archive has, and how many images of each."""

import gzip
import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dimr.data.imagenet.members import members
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

NAME = "ILSVRC2012_devkit_t12.tar.gz"
TABLE = "data/meta.mat"
TABLE_BYTES = 2**26
"""Of the table at most, as it is stored and unpacked."""
VARIABLES = 1000
"""Of the table at most; one is read."""
UNPACKED_BYTES = 2**28
"""Of the devkit that are unpacked at most."""
BLOCK = 2**20
"""Bytes that are unpacked at a time."""
COMPRESSED = 15
"""The kind of a compressed variable in the table."""
MEMBERS = 1000
"""Of the devkit that are looked at, at most."""


@dataclass(frozen=True)
class Synset:
    """A class: its words for people, comma-separated, and how many training images it has."""

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
    """The bytes of the table: read to memory, nothing is extracted."""
    try:
        with gzip.open(path) as file:
            for number, member in enumerate(members(file, UNPACKED_BYTES, str(path))):
                if number == MEMBERS:
                    raise DimrError(f"{path}: holds more than {MEMBERS} members")
                if member.name.endswith(f"/{TABLE}") and member.isreg():
                    if member.size > TABLE_BYTES:
                        raise DimrError(f"{path}: {TABLE}: {member.size} bytes, too large")
                    file.seek(member.offset_data)
                    return file.read(member.size)
    except (OSError, EOFError, zlib.error) as error:
        raise DimrError(f"{path}: truncated or no .tar.gz ({single_line(error)})") from None
    raise DimrError(f"{path}: holds no {TABLE}")


def _check_unpacked(table: bytes) -> None:
    """Refuse a table whose compressed variables are more than a table can be (``ValueError``).

    After 128 bytes, the last two of which say the order of bytes, come variables: kind, size,
    content. Source: MATLAB's "MAT-File Format", level 5.
    """
    order = ">" if table[126:128] == b"MI" else "<"
    position, left = 128, TABLE_BYTES
    for _ in range(VARIABLES):
        if position + 8 > len(table):
            return
        kind, size = struct.unpack_from(f"{order}II", table, position)
        if kind == COMPRESSED:
            packed, unpacker = table[position + 8 : position + 8 + size], zlib.decompressobj()
            while packed:
                left -= len(unpacker.decompress(packed, BLOCK))
                if left < 0:
                    raise ValueError(f"unpacks to more than {TABLE_BYTES:,} bytes")
                packed = unpacker.unconsumed_tail
        position += 8 + size
    raise ValueError(f"more than {VARIABLES} variables")
