"""Images in parquet shards, as the Hugging Face hub has them: here those of a folder.

Shards are shuffled, tars are not: each shard is first sorted by class into the work's folder
(``Spill``), then classes are read. That takes twice the images' space for a while.
"""

import contextlib
import itertools
import os
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.config.schema import Source
from dimr.data.classes import wordnet_ids
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.source import (
    NAME_BYTES,
    TAR_OVERHEAD,
    ClassFiles,
    ImageSource,
    check_content,
    check_name,
)
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import save_array, single_line
from dimr.runtime.progress import progress_bar

BELOW = ("", "data")
"""Where in a folder the shards may be."""
BATCH = 64
"""Rows that are converted at a time."""
COLUMNS = {"image.bytes": "BYTE_ARRAY", "image.path": "BYTE_ARRAY", "label": "INT64"}
ROW = np.dtype(
    [
        ("label", "<i4"),
        ("name", f"S{NAME_BYTES}"),  # empty: the parquet file has none
        ("row", "<i4"),
        ("offset", "<i8"),
        ("size", "<i4"),
    ]
)
_SHARD = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")
_OFFICIAL = re.compile(r"(n\d{8})_\d+(?:_(n\d{8}))?(\.\w+)")


@dataclass(frozen=True)
class Shard:
    """A shard by its path (in the folder, or in the repository), and its bytes."""

    path: str
    size: int
    sha256: str | None = None


