"""Images in a folder of class folders: ``n01440764/n01440764_10026.JPEG``."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimr.data.imagenet.names import WNID, check_name, check_size
from dimr.data.imagenet.source import ClassFiles, ImageSource, missing_bytes
from dimr.data.imagenet.work import Work
from dimr.errors import DimrError
from dimr.files import one_line
from dimr.progress import progress_bar
from dimr.settings import Source

BELOW = ("", "train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
"""Where in a folder the class folders may be."""


def class_folders(folder: Path) -> Path | None:
    """The folder of class folders that ``folder`` is or holds."""
    for below in BELOW:
        if (folder / below).is_dir():
            with os.scandir(folder / below) as entries:
                if any(WNID.fullmatch(entry.name) and entry.is_dir() for entry in entries):
                    return folder / below
    return None


class FolderSource(ImageSource):
    """Images in class folders; hidden files, and files beside the class folders, are passed over.

    ``DimrError`` names the folder or file that has no place in it.
    """

    kind = "folder"

    def __init__(self, folder: Path, config: Source) -> None:
        self.folder, self.where, self.words = folder, str(folder), {}
        self._bad = set(config.known_bad)
        self._classes = self._scan()

    def space(self, work: Work) -> int:
        """The sizes of all files are known."""
        return missing_bytes(self._classes, work)

    def prepare(self, work: Work) -> None:
        """Nothing."""

    def classes(self) -> dict[str, ClassFiles]:
        """As the folders had them when the source was opened."""
        return self._classes

    def images(self, wnid: str) -> Iterator[tuple[str, bytes]]:
        """Files are read one by one."""
        for name, _ in sorted(self._files(wnid)):
            path = self.folder / wnid / name
            try:
                yield name, path.read_bytes()
            except OSError as error:
                raise DimrError(f"{path}: not readable ({one_line(error)})") from None

    def _scan(self) -> dict[str, ClassFiles]:
        found: dict[str, Any] = {}
        wnids = sorted(entry.name for entry in self.folder.iterdir() if _is_class_folder(entry))
        for wnid in progress_bar(wnids, description="look through", unit="class"):
            sizes = [size for _, size in self._files(wnid)]
            found[wnid] = ClassFiles(len(sizes), sum(sizes))
        return found

    def _files(self, wnid: str) -> Iterator[tuple[str, int]]:
        """Name and bytes of a class's files, in no order, known-bad ones left out."""
        folder = self.folder / wnid
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in self._bad:
                        continue
                    if not entry.is_file():
                        raise DimrError(f"{entry.path}: not a file")
                    size = entry.stat().st_size
                    check_size(entry.name, size, str(folder))
                    yield check_name(entry.name, str(folder)), size
        except OSError as error:
            raise DimrError(f"{folder}: not readable ({one_line(error)})") from None


def _is_class_folder(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    if not WNID.fullmatch(path.name):
        raise DimrError(f"{path}: no class folder (n and eight digits, as n01440764)")
    return True
