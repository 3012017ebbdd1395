"""Images in parquet shards, as the Hugging Face hub has them: in a folder, or on the hub."""

import contextlib
import itertools
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dimr.config.schema import Source
from dimr.data.imagenet.resumable_store import TAR_OVERHEAD, Work
from dimr.data.imagenet.source import ClassFiles, ImageSource
from dimr.data.imagenet.spill import Spill, count_rows
from dimr.runtime.errors import DimrError
from dimr.runtime.progress import progress_bar

BELOW = ("", "data")
"""Where in a folder the shards may be."""

_SHARD = re.compile(r"train-(\d{5})-of-(\d{5})\.parquet")


@dataclass(frozen=True)
class Shard:
    """A shard by its path (in the folder, or in the repository), and its bytes."""

    path: str
    size: int
    sha256: str | None = None


class ShardsSource(ImageSource):
    """Shuffled shards. Each is first sorted by class into the work's folder, then classes are read.

    That takes twice the images' space for a while. Labels must be the places of the sorted WordNet
    ids, which names of files tell; without names they are known for ImageNet's 1,000 classes.
    """

    shards: Sequence[Shard]

    def __init__(self, where: str, config: Source) -> None:
        self.where, self.words, self.config = where, {}, config
        self._bad = set(config.known_bad)
        self._spills: list[Spill] = []
        self._labels: dict[str, int] = {}

    @abstractmethod
    def opened(self, shard: Shard, work: Work) -> contextlib.AbstractContextManager[Path]:
        """The shard as a file, for as long as it is read."""

    def space(self, work: Work) -> int:
        """Estimated by the shards' sizes: images take no less in them, as they do not compress."""
        missing = [s for n, s in enumerate(self.shards) if not Spill(work, n).taken(s.size)]
        tars = sum(note.stat().st_size for note in work.folder.glob("store/*.tar"))
        stored = sum(shard.size for shard in self.shards) + self.config.images * TAR_OVERHEAD
        return sum(shard.size for shard in missing) + max(0, stored - tars)

    def prepare(self, work: Work) -> None:
        """Take in the shards that are not there yet, one by one; then find the classes."""
        self._spills = [Spill(work, number) for number in range(len(self.shards))]
        todo = [
            (spill, shard)
            for spill, shard in zip(self._spills, self.shards, strict=True)
            if not spill.taken(shard.size)
        ]
        total = sum(shard.size for shard in self.shards)
        done = total - sum(shard.size for _, shard in todo)
        with progress_bar(
            total=total, initial=done, description="take in shards", unit="B", scale=True
        ) as bar:
            for spill, shard in todo:
                with self.opened(shard, work) as path:
                    spill.write(path, shard.size, self.config.classes)
                bar.update(shard.size)
        self._labels = self._find_labels()

    def classes(self) -> dict[str, ClassFiles]:
        """Counted over all shards."""
        counts = np.zeros(len(self._labels), np.int64)
        nbytes = np.zeros(len(self._labels), np.int64)
        bad = [name.encode() for name in self._bad]
        for spill in self._spills:
            rows = spill.rows
            good = ~np.isin(rows["name"], bad) if bad else slice(None)
            np.add.at(counts, rows["label"][good], 1)
            np.add.at(nbytes, rows["label"][good], rows["size"][good])
        return {
            wnid: ClassFiles(int(counts[label]), int(nbytes[label]))
            for wnid, label in self._labels.items()
        }

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """The class is read from every shard; all of it is in memory (0.2 GB of ImageNet's)."""
        found = [
            image for spill in self._spills for image in spill.images(self._labels[wnid], wnid)
        ]
        for name, data in sorted(found, key=lambda image: image[0]):
            if name not in self._bad:
                yield name, bytes(data)

    def _find_labels(self) -> dict[str, int]:
        """Labels by WordNet id, sorted; ``DimrError`` where they cannot be known or are others."""
        wnids: dict[int, str] = {}
        for spill, shard in zip(self._spills, self.shards, strict=True):
            for label, wnid in spill.wnids.items():
                if wnids.setdefault(label, wnid) != wnid:
                    raise DimrError(
                        f"{self.where}: label {label} is {wnids[label]}, in {shard.path} {wnid}"
                    )
        for label, wnid in enumerate(self._known(wnids)):
            if wnids.setdefault(label, wnid) != wnid:
                raise DimrError(f"{self.where}: label {label} is {wnids[label]}, should be {wnid}")
        order = [wnids[label] for label in range(self.config.classes)]
        for before, after in itertools.pairwise(order):
            if before >= after:
                raise DimrError(
                    f"{self.where}: labels are not the places of the sorted WordNet ids: {after} "
                    f"follows {before}"
                )
        return {wnid: label for label, wnid in enumerate(order)}

    def _known(self, named: dict[int, str]) -> list[str]:
        """ImageNet's ids for its number of classes; else the names of files must tell them all."""
        from dimr.data.classes import wordnet_ids

        known = wordnet_ids(self.config.classes)
        unnamed = sorted(set(range(self.config.classes)) - named.keys())
        if unnamed and not known:
            raise DimrError(
                f"{self.where}: the WordNet id of label {unnamed[0]} cannot be known: no image's "
                f"path tells it (as n01440764_10026.JPEG does), and {self.config.classes} classes "
                "are not ImageNet's 1,000"
            )
        return known


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
        rows = sum(count_rows(folder / name) for name in names)
        if rows not in (config.images, config.images - len(config.known_bad)):
            raise DimrError(f"{folder}: {rows} images, should be {config.images}")

    @contextlib.contextmanager
    def opened(self, shard: Shard, work: Work) -> Iterator[Path]:  # noqa: ARG002
        """Where it is."""
        yield self._folder / shard.path


def shard_folder(folder: Path) -> Path | None:
    """The folder of parquet shards that ``folder`` is or holds."""
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
    for number in range(total):
        if number not in shards:
            raise DimrError(f"{where}: train-{number:05d}-of-{total:05d}.parquet is missing")
    return [shards[number] for number in sorted(shards)]
