"""Images in a folder: class folders, a flat one, one with a ``labels.csv``, one with captions."""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from dimr.data.imagenet.source import SUFFIXES, check_size
from dimr.data.own.captions import COCO, FILES, PART, has_coco, read_captions, read_coco
from dimr.data.own.listing import (
    Item,
    Listing,
    check_apart,
    class_name,
    composed,
    counted,
    listed,
    natural,
)
from dimr.data.own.lists import csv_rows, place_in, why_missing
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

LABELS = "labels.csv"
LABEL_COLUMNS = ("label", "class", "class_name", "category")
"""Headers of the label column of ``labels.csv``."""
OTHER_IMAGES = (
    ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".jxl", ".ico", ".psd",
    ".svg", ".ppm", ".pgm", ".pbm", ".tga", ".exr", ".hdr", ".dng", ".cr2", ".nef", ".arw",
)  # fmt: skip
"""Suffixes of images that are not supported: they are refused, not silently left out."""
SYSTEM = ("thumbs.db", "desktop.ini", "__macosx")
"""What operating systems leave in folders of images, besides hidden files."""


class FolderListing(Listing):
    """Image files below a folder: ``files[class]`` are paths relative to it."""

    kind = "folder"

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self.folder = folder
        tree = _Tree(folder)
        if (lists := [name for name in FILES if name in tree.others]) or has_coco(tree.others):
            labels = self._captioned(tree, lists)
        elif LABELS in tree.others:
            self.form, labels = LABELS, _read_labels(folder, tree)
            tree.others.remove(LABELS)
        elif tree.files[""]:
            self.form, labels = "a flat folder", _flat(folder, tree)
            self.is_unlabelled = True
        else:
            labels = _class_folders(folder, tree)
            self.form = counted(len(labels), "class folder")
        if tree.others:
            self.notes.append(f"{counted(len(tree.others), 'other file')} left out "
                              f"({listed(tree.others)})")  # fmt: skip
        for name, paths in labels.items():
            check_apart(paths, f"{folder}: class {name!r}", "files")
            paths.sort(key=natural)
        self.classes = labels

    def _captioned(self, tree: "_Tree", lists: list[str]) -> dict[str, list[str]]:
        """Images by part; reads their captions too."""
        if len(lists) + has_coco(tree.others) > 1:
            raise DimrError(
                f"{self.folder}: captions in several forms ({listed(lists or FILES)}): keep one"
            )
        if lists:
            name = lists[0]
            images = [path for files in tree.files.values() for path in files]
            if not images:
                raise DimrError(f"{self.folder}: no images in it, but {name}")
            found = {PART: read_captions(self.folder, name, images)}
            self.form, used = name, {name}
        else:
            found = read_coco(self.folder, tree.files)
            aside = sum(map(len, tree.files.values())) - sum(map(len, found.values()))
            if aside:
                self.notes.append(f"{counted(aside, 'image')} of neither part left out")
            self.form, used = "MS-COCO's layout", {annotations for _, annotations in COCO.values()}
        tree.others = [name for name in tree.others if name not in used]
        labels = {part: sorted(captions, key=natural) for part, captions in found.items()}
        self.captions = {
            part: [found[part][path] for path in paths] for part, paths in labels.items()
        }
        return labels

    def items(self) -> Iterator[Item]:
        """Class by class; a file is read when its item's ``read`` is called."""
        for label, paths in enumerate(self.classes.values()):
            for number, path in enumerate(paths):
                place = self.folder / path
                yield Item(label, number, str(place), partial(read_image, place))


