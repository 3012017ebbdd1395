"""From a published form of the images to the store; after a kill at any moment it resumes."""

import logging
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from dimr.config.schema import Source
from dimr.data.classes import class_names, wordnet_ids
from dimr.data.imagenet.archive import NAME, ArchiveSource
from dimr.data.imagenet.folder import FolderSource, class_folders, own_class_folders
from dimr.data.imagenet.hub import HubSource
from dimr.data.imagenet.parquet import ParquetSource, shard_folder
from dimr.data.imagenet.resumable_store import StoreWork
from dimr.data.imagenet.source import ClassFiles, ImageSource
from dimr.data.imagenet.store import ImageStore, StoreManifest
from dimr.data.own.source import OwnSource
from dimr.runtime.atomic import require_space, size_text
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar

log = logging.getLogger(__name__)

NAMED = 3
"""Classes that a message names at most."""
LOOKED_FOR = (
    f"class folders (n01440764/..., or any names) in it or its train/, {NAME}, or parquet shards "
    "(train-00000-of-NNNNN.parquet) in it or its data/"
)
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


def acquire(
    config: Source,
    source: str,
    out: Path,
    key: str,
    add: Callable[[Path], None] | None = None,
    name: str = "NAME",
) -> StoreManifest:
    """Take the images in as a store ``out``; return its manifest.

    What an earlier start stored is used again; a complete store with this key is left as it is.

    Args:
        config: what must be in the source.
        source: a folder, an archive or ``owner/name`` on the hub (``open_source``).
        out: the store's folder.
        key: of ``config``.
        add: called with the folder before it takes its final name, to put more into it.
        name: of the set, for messages.

    Raises:
        DimrError: one line that names what is missing, damaged or does not belong there; also too
            little disk space, which is found before anything is written.
    """
    work = StoreWork(out, key)
    if manifest := _existing(out, key):
        log.info("%s: already complete", out)
        work.remove_abandoned()
        return manifest
    own = bool(config.class_names)
    found = OwnSource(source, config, name) if own else open_source(source, config, work)
    with work.claimed():
        where = found.where if found.kind == "hub" else str(Path(found.where).resolve())
        work.begun_from({"kind": found.kind, "where": where})
        needed = found.space(work)
        log.info("%s (%s): %d images; %s to be written",
                 found.where, found.kind, config.images, size_text(needed))  # fmt: skip
        require_space(work.folder.parent, needed, "the images' store")
        found.prepare(work)
        classes = found.classes()
        _check(classes, config, found.where)
        _write(found, classes, work)
        known = {} if own else dict(zip(wordnet_ids(1000), class_names(1000), strict=True))
        names = [known.get(wnid) or found.words.get(wnid) or wnid for wnid in classes]
        facts, captions = found.facts(), found.captions
        return work.finish(list(classes), names, facts, config.known_bad, add, captions)


def open_source(text: str, config: Source, work: StoreWork) -> ImageSource:
    """The source of a published set that ``--source`` means.

    Args:
        text: a folder, the path of an archive, or ``owner/name`` on the hub, if nothing exists at
            that path.
        config: what must be in it.
        work: where the hub's listing is kept.

    Raises:
        DimrError: nothing is recognised (with what was looked for), or several things are; it
            cannot be read.
    """
    try:
        path = Path(text).expanduser()
        if path.is_dir():
            return _in_folder(path, config)
        exists = os.path.lexists(path)
        if path.is_file():
            if path.suffix != ".tar":
                raise DimrError(f"{path}: not a source of images; give {NAME} or a folder")
            return ArchiveSource(path, config)
    except (OSError, RuntimeError) as error:  # the latter for a user without a home folder
        raise DimrError(f"{text[:200]}: not readable ({single_line(error)})") from None
    if exists:
        raise DimrError(f"{path}: neither a folder nor a file, or a link that leads nowhere")
    if _REPO.fullmatch(text) and not text.startswith("."):
        return HubSource(text, config, work)
    raise DimrError(f"{text}: no such folder or file, and not an owner/name on the hub")


def _in_folder(folder: Path, config: Source) -> ImageSource:
    classes, shards, archive = class_folders(folder), shard_folder(folder), folder / NAME
    found = [path for path in (classes, shards, archive) if path is not None and path.exists()]
    if not found:
        classes = own_class_folders(folder)
        if classes is None:
            raise DimrError(f"{folder}: not a source of images; looked for {LOOKED_FOR}")
    if len(found) > 1:
        raise DimrError(f"{folder}: holds several sources; give {' or '.join(map(str, found))}")
    if classes:
        return FolderSource(classes, config)
    return ParquetSource(shards, config) if shards else ArchiveSource(archive, config)


def _existing(out: Path, key: str) -> StoreManifest | None:
    """The manifest of a whole store with this key, else None."""
    if not out.exists() or not any(out.iterdir()):  # Snakemake makes a record's folder in advance
        return None
    try:
        manifest = StoreManifest.read(out)
        if manifest.key == key:
            ImageStore(out)
            return manifest
    except DimrError as error:
        log.info("%s; it is regenerated", error)
    return None


def _write(found: ImageSource, classes: Mapping[str, ClassFiles], work: StoreWork) -> None:
    """Store the classes that are missing."""
    todo = {wnid: files for wnid, files in classes.items() if not work.has(wnid, files.count)}
    total = sum(files.nbytes for files in classes.values())
    done = total - sum(files.nbytes for files in todo.values())
    with progress_bar(
        total=total, initial=done, description="store classes", unit="B", scale=True
    ) as bar:
        for wnid, files in todo.items():
            work.write_class(wnid, found.images(wnid), files.count)
            bar.update(files.nbytes)


def _check(classes: Mapping[str, ClassFiles], config: Source, where: str) -> None:
    """Compare classes and number of images with what was published."""
    if wanted := set(wordnet_ids(0 if config.class_names else config.num_classes)):
        for problem, wnids in (
            ("missing", wanted - classes.keys()),
            ("not ImageNet's", classes.keys() - wanted),
        ):
            if wnids:
                raise DimrError(f"{where}: {len(wnids)} classes are {problem}: {_listed(wnids)}")
    if len(classes) != config.num_classes:
        raise DimrError(
            f"{where}: {len(classes)} classes, should be {config.num_classes} ({_listed(classes)})"
        )
    if empty := [wnid for wnid, files in classes.items() if files.count < 1]:
        raise DimrError(f"{where}: no images in class {_listed(empty)}")
    images = sum(files.count for files in classes.values())
    wanted_images = config.images - len(config.known_bad)
    if images != wanted_images:
        least = min(classes, key=lambda wnid: classes[wnid].count)
        raise DimrError(
            f"{where}: {images} images, should be {wanted_images} (the fewest, "
            f"{classes[least].count}, are in {least})"
        )


def _listed(wnids: Iterable[str]) -> str:
    found = sorted(wnids)
    return ", ".join(found[:NAMED]) + (", ..." if len(found) > NAMED else "")
