"""Which published form of the images a path or name is, from what is there."""

import os
import re
from pathlib import Path

from dimr.config.schema import Source
from dimr.data.imagenet.archive import NAME, ArchiveSource
from dimr.data.imagenet.folder import FolderSource, class_folders, own_class_folders
from dimr.data.imagenet.hub import HubSource
from dimr.data.imagenet.parquet import ParquetSource, shard_folder
from dimr.data.imagenet.resumable_store import Work
from dimr.data.imagenet.source import ImageSource
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

_REPO = re.compile(r"[\w.-]+/[\w.-]+")

LOOKED_FOR = (
    f"class folders (n01440764/..., or any names) in it or its train/, {NAME}, or parquet shards "
    "(train-00000-of-NNNNN.parquet) in it or its data/"
)


def open_source(text: str, config: Source, work: Work) -> ImageSource:
    """The source that ``--source`` means.

    Args:
        text: a folder, the path of an archive, or ``owner/name`` on the hub, where nothing is at
            that path.
        config: what must be in it.
        work: the hub's listing is kept there.

    Raises:
        DimrError: nothing is recognised (with what was looked for), or several things are; it
            cannot be read.
    """
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return _in_folder(path, config)
        there = os.path.lexists(path)
        if path.is_file():
            if path.suffix != ".tar":
                raise DimrError(f"{path}: no source of images; name {NAME} or a folder")
            return ArchiveSource(path, config)
    except (OSError, RuntimeError) as error:  # the latter of a home folder that there is not
        raise DimrError(f"{text[:200]}: not readable ({single_line(error)})") from None
    if there:
        raise DimrError(f"{path}: neither a folder nor a file, or a link that leads nowhere")
    if _REPO.fullmatch(text) and not text.startswith("."):
        return HubSource(text, config, work)
    raise DimrError(f"{text}: no such folder or file, and no owner/name of the hub")


def _in_folder(folder: Path, config: Source) -> ImageSource:
    classes, shards, archive = class_folders(folder), shard_folder(folder), folder / NAME
    found = [path for path in (classes, shards, archive) if path is not None and path.exists()]
    if not found:
        classes = own_class_folders(folder)
        if classes is None:
            raise DimrError(f"{folder}: no source of images; looked for {LOOKED_FOR}")
    if len(found) > 1:
        raise DimrError(f"{folder}: holds several sources; name {' or '.join(map(str, found))}")
    if classes:
        return FolderSource(classes, config)
    return ParquetSource(shards, config) if shards else ArchiveSource(archive, config)