class _Tree:
    """Everything below a folder: images, and folders without any, by the first part of the path.

    ``DimrError`` names an image of an unsupported format, or what cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.files: dict[str, list[str]] = {"": []}
        self.others: list[str] = []
        self._walk(folder, PurePosixPath())

    def _walk(
        self, folder: Path, below: PurePosixPath, above: frozenset[tuple[int, int]] = frozenset()
    ) -> None:
        try:
            state = os.stat(folder)
            if (identity := (state.st_dev, state.st_ino)) in above:
                raise DimrError(f"{folder}: a link that leads back to a folder that it is in")
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
                kinds = [(entry, entry.is_dir()) for entry in found]
        except OSError as error:
            raise DimrError(f"{folder}: not readable ({single_line(error)})") from None
        for entry, is_folder in kinds:
            if entry.name.startswith(".") or entry.name.lower() in SYSTEM:
                continue
            path = below / entry.name
            if is_folder:
                self.files.setdefault(path.parts[0], [])
                self._walk(folder / entry.name, path, above | {identity})
            elif _is_image(entry):
                self.files[path.parts[0] if len(path.parts) > 1 else ""].append(str(path))
            else:
                self.others.append(str(path))


def _is_image(entry: os.DirEntry[str]) -> bool:
    """Whether a file is an image of a supported format."""
    suffix = os.path.splitext(entry.name)[1].lower()
    if suffix in OTHER_IMAGES:
        raise DimrError(
            f"{entry.path}: {suffix} images are not taken (only {', '.join(SUFFIXES)}): convert it"
        )
    if suffix in SUFFIXES and not entry.is_file():
        state = "not a file" if os.path.exists(entry.path) else "a link that leads nowhere"
        raise DimrError(f"{entry.path}: {state}")
    return suffix in SUFFIXES


def _flat(folder: Path, tree: _Tree) -> dict[str, list[str]]:
    if within := [name for name, files in tree.files.items() if name and files]:
        raise DimrError(
            f"{folder}: holds {counted(len(tree.files['']), 'image')} "
            f"({listed(tree.files[''])}) beside {counted(len(within), 'folder')} of images "
            f"({listed(within)}): put every image into the folder of its class"
        )
    return {class_name(folder.name or "images", str(folder)): tree.files[""]}


def _class_folders(folder: Path, tree: _Tree) -> dict[str, list[str]]:
    names = sorted((name for name in tree.files if name), key=natural)
    if not any(tree.files.values()):
        raise DimrError(
            f"{folder}: no images in it: looked for folders of {', '.join(SUFFIXES)} files, such "
            f"files, {LABELS}, and .parquet files"
        )
    for name in names:
        deep = [path for path in tree.files[name] if path.count("/") > 1]
        if deep:
            inner = folder / deep[0].rsplit("/", 1)[0]
            raise DimrError(
                f"{inner}: a folder of images within a folder: give the folder whose own folders "
                f"are the classes ({folder / name}?)"
            )
    if empty := [name for name in names if not tree.files[name]]:
        raise DimrError(
            f"{folder}: no images in {counted(len(empty), 'class folder')} ({listed(empty)}): "
            "remove or fill them"
        )
    check_apart(names, str(folder), "class folders")
    found = {class_name(name, str(folder)): tree.files[name] for name in names}
    if len(found) != len(names):
        raise DimrError(f"{folder}: two class folders' names differ in blanks only: rename one")
    return found


def _read_labels(folder: Path, tree: _Tree) -> dict[str, list[str]]:
    """Files by class, as in ``labels.csv``; ``DimrError`` unless it lists exactly the folder's."""
    table = folder / LABELS
    there = {composed(path): path for files in tree.files.values() for path in files}
    found: dict[str, list[str]] = {}
    seen: set[str] = set()
    for line, (file, label) in csv_rows(table, LABEL_COLUMNS, "label"):
        where = f"{table}: line {line}"
        path = place_in(there, file)
        if path in seen:
            raise DimrError(f"{where}: {file} has a label already")
        if path not in there:
            raise DimrError(f"{where}: {why_missing(folder, file)}")
        seen.add(path)
        found.setdefault(class_name(label, where), []).append(there[path])
    if not found:
        raise DimrError(f"{table}: lists no files")
    if left := there.keys() - seen:
        raise DimrError(f"{table}: leaves {counted(len(left), 'image')} out ({listed(left)})")
    check_apart(found, str(table), "classes")
    return {name: found[name] for name in sorted(found, key=natural)}


def read_image(path: Path) -> bytes:
    """An image's file; ``DimrError`` names it if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DimrError(f"{path}: not readable ({single_line(error)})") from None
    check_size(path.name, len(data), str(path.parent))
    return data
