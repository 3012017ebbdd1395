"""The images of one parquet shard, sorted by class: parquet shards are shuffled, tars are not.

``spill/00012.bin`` holds the files one after another by (label, name), ``00012.npy`` a ``ROW`` of
each, ``00012.json`` is written last. A class's images lie together, so that a class is one read a
shard.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.imagenet.names import NAME_BYTES, check_content, official_name
from dimr.data.imagenet.resumable_store import Work
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_file, read_json, save_array, single_line

ROW = np.dtype(
    [
        ("label", "<i4"),
        ("name", f"S{NAME_BYTES}"),  # empty: the parquet file has none
        ("row", "<i4"),
        ("offset", "<i8"),
        ("size", "<i4"),
    ]
)
BATCH = 64
"""Rows that are converted at a time."""


@dataclass(frozen=True)
class Spill:
    """One shard's images in ``work``; ``number`` is the shard's."""

    work: Work
    number: int

    def taken(self, size: int) -> bool:
        """Whether the shard, of so many bytes, was taken in."""
        note = self.work.notes.read(self._path("json"))
        return note is not None and note["shard_bytes"] == size

    @property
    def wnids(self) -> dict[int, str]:
        """WordNet ids by label, as far as names of files tell them."""
        return {int(label): wnid for label, wnid in read_json(self._path("json"))["wnids"].items()}

    @property
    def rows(self) -> NDArray[Any]:
        """The shard's ``ROW`` entries, sorted by label; a memory map."""
        return np.load(self._path("npy"), mmap_mode="r", allow_pickle=False)

    def write(self, shard: Path, size: int, classes: int) -> None:
        """Take a shard of ``size`` bytes in; its images are held in memory (0.5 GB of ImageNet's).

        ``DimrError`` names the shard and the row that is not an image with a label.
        """
        wnids: dict[int, str] = {}
        images = []
        for row, (label, path, data) in enumerate(_read(shard)):
            where = f"{shard}: row {row}"
            if label is None or not 0 <= label < classes:
                raise DimrError(f"{where}: label {label} (allowed: 0 to {classes - 1})")
            name, wnid = official_name(path, where) if path else ("", None)
            if data is None:
                raise DimrError(f"{where}: {name or 'the image'} has no bytes")
            check_content(name or "the image", data, where)
            if wnid and wnids.setdefault(label, wnid) != wnid:
                raise DimrError(f"{where}: {name} has label {label}, which is {wnids[label]}")
            images.append((label, name, row, data))
        images.sort(key=lambda image: image[:3])
        sizes = [len(data) for *_, data in images]
        offsets = np.cumsum([0, *sizes])[:-1].tolist()
        entries = [
            (label, name.encode(), row, offset, length)
            for (label, name, row, _), offset, length in zip(images, offsets, sizes, strict=True)
        ]
        with atomic_file(self._path("bin")) as temporary, open(temporary, "wb") as file:
            file.writelines(data for *_, data in images)
        with atomic_file(self._path("npy")) as temporary:
            save_array(np.array(entries, ROW), temporary)
        files = {self._path("bin"): None, self._path("npy"): None}
        self.work.notes.write(self._path("json"), files, shard_bytes=size, wnids=wnids)

    def images(self, label: int, wnid: str) -> Iterator[tuple[str, memoryview]]:
        """The (name, bytes) of a class, read at once.

        An image without a name is called by where it was: ``n01440764_00012_000345.JPEG`` is row
        345 of shard 12.
        """
        rows = self.rows
        first, end = np.searchsorted(rows["label"], [label, label + 1])
        if first == end:
            return
        start = int(rows[first]["offset"])
        length = int(rows[end - 1]["offset"]) + int(rows[end - 1]["size"]) - start
        with open(self._path("bin"), "rb", buffering=0) as file:
            block = memoryview(os.pread(file.fileno(), length, start))
        if len(block) != length:
            raise DimrError(f"{self._path('bin')}: truncated; remove {self._path('json')}")
        for row in rows[first:end]:
            at = int(row["offset"]) - start
            name = row["name"].decode() or f"{wnid}_{self.number:05d}_{row['row']:06d}.JPEG"
            yield name, block[at : at + int(row["size"])]

    def _path(self, kind: str) -> Path:
        return self.work.folder / "spill" / f"{self.number:05d}.{kind}"


def count_rows(shard: Path) -> int:
    """Rows of a parquet file, from its footer; ``DimrError`` if it is damaged or has no images."""
    return _opened(shard).metadata.num_rows


def _opened(shard: Path) -> Any:
    import pyarrow.parquet as pq  # slow to import

    try:
        file = pq.ParquetFile(shard)
    except Exception as error:  # arrow's errors have no common base
        raise DimrError(f"{shard}: truncated or no parquet file ({single_line(error)})") from None
    found = {file.schema.column(i).path: str(file.schema.column(i).physical_type)
             for i in range(len(file.schema))}  # fmt: skip
    wanted = {"image.bytes": "BYTE_ARRAY", "image.path": "BYTE_ARRAY", "label": "INT64"}
    for column, kind in wanted.items():
        if found.get(column) != kind:
            raise DimrError(
                f"{shard}: column {column} is {found.get(column, 'missing')}, should be {kind}"
            )
    return file


def _read(shard: Path) -> Iterator[tuple[int | None, str | None, bytes | None]]:
    """Label, path and bytes of every row."""
    try:
        file = _opened(shard)
        for batch in file.iter_batches(BATCH, columns=["image", "label"]):
            images, labels = batch.column("image"), batch.column("label")
            yield from zip(
                labels.to_pylist(),
                images.field("path").to_pylist(),
                images.field("bytes").to_pylist(),
                strict=True,
            )
    except DimrError:
        raise
    except Exception as error:  # arrow's errors have no common base
        raise DimrError(f"{shard}: damaged ({single_line(error)})") from None
