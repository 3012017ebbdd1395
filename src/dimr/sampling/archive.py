"""A folder of image shards as one ADM-style ``.npz``, in constant memory."""

import hashlib
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from dimr.data.shards import MANIFEST, read_manifest
from dimr.errors import DimrError
from dimr.files import atomic_file
from dimr.progress import progress_bar

BLOCK = 4 * 2**20  # bytes that are held at a time


def write_npz(folder: Path, out: Path) -> None:
    """Write ``out`` with the images of a shard folder as ``arr_0``, uint8 (N, H, W, 3).

    The entry is stored uncompressed, as ``np.savez`` does it, in zip64: it may be of any size. Each
    shard is compared with its checksum on the way.

    Raises:
        DimrError: names the shard that is not what was written; ``out`` is then as it was before.
    """
    manifest = read_manifest(folder)
    header = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)),
        "fortran_order": False,
        "shape": (manifest["count"], *manifest["shape"]),
    }
    with (
        atomic_file(out) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
        archive.open("arr_0.npy", "w", force_zip64=True) as entry,
    ):
        np.lib.format.write_array_header_1_0(entry, header)
        for shard in progress_bar(manifest["shards"], description=out.name, unit="shard"):
            _append(entry, folder / shard["file"], shard["sha256"])


def _append(entry: IO[Any], shard: Path, checksum: str) -> None:
    """Copy the values of a ``.npy`` file."""
    with open(shard, "rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
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
