"""Images in parquet shards, as the Hugging Face hub has them: here those of a folder.

Shards are shuffled, tars are not: each shard is first sorted by class into the work's folder
(``Spill``), then classes are read. That takes twice the images' space for a while.
"""

import contextlib
import itertools
import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dimr.config.schema import Source
from dimr.data.classes import wordnet_ids
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.source import (
    TAR_OVERHEAD,
    ClassFiles,
    ImageSource,
    check_content,
    check_name,
)
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, single_line
from dimr.runtime.progress import progress_bar

BELOW = ("", "data")
"""Subfolders in which the shards may be."""
BATCH = 64
"""Rows that are converted at a time."""
COLUMNS = {"image.bytes": "BYTE_ARRAY", "image.path": "BYTE_ARRAY", "label": "INT64"}
_SHARD = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")
_OFFICIAL = re.compile(r"(n\d{8})_\d+(?:_(n\d{8}))?(\.\w+)")


@dataclass(frozen=True)
class Shard:
    """A shard: its path (in the folder or in the repository) and its size in bytes."""

    path: str
    size: int
    sha256: str | None = None


class ShardsSource(ImageSource):
    """Shuffled shards. Labels must be positions in the sorted WordNet ids.

    File names tell the ids; without names they are known for ImageNet's 1,000 classes.
    """

    shards: Sequence[Shard]

    @abstractmethod
    def opened(self, shard: Shard, work: StoreWork) -> contextlib.AbstractContextManager[Path]:
        """The shard as a file, for as long as it is read."""

    def space(self, work: StoreWork) -> int:
        """Estimated from the shards' sizes: images take no less there, as they do not compress."""
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
                    spill.write(path, shard.size, self.config.num_classes, self.known_bad)
                bar.update(shard.size)
        self._labels = {wnid: label for label, wnid in enumerate(self._find_wnids())}

    def classes(self) -> dict[str, ClassFiles]:
        """Counted over all shards."""
        found = {}
        for wnid, label in self._labels.items():
            parts = [spill.classes.get(label, (0, 0)) for spill in self._spills]
            found[wnid] = ClassFiles(sum(count for count, _ in parts), sum(n for _, n in parts))
        return found

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The class is read from every shard; all of it is in memory (0.2 GB of ImageNet's)."""
        label = self._labels[wnid]
        yield from sorted(image for spill in self._spills for image in spill.images(label, wnid))

    def _find_wnids(self) -> list[str]:
        """WordNet ids by label; ``DimrError`` where they cannot be known, or are not sorted."""
        count = self.config.num_classes
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
        """The shard where it lies."""
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
    """The images of shard ``number``, sorted by class, in ``work``, known-bad ones left out.

    ``spill/shard-00012.arrow`` has a record batch for each class, which is read as a whole.
    """

    work: StoreWork
    number: int

    def taken(self, size: int) -> bool:
        """Whether the shard, of ``size`` bytes, was taken in."""
        note = self.work.finished(self._name)
        return note is not None and note["shard_bytes"] == size

    @cached_property
    def _note(self) -> dict[str, Any]:
        return read_json(self.work.folder / f"{self._name}.json")

    @cached_property
    def classes(self) -> dict[int, tuple[int, int]]:
        """Number of images, and their bytes, by label, in the order of the record batches."""
        return {int(label): tuple(found) for label, found in self._note["classes"].items()}

    @property
    def wnids(self) -> dict[int, str]:
        """WordNet ids by label, as far as file names tell them."""
        return {int(label): wnid for label, wnid in self._note["wnids"].items()}

    def write(self, shard: Path, size: int, classes: int, known_bad: set[str]) -> None:
        """Take a shard of ``size`` bytes in; its images are held in memory (0.5 GB of ImageNet's).

        ``DimrError`` names the shard and the row that is not an image with a label.
        """
        wnids: dict[int, str] = {}
        images: dict[int, list[tuple[str, int, bytes]]] = {}
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
            if name not in known_bad:
                images.setdefault(label, []).append((name, row, data))
        self.keep(images, size, wnids)

    def keep(
        self,
        images: Mapping[int, Sequence[tuple[str, int, bytes]]],
        size: int,
        wnids: Mapping[int, str] | None = None,
    ) -> None:
        """Write (name, row, bytes) by label; ``size`` is what ``taken`` knows the shard by."""
        import pyarrow as pa  # slow to import

        schema = pa.schema({"name": pa.string(), "row": pa.int64(), "data": pa.large_binary()})
        with atomic_file(self._file) as temporary, pa.ipc.new_file(temporary, schema) as file:
            for found in images.values():
                columns = dict(zip(schema.names, zip(*found, strict=True), strict=True))
                file.write_batch(pa.record_batch(columns, schema))
        counts = {k: (len(found), sum(len(one[2]) for one in found)) for k, found in images.items()}
        files = {self._file: None}
        self.work.note(self._name, files, shard_bytes=size, wnids=wnids or {}, classes=counts)

    def images(self, label: int, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The (name, bytes) of a class.

        An image without a name is named after its place: ``n01440764_00012_000345.JPEG`` is row
        345 of shard 12.
        """
        for one in self.rows(label):
            yield one["name"] or f"{wnid}_{self.number:05d}_{one['row']:06d}.JPEG", one["data"]

    def rows(self, label: int) -> Iterator[dict[str, Any]]:
        """Name, row and data of the images of a class, as they were kept."""
        import pyarrow as pa  # slow to import

        if label in self.classes:
            with pa.OSFile(str(self._file)) as file:
                batch = pa.ipc.open_file(file).get_batch(list(self.classes).index(label))
            yield from batch.to_pylist()

    @property
    def _name(self) -> str:
        return f"spill/shard-{self.number:05d}"

    @property
    def _file(self) -> Path:
        return self.work.folder / f"{self._name}.arrow"


def open_parquet(path: Path) -> Any:
    """A parquet file; ``DimrError`` if it is damaged."""
    import pyarrow.parquet as pq  # slow to import

    try:
        return pq.ParquetFile(path)
    except Exception as error:  # arrow's errors have no common base
        raise DimrError(f"{path}: truncated or not a parquet file ({single_line(error)})") from None


def _opened(shard: Path) -> Any:
    """A shard; ``DimrError`` if it is damaged or has no images."""
    file = open_parquet(shard)
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
    """File name and WordNet id from a path as datasets on the hub have it.

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
