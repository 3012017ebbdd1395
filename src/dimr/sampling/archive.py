"""A folder of image shards as one ADM-style ``.npz``, in constant memory."""

import hashlib
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib.format import (
    dtype_to_descr,
    read_array_header_1_0,
    read_magic,
    write_array_header_1_0,
)

from dimr.data.shards import MANIFEST, read_manifest
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_file
from dimr.runtime.progress import progress_bar

BLOCK = 4 * 2**20  # bytes that are held at a time


def write_npz(folder: Path, out: Path) -> None:
    """Write ``out``: the images of a shard folder, ``arr_0`` uint8 (N, H, W, 3), and ``arr_1``.

    ``arr_1`` are their labels (N,) int64. Entries are stored uncompressed, as ``np.savez`` does it,
    in zip64: they may be of any size. Each file is compared with its checksum on the way.

    Raises:
        DimrError: names the shard that is not what was written; ``out`` is then as it was before.
    """
    manifest = read_manifest(folder)
    count, shards, labels = manifest["count"], manifest["shards"], manifest["labels"]
    entries = (
        ("arr_0.npy", np.dtype(np.uint8), (count, *manifest["shape"]), shards),
        ("arr_1.npy", np.dtype(np.int64), (count,), [labels]),
    )
    with atomic_file(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, dtype, shape, parts in entries:
            header = {"descr": dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            with archive.open(name, "w", force_zip64=True) as entry:
                write_array_header_1_0(entry, header)
                bar = progress_bar(parts, description=out.name, unit="file", shown=len(parts) > 1)
                for part in bar:
                    _append(entry, folder / part["file"], part["sha256"])


def _append(entry: IO[Any], shard: Path, checksum: str) -> None:
    """Copy the values of a ``.npy`` file."""
    with open(shard, "rb") as file:
        read_magic(file)
        read_array_header_1_0(file)
        values = file.tell()
        file.seek(0)
        digest = hashlib.sha256(file.read(values))
        while block := file.read(BLOCK):
            digest.update(block)
            entry.write(block)
    if digest.hexdigest() != checksum:
        raise DimrError(
            f"{shard}: checksum differs from {MANIFEST}; remove it, and the same command makes it "
            "again"
        )
