"""From a published form of the images to the store; killed at any moment, a start goes on."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dimr.config.schema import Source
from dimr.data.imagenet.names import people_names
from dimr.data.imagenet.recognise import open_source
from dimr.data.imagenet.resumable_store import Work
from dimr.data.imagenet.source import ClassFiles, ImageSource
from dimr.data.imagenet.store import ImageStore, read_manifest
from dimr.runtime.errors import DimrError
from dimr.runtime.files import require_space, size_text
from dimr.runtime.progress import progress_bar

log = logging.getLogger(__name__)

NAMED = 3
"""Classes that a message names at most."""


def acquire(
    config: Source,
    source: str,
    out: Path,
    key: str,
    add: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Take the images in as a store ``out``; return its manifest.

    What an earlier start made is found again; a store that is there with this key is left as it is.

    Args:
        config: what must be there.
        source: a folder, an archive or ``owner/name`` on the hub (``recognise``).
        out: the store's folder.
        key: of ``config``.
        add: called with the folder before it takes its final name, to put more into it.

    Raises:
        DimrError: one line that names what is missing, damaged or has no place; also too little
            disk space, which is found before anything is written.
    """
    work = Work(out, key)
    if manifest := _there(out, key):
        log.info("%s: is there already", out)
        work.clean()
        return manifest
    found = open_source(source, config, work)
    with work.held():
        work.begun_from({"kind": found.kind, "where": _absolute(found)})
        _require_space(found, work, config)
        found.prepare(work)
        classes = found.classes()
        _check(classes, config, found.where)
        _write(found, classes, work)
        wnids = list(classes)
        return work.finish(
            wnids, people_names(wnids, found.words), found.facts(), config.known_bad, add
        )


def _there(out: Path, key: str) -> dict[str, Any] | None:
    """The manifest of a whole store with this key, else None."""
    if not out.exists():
        return None
    try:
        manifest = read_manifest(out)
        if manifest["key"] == key:
            ImageStore(out)
            return manifest
    except DimrError as error:
        log.info("%s; it is made anew", error)
    return None


def _absolute(found: ImageSource) -> str:
    return found.where if found.kind == "hub" else str(Path(found.where).resolve())


def _require_space(found: ImageSource, work: Work, config: Source) -> None:
    needed = found.space(work)
    log.info(
        "%s (%s): %d images; %s are to be written",
        found.where, found.kind, config.images, size_text(needed),
    )  # fmt: skip
    require_space(work.folder.parent, needed, "the images' store")


def _write(found: ImageSource, classes: Mapping[str, ClassFiles], work: Work) -> None:
    """Store the classes that are not there yet."""
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
    from dimr.data.classes import wordnet_ids

    if wanted := set(wordnet_ids(config.classes)):
        for problem, wnids in (
            ("missing", wanted - classes.keys()),
            ("not ImageNet's", classes.keys() - wanted),
        ):
            if wnids:
                raise DimrError(f"{where}: {len(wnids)} classes are {problem}: {_listed(wnids)}")
    if len(classes) != config.classes:
        raise DimrError(
            f"{where}: {len(classes)} classes, should be {config.classes} ({_listed(classes)})"
        )
    if empty := [wnid for wnid, files in classes.items() if files.count < 1]:
        raise DimrError(f"{where}: no images in class {_listed(empty)}")
    images, wanted_images = sum(f.count for f in classes.values()), config.images
    wanted_images -= len(config.known_bad)
    if images != wanted_images:
        least = min(classes, key=lambda wnid: classes[wnid].count)
        raise DimrError(
            f"{where}: {images} images, should be {wanted_images} (the fewest, "
            f"{classes[least].count}, are in {least})"
        )


def _listed(wnids: Any) -> str:
    listed = ", ".join(sorted(wnids)[:NAMED])
    return listed + (", ..." if len(wnids) > NAMED else "")