class ShardsSource(ImageSource):
    """Shuffled shards. Labels must be the places of the sorted WordNet ids.

    Names of files tell the ids; without names they are known for ImageNet's 1,000 classes.
    """

    shards: Sequence[Shard]

    @abstractmethod
    def opened(self, shard: Shard, work: StoreWork) -> contextlib.AbstractContextManager[Path]:
        """The shard as a file, for as long as it is read."""

    def space(self, work: StoreWork) -> int:
        """Estimated by the shards' sizes: images take no less in them, as they do not compress."""
        missing = [s for n, s in enumerate(self.shards) if not Spill(work, n).taken(s.size)]
        tars = sum(tar.stat().st_size for tar in work.store.glob("*.tar"))
        stored = sum(shard.size for shard in self.shards) + self.config.images * TAR_OVERHEAD
        return sum(shard.size for shard in missing) + max(0, stored - tars)

    def prepare(self, work: StoreWork) -> None:
        """Take in the shards that are missing, one by one; then find the classes."""
        self._spills = [Spill(work, number) for number in range(len(self.shards))]
        pairs = list(zip(self._spills, self.shards, strict=True))
        todo = [(spill, shard) for spill, shard in pairs if not spill.taken(shard.size)]
        total = sum(shard.size for shard in self.shards)
        done = total - sum(shard.size for _, shard in todo)
        with progress_bar(
            total=total, initial=done, description="take in shards", unit="B", scale=True
        ) as bar:
            for spill, shard in todo:
                with self.opened(shard, work) as path:
                    spill.write(path, shard.size, self.config.classes)
                bar.update(shard.size)
        self._labels = {wnid: label for label, wnid in enumerate(self._find_wnids())}

    def classes(self) -> dict[str, ClassFiles]:
        """Counted over all shards."""
        counts, nbytes = np.zeros((2, len(self._labels)), np.int64)
        bad = [name.encode() for name in self.known_bad]
        for spill in self._spills:
            rows = spill.rows[~np.isin(spill.rows["name"], bad)] if bad else spill.rows
            np.add.at(counts, rows["label"], 1)
            np.add.at(nbytes, rows["label"], rows["size"])
        return {
            wnid: ClassFiles(int(counts[label]), int(nbytes[label]))
            for wnid, label in self._labels.items()
        }

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The class is read from every shard; all of it is in memory (0.2 GB of ImageNet's)."""
        label = self._labels[wnid]
        found = [image for spill in self._spills for image in spill.images(label, wnid)]
        for name, data in sorted(found, key=lambda image: image[0]):
            if name not in self.known_bad:
                yield name, bytes(data)

    def _find_wnids(self) -> list[str]:
        """WordNet ids by label; ``DimrError`` where they cannot be known, or are not sorted."""
        count = self.config.classes
        wnids = dict(enumerate(wordnet_ids(count)))
        for spill, shard in zip(self._spills, self.shards, strict=True):
            for label, wnid in spill.wnids.items():
                if wnids.setdefault(label, wnid) != wnid:
                    raise DimrError(
                        f"{self.where}: label {label} is {wnid} in {shard.path}, should be "
                        f"{wnids[label]}"
                    )
        if unknown := set(range(count)) - wnids.keys():
            raise DimrError(
                f"{self.where}: the WordNet id of label {min(unknown)} cannot be known: no image's "
                f"path tells it (as n01440764_10026.JPEG does), and {count} classes are not "
                "ImageNet's 1,000"
            )
        order = [wnids[label] for label in range(count)]
        for before, after in itertools.pairwise(order):
            if before >= after:
                raise DimrError(
                    f"{self.where}: labels are not the places of the sorted WordNet ids: {after} "
                    f"follows {before}"
                )
        return order


class ParquetSource(ShardsSource):
    """Shards in a folder, all of them; truncated ones are found before anything is written."""

    kind = "parquet"

    def __init__(self, folder: Path, config: Source) -> None:
        super().__init__(str(folder), config)
        paths = complete_set([path.name for path in folder.iterdir()], self.where)
        self._folder = folder
        for path in paths:
            if not (folder / path).is_file():
                raise DimrError(f"{folder / path}: not a file, or a link that leads nowhere")
        self.shards = [Shard(path, (folder / path).stat().st_size) for path in paths]
        names = progress_bar(paths, description="look through", unit="shard")
        rows = sum(_opened(folder / name).metadata.num_rows for name in names)
        if rows not in (config.images, config.images - len(config.known_bad)):
            raise DimrError(f"{folder}: {rows} images, should be {config.images}")

    @contextlib.contextmanager
    def opened(self, shard: Shard, work: StoreWork) -> Iterator[Path]:  # noqa: ARG002
        """Where it is."""
        yield self._folder / shard.path


def shard_folder(folder: Path) -> Path | None:
    """``folder``, or the one in it, that holds parquet shards."""
    for below in BELOW:
        if any((folder / below).glob("train-*.parquet")):
            return folder / below
    return None


def complete_set(paths: Sequence[str], where: str) -> list[str]:
    """The training shards among ``paths``, in order; ``DimrError`` names one that is missing."""
    shards: dict[int, str] = {}
    totals = set()
    for path in sorted(paths):
        if match := _SHARD.fullmatch(Path(path).name):
            if int(match[1]) in shards:
                raise DimrError(f"{where}: {path} and {shards[int(match[1])]} are the same shard")
            shards[int(match[1])] = path
            totals.add(int(match[2]))
    if len(totals) != 1:
        several = f"shards of {len(totals)} sets" if totals else "no train-00000-of-NNNNN.parquet"
        raise DimrError(f"{where}: {several}, should be the shards of one set")
    total = totals.pop()
    if missing := set(range(total)) - shards.keys():
        raise DimrError(f"{where}: train-{min(missing):05d}-of-{total:05d}.parquet is missing")
    return [shards[number] for number in sorted(shards)]


# --- one shard ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spill:
    """The images of shard ``number``, sorted by class, in ``work``.

    ``spill/00012.bin`` holds the files one after another by (label, name), ``00012.npy`` a ``ROW``
    for each. A class's images lie together, so that a class is one read per shard.
    """

    work: StoreWork
    number: int

    @property
    def _name(self) -> str:
        return f"spill/{self.number:05d}"

    def taken(self, size: int) -> bool:
        """Whether the shard, of so many bytes, was taken in."""
        note = self.work.finished(self._name)
        return note is not None and note["shard_bytes"] == size

    @property
    def wnids(self) -> dict[int, str]:
        """WordNet ids by label, as far as names of files tell them."""
        note = self.work.finished(self._name) or {"wnids": {}}
        return {int(label): wnid for label, wnid in note["wnids"].items()}

    @property
    def rows(self) -> NDArray[Any]:
        """The shard's ``ROW`` entries, sorted by label; a memory map."""
        return np.load(self._file("npy"), mmap_mode="r", allow_pickle=False)

    def write(self, shard: Path, size: int, classes: int) -> None:
        """Take a shard of ``size`` bytes in; its images are held in memory (0.5 GB of ImageNet's).

        ``DimrError`` names the shard and the row that is not an image with a label.
        """
        wnids: dict[int, str] = {}
        images = []
        for row, (label, path, data) in enumerate(read_rows(shard)):
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
        ends = itertools.accumulate(len(data) for *_, data in images)
        entries = [
            (label, name.encode(), row, end - len(data), len(data))
            for (label, name, row, data), end in zip(images, ends, strict=True)
        ]
        with atomic_file(self._file("bin")) as temporary, open(temporary, "wb") as file:
            file.writelines(data for *_, data in images)
        with atomic_file(self._file("npy")) as temporary:
            save_array(np.array(entries, ROW), temporary)
        files = {self._file("bin"): None, self._file("npy"): None}
        self.work.note(self._name, files, shard_bytes=size, wnids=wnids)

    def images(self, label: int, wnid: str) -> Iterator[tuple[str, memoryview]]:
        """The (name, bytes) of a class, read at once.

        An image without a name is called by where it was: ``n01440764_00012_000345.JPEG`` is row
        345 of shard 12.
        """
        rows = self.rows
        first, end = np.searchsorted(rows["label"], [label, label + 1])
        rows = rows[first:end]
        if len(rows) == 0:
            return
        start, stop = int(rows[0]["offset"]), int(rows[-1]["offset"]) + int(rows[-1]["size"])
        with open(self._file("bin"), "rb", buffering=0) as file:
            block = memoryview(os.pread(file.fileno(), stop - start, start))
        if len(block) != stop - start:
            raise DimrError(f"{self._file('bin')}: truncated; remove {self._file('json')}")
        for row in rows:
            at = int(row["offset"]) - start
            name = row["name"].decode() or f"{wnid}_{self.number:05d}_{row['row']:06d}.JPEG"
            yield name, block[at : at + int(row["size"])]

    def _file(self, kind: str) -> Path:
        return self.work.folder / f"{self._name}.{kind}"


def _opened(shard: Path) -> Any:
    """A parquet file; ``DimrError`` if it is damaged or has no images."""
    import pyarrow.parquet as pq  # slow to import

    try:
        file = pq.ParquetFile(shard)
    except Exception as error:  # arrow's errors have no common base
        raise DimrError(
            f"{shard}: truncated or not a parquet file ({single_line(error)})"
        ) from None
    schema = [file.schema.column(i) for i in range(len(file.schema))]
    found = {column.path: str(column.physical_type) for column in schema}
    for column, kind in COLUMNS.items():
        if found.get(column) != kind:
            raise DimrError(
                f"{shard}: column {column} is {found.get(column, 'missing')}, should be {kind}"
            )
    return file


def read_rows(shard: Path) -> Iterator[tuple[int | None, str | None, bytes | None]]:
    """Label, path and bytes of every row."""
    try:
        for batch in _opened(shard).iter_batches(BATCH, columns=["image", "label"]):
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


def official_name(path: str, where: str) -> tuple[str, str | None]:
    """File name and WordNet id of a path as data sets on the hub have it.

    ``n01440764_10026_n01440764.JPEG`` is the official ``n01440764_10026.JPEG``, of n01440764. Any
    other plain name stays, and its class is None: unknown.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise DimrError(f"{where}: path {path[:200]!r} leads out of its folder")
    name = check_name(path.split("/")[-1], where)
    if match := _OFFICIAL.fullmatch(name):
        wnid, again, suffix = match.groups()
        if again is None:
            return name, wnid
        if again == wnid:
            return name[: -len(f"_{again}{suffix}")] + suffix, wnid
    return name, None
