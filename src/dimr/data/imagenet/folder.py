"""Images in a folder of class folders: ``n01440764/n01440764_10026.JPEG``, or ``cats/1.png``."""

import os
from collections.abc import Iterator
from pathlib import Path

from dimr.config.schema import Source
from dimr.data.imagenet.source import (
    SUFFIXES,
    WNID,
    ClassFiles,
    ImageSource,
    check_name,
    check_plain,
    check_size,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar

BELOW = ("", "train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train")
"""Subfolders in which ImageNet's class folders may be."""
OWN_BELOW = ("", "train")
"""Subfolders in which those of other sets may be."""


def class_folders(folder: Path) -> Path | None:
    """``folder``, or the one in it, whose entries have the names of ImageNet's class folders."""
    return next((folder / below for below in BELOW if _has_ids(folder / below)), None)


def own_class_folders(folder: Path) -> Path | None:
    """``folder``, or the one in it, that holds folders of any names with images."""
    for below in OWN_BELOW:
        if (folder / below).is_dir() and any(map(_holds_images, (folder / below).iterdir())):
            return folder / below
    return None


def _has_ids(folder: Path) -> bool:
    return folder.is_dir() and any(map(WNID.fullmatch, os.listdir(folder)))


def _holds_images(folder: Path) -> bool:
    if folder.name.startswith(".") or not folder.is_dir():
        return False
    return any(path.suffix.lower() in SUFFIXES for path in folder.iterdir())


class FolderSource(ImageSource):
    """Images in class folders; hidden files, and files beside the class folders, are ignored.

    ``DimrError`` names the folder or file that does not belong in it.
    """

    kind = "folder"

    def __init__(self, folder: Path, config: Source) -> None:
        super().__init__(str(folder), config)
        self.folder = folder
        by_id = _has_ids(folder)
        wnids = sorted(path.name for path in folder.iterdir() if _is_class_folder(path, by_id))
        self._classes = {}
        for wnid in progress_bar(wnids, description="look through", unit="class"):
            sizes = [size for _, size in self._files(wnid)]
            self._classes[wnid] = ClassFiles(len(sizes), sum(sizes))

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
                raise DimrError(f"{path}: not readable ({single_line(error)})") from None

    def _files(self, wnid: str) -> Iterator[tuple[str, int]]:
        """Name and bytes of a class's files, in no order, known-bad ones left out."""
        folder = self.folder / wnid
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name in self.known_bad:
                        continue
                    if not entry.is_file():
                        raise DimrError(f"{entry.path}: not a file")
                    size = entry.stat().st_size
                    check_size(entry.name, size, str(folder))
                    yield check_name(entry.name, str(folder)), size
        except OSError as error:
            raise DimrError(f"{folder}: not readable ({single_line(error)})") from None


def _is_class_folder(path: Path, by_id: bool) -> bool:
    """Whether it is one; ``by_id``: all with a WordNet id must be, and there must be no others."""
    if path.name.startswith("."):
        return False
    named, is_folder = WNID.fullmatch(path.name) is not None, path.is_dir()
    if not is_folder and (named or not path.is_file()):
        state = "not a folder" if path.exists() else "a link that leads nowhere"
        raise DimrError(f"{path}: {state}; a class folder is expected")
    if is_folder and by_id and not named:
        raise DimrError(f"{path}: not a class folder (n and eight digits, as n01440764)")
    if is_folder:
        check_plain(path.name, str(path.parent), "class")
    return is_folder
