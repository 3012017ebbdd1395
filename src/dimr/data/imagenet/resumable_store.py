"""A store in the making: class by class, in a hidden folder beside the result.

The folder is named by the key of the work. Each class's tar is whole or absent, and counted when
its note is written, last. Killed at any moment, the next start finds what is there. Whatever the
images come from, the same images give the same bytes: tars are sorted by name and hold no times.
"""

import contextlib
import functools
import hashlib
import shutil
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from dimr.data.imagenet.names import check_content, check_name
from dimr.data.imagenet.store import ENTRY, FORMAT, INDEX, MANIFEST
from dimr.runtime.errors import DimrError
from dimr.runtime.files import (
    TEMPORARY,
    atomic_file,
    read_json,
    replace_directory,
    save_array,
    sha256,
    write_json,
)
from dimr.runtime.work_folder import Notes, remove_abandoned, require_one_disk, work_folder

TAR_OVERHEAD = 1024
"""Bytes at most that a tar adds to an image: its header, and filling up to whole blocks."""


@dataclass(frozen=True)
class Work:
    """Work on a store.

    Args:
        out: where the store will be.
        key: identifies what the store holds.
    """

    out: Path
    key: str

    @functools.cached_property
    def notes(self) -> Notes:
        """What is done."""
        return Notes(self.folder)

    @property
    def folder(self) -> Path:
        """Where everything lies until the store is whole."""
        return work_folder(self.out, self.key)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for this process alone; what a killed one left half-written goes."""
        for name in ("store", "notes", "spill"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        require_one_disk(self.folder / "store", self.out)
        lock = FileLock(self.folder / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise DimrError(f"{self.folder}: another process works here; wait for it") from None
        try:
            for stale in self.folder.glob(f"*/{TEMPORARY}"):
                stale.unlink()
            yield
        finally:
            lock.release()

    def begun_from(self, origin: dict[str, str]) -> None:
        """Note what the images come from; ``DimrError`` if some were taken in from elsewhere."""
        path = self.folder / "origin.json"
        begun = any(self.folder.glob("notes/*")) or any(self.folder.glob("spill/*"))
        if not path.exists() or not begun:
            write_json(path, origin)
        elif (before := read_json(path)) != origin:
            kind, where = before.get("kind"), before.get("where")
            raise DimrError(
                f"{self.folder}: begun from the {kind} {where}, not from {origin['where']}: go on "
                "with --source as it was, or remove the folder to begin anew"
            )

    def has(self, wnid: str, count: int) -> bool:
        """Whether a class is there; ``DimrError`` if it is there with another number of images."""
        note = self.notes.read(self._note(wnid))
        if note is None:
            return False
        if note["count"] != count:
            raise DimrError(
                f"{self._tar(wnid)}: taken in with {note['count']} images, the source now has "
                f"{count}: remove {self.folder} to begin again"
            )
        return True

    def write_class(self, wnid: str, images: Iterable[tuple[str, bytes]], count: int) -> None:
        """Store a class: ``images`` are (name, bytes), sorted by name, ``count`` of them.

        ``DimrError`` names the class and the file that cannot be.
        """
        with atomic_file(self._tar(wnid)) as temporary:
            entries, digest = write_tar(temporary, images, wnid)
            if len(entries) != count:
                raise DimrError(f"{wnid}: holds {len(entries)} images, should hold {count}")
            size = temporary.stat().st_size
        with atomic_file(self._entries(wnid)) as temporary:
            save_array(entries, temporary)
        files = {self._tar(wnid): digest, self._entries(wnid): None}
        self.notes.write(self._note(wnid), files, count=count, size=size, sha256=digest)

    def finish(
        self,
        wnids: list[str],
        class_names: list[str],
        source: dict[str, Any],
        known_bad: Iterable[str],
        add: Callable[[Path], None] | None = None,
    ) -> dict[str, Any]:
        """Add index and manifest, and put the store in place; return the manifest.

        ``add`` is called with the folder before it takes its final name, to put more into it.
        """
        store = self.folder / "store"
        notes = [read_json(self._note(wnid)) for wnid in wnids]
        images = sum(note["count"] for note in notes)
        save_array(self._index(wnids), store / INDEX)
        manifest = {
            "format": FORMAT,
            "key": self.key,
            "source": source,
            "images": images,
            "known_bad": sorted(known_bad),
            "wnids": wnids,
            "class_names": class_names,
            "counts": [note["count"] for note in notes],
            "index": {"sha256": sha256(store / INDEX)},
            "tars": [{"size": note["size"], "sha256": note["sha256"]} for note in notes],
        }
        write_json(store / MANIFEST, manifest)
        if add:
            add(store)
        replace_directory(store, self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.clean()
        return manifest

    def clean(self) -> None:
        """Remove what was only needed to make the store, of other keys too, if nobody uses it."""
        remove_abandoned(self.out)

    def _index(self, wnids: list[str]) -> NDArray[Any]:
        """An ``ENTRY`` for each image, by class and name (of ImageNet 70 MB)."""
        parts = []
        for label, wnid in enumerate(wnids):
            parts.append(np.load(self._entries(wnid), allow_pickle=False))
            parts[-1]["label"] = label
        return np.concatenate(parts)

    def _tar(self, wnid: str) -> Path:
        return self.folder / "store" / f"{wnid}.tar"

    def _entries(self, wnid: str) -> Path:
        return self.folder / "notes" / f"{wnid}.npy"

    def _note(self, wnid: str) -> Path:
        return self.folder / "notes" / f"{wnid}.json"


def write_tar(
    path: Path, images: Iterable[tuple[str, bytes]], where: str
) -> tuple[NDArray[Any], str]:
    """Write (name, bytes), sorted by name, as an uncompressed tar that depends on them alone.

    Returns:
        An ``ENTRY`` for each image (label 0), and the file's SHA-256, which is taken as it is
        written: nothing is read again.

    Raises:
        DimrError: ``where`` and the name that is given twice, or is none, or is no image.
    """
    entries: list[tuple[bytes, int, int, int]] = []
    digest, position, last = hashlib.sha256(), 0, ""

    with open(path, "wb") as file:

        def put(block: bytes) -> None:
            nonlocal position
            file.write(block)
            digest.update(block)
            position += len(block)

        for name, data in images:
            check_name(name, where)
            check_content(name, data, where)
            if name <= last:
                problem = "is there twice" if name == last else f"comes after {last}"
                raise DimrError(f"{where}: {name} {problem}")
            info = tarfile.TarInfo(name)
            info.size = len(data)
            put(info.tobuf(tarfile.USTAR_FORMAT))
            entries.append((name.encode(), 0, position, len(data)))
            put(data)
            put(bytes(-position % tarfile.BLOCKSIZE))
            last = name
        put(bytes(2 * tarfile.BLOCKSIZE))
        put(bytes(-position % tarfile.RECORDSIZE))
    return np.array(entries, ENTRY), digest.hexdigest()
