"""Building a store class by class, in a hidden folder beside the result.

Each class's tar is a piece of a ``WorkFolder``. Whatever the images come from, the same images give
the same bytes: tars are sorted by name and hold no times.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dimr.data.imagenet.source import check_content, check_name
from dimr.data.imagenet.store import CAPTIONS, ENTRY, INDEX, StoreManifest
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, save_array, sha256, write_json, write_text
from dimr.runtime.work_folder import WorkFolder


@dataclass(frozen=True)
class StoreWork(WorkFolder):
    """Work on a store ``out``, whose content ``key`` identifies."""

    def begun_from(self, origin: dict[str, str]) -> None:
        """Note what the images come from; ``DimrError`` if some were taken in from elsewhere."""
        path = self.folder / "origin.json"
        begun = any(self.folder.glob("notes/*")) or any(self.folder.glob("spill/*"))
        if not path.exists() or not begun:
            write_json(path, origin)
        elif (before := read_json(path)) != origin:
            kind, where = before.get("kind"), before.get("where")
            raise DimrError(
                f"{self.folder}: begun from the {kind} {where}, not from {origin['where']}: resume "
                "with --source as it was, or remove the folder to start again"
            )

    def has(self, wnid: str, count: int) -> bool:
        """Whether a class is stored; ``DimrError`` if it is with another number of images."""
        note = self.finished(f"notes/{wnid}")
        if note is not None and note["count"] != count:
            raise DimrError(
                f"{self._tar(wnid)}: taken in with {note['count']} images, the source now has "
                f"{count}: remove {self.folder} to start again"
            )
        return note is not None

    def write_class(self, wnid: str, images: Iterable[tuple[str, bytes]], count: int) -> None:
        """Store a class: ``images`` are (name, bytes), sorted by name, ``count`` of them.

        ``DimrError`` names the class and the file that cannot be stored.
        """
        with atomic_file(self._tar(wnid)) as temporary:
            entries = write_tar(temporary, images, wnid)
            if len(entries) != count:
                raise DimrError(f"{wnid}: holds {len(entries)} images, should hold {count}")
            digest = sha256(temporary)
        with atomic_file(self._entries(wnid)) as temporary:
            save_array(entries, temporary)
        files = {self._tar(wnid): digest, self._entries(wnid): None}
        size = self._tar(wnid).stat().st_size
        self.note(f"notes/{wnid}", files, count=count, size=size, sha256=digest)

    def finish(
        self,
        wnids: list[str],
        class_names: list[str],
        source: dict[str, Any],
        known_bad: Iterable[str],
        add: Callable[[Path], None] | None = None,
        captions: Iterable[Sequence[str]] | None = None,
    ) -> StoreManifest:
        """Add index, captions and manifest, and put the store in place; return the manifest.

        ``add`` is called with the folder before it takes its final name, to put more into it.
        ``captions`` are those of every image, in the order of the index; None: there are none.
        """
        notes = [read_json(self.folder / f"notes/{wnid}.json") for wnid in wnids]
        index = self._index(wnids)
        save_array(index, self.store / INDEX)
        more = {}
        if captions is not None:
            lines = (
                json.dumps({"file": f"{wnids[label]}/{name.decode()}", "captions": list(some)})
                for name, label, some in zip(index["name"], index["label"], captions, strict=True)
            )
            write_text(self.store / CAPTIONS, "".join(f"{line}\n" for line in lines))
            more["captions"] = {"sha256": sha256(self.store / CAPTIONS)}
        manifest = StoreManifest.write(
            self.store,
            format="dimr-source-1",
            key=self.key,
            source=source,
            images=sum(note["count"] for note in notes),
            known_bad=sorted(known_bad),
            wnids=wnids,
            class_names=class_names,
            counts=[note["count"] for note in notes],
            index={"sha256": sha256(self.store / INDEX)},
            tars=[{"size": note["size"], "sha256": note["sha256"]} for note in notes],
            **more,
        )
        if add:
            add(self.store)
        self.place()
        return manifest

    def _index(self, wnids: list[str]) -> NDArray[Any]:
        """An ``ENTRY`` for each image, by class and name (of ImageNet 70 MB)."""
        parts = []
        for label, wnid in enumerate(wnids):
            parts.append(np.load(self._entries(wnid), allow_pickle=False))
            parts[-1]["label"] = label
        return np.concatenate(parts)

    def _tar(self, wnid: str) -> Path:
        return self.store / f"{wnid}.tar"

    def _entries(self, wnid: str) -> Path:
        return self.folder / "notes" / f"{wnid}.npy"


def write_tar(path: Path, images: Iterable[tuple[str, bytes]], where: str) -> NDArray[Any]:
    """Write (name, bytes), sorted by name, as an uncompressed tar that depends on them only.

    Returns:
        An ``ENTRY`` for each image (label 0).

    Raises:
        DimrError: ``where``, and the name that occurs twice, is not valid, or is not an image's.
    """
    entries: list[tuple[bytes, int, int, int]] = []
    last = ""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as tar:
        for name, data in images:
            check_name(name, where)
            check_content(name, data, where)
            if name <= last:
                problem = "is in it twice" if name == last else f"comes after {last}"
                raise DimrError(f"{where}: {name} {problem}")
            member = tarfile.TarInfo(name)
            member.size = len(data)
            entries.append((name.encode(), 0, tar.offset + tarfile.BLOCKSIZE, len(data)))
            tar.addfile(member, io.BytesIO(data))
            last = name
    return np.array(entries, ENTRY)
