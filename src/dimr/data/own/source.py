"""One's own images as a source for ``dimr data``: compared with what was looked at.

In a store classes are called ``class00000``, ..., and images ``000000.png``, ...: the user's names
may be long, or not valid file names elsewhere. The manifest has the names of the classes.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimr.config.schema import Source
from dimr.data.imagenet.parquet import Spill
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.source import ClassFiles, ImageSource, suffix_of
from dimr.data.own.folder import read_image
from dimr.data.own.look import digest, list_images, scan
from dimr.runtime.errors import DimrError

SPILLED = 1 << 28
"""Bytes of rows that are held in memory, to be sorted by class."""


class OwnSource(ImageSource):
    """A place that ``look`` recognises, whose content must be that of ``config``.

    All of it is read once to compare it, before anything is written. ``name`` is what the set is
    called, for messages. ``DimrError`` says what changed.
    """

    def __init__(self, place: str | Path, config: Source, name: str) -> None:
        self._listing = listing = list_images(place)
        super().__init__(listing.where, config)
        self.kind, self._name = listing.kind, name
        if listing.is_unlabelled and config.num_classes == 1:  # the place may be called otherwise
            listing.classes = dict(zip(config.class_names, listing.classes.values(), strict=True))
        if listing.captions is not None:
            parts = listing.captions.values()
            self.captions = [captions for part in parts for captions in part]
        self._compare_classes()
        self._seen = scan(listing, decode=False)
        if config.sha256 is not None and digest(listing, self._seen) != config.sha256:
            what = "files, or their names," if self.captions is None else "files, names or captions"
            raise self._changed(f"its {what} are others")
        digits = max(5, len(str(len(listing.classes) - 1)))
        self.words = {f"class{i:0{digits}d}": word for i, word in enumerate(listing.classes)}
        self._labels = {wnid: label for label, wnid in enumerate(self.words)}

    def _compare_classes(self) -> None:
        found = {name: len(images) for name, images in self._listing.classes.items()}
        before = self.config.classes if isinstance(self.config.classes, dict) else {}
        for name in (*before, *found):
            if (now := found.get(name, 0)) != (then := before.get(name, 0)):
                what = "part" if self.config.captions else "class"
                raise self._changed(f"{what} {name!r} has {now} images, had {then}")
        if tuple(found) != self.config.class_names:
            raise self._changed("its classes have another order")
        if (now := sum(map(len, self.captions or ()))) != (then := self.config.captions or 0):
            raise self._changed(f"it has {now:,} captions, had {then:,}")

    def _changed(self, problem: str) -> DimrError:
        if self.config.sha256 is None:
            return DimrError(f"{self.where}: not {self._name} as it was published ({problem})")
        return DimrError(
            f"{self.where}: changed since dimr dataset new looked at it ({problem}): run dimr "
            f"dataset new {self._name} --images {self.where} --replace"
        )

    def facts(self) -> dict[str, Any]:
        """Facts, including the checksum of the content, if it is known."""
        return {**super().facts(), **self.config.model_dump(include={"sha256"})}

    def space(self, work: StoreWork) -> int:
        """Space, including that for rows of parquet files, which are sorted by class first."""
        spilled = sum(path.stat().st_size for path in work.folder.glob("spill/*.arrow"))
        total = sum(files.nbytes for files in self.classes().values())
        return super().space(work) + (max(0, total - spilled) if self.kind == "parquet" else 0)

    def prepare(self, work: StoreWork) -> None:
        """Sort rows by class, in parts of some hundred megabytes; parts that exist stay."""
        self._spills: list[Spill] = []
        if self.kind != "parquet":
            return
        part: dict[int, list[tuple[str, int, bytes]]] = {}
        size = 0
        for item in self._listing.items():
            data = item.read()
            part.setdefault(item.label, []).append(("", item.number, data))
            size += len(data)
            if size >= SPILLED:
                self._spill(work, part, size)
                part, size = {}, 0
        if part:
            self._spill(work, part, size)

    def _spill(
        self, work: StoreWork, part: dict[int, list[tuple[str, int, bytes]]], size: int
    ) -> None:
        spill = Spill(work, len(self._spills))
        if not spill.taken(size):
            spill.keep(part, size)
        self._spills.append(spill)

    def classes(self) -> dict[str, ClassFiles]:
        """As they were read when the source was opened."""
        sizes = [[one.nbytes for one in images] for images in self._seen]
        return {
            wnid: ClassFiles(len(sizes[label]), sum(sizes[label]))
            for wnid, label in self._labels.items()
        }

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """With consecutive names; ``DimrError`` names an image that has changed meanwhile."""
        label = self._labels[wnid]
        digits = max(6, len(str(len(self._seen[label]) - 1)))
        for number, (where, data) in enumerate(self._read(label)):
            if hashlib.sha256(data).hexdigest() != self._seen[label][number].sha256:
                raise DimrError(f"{where}: changed while it was read: start again")
            yield f"{number:0{digits}d}{suffix_of(data)}", data

    def _read(self, label: int) -> Iterator[tuple[str, bytes]]:
        """Where each image of a class is, and its bytes."""
        if self.kind == "parquet":
            for spill in self._spills:
                yield from ((self.where, one["data"]) for one in spill.rows(label))
            return
        for path in list(self._listing.classes.values())[label]:
            place = Path(self.where, path)
            yield str(place), read_image(place)
