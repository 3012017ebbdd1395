"""The record that every stage leaves with its result, and whether the result is still the same.

``record.json`` in a result's folder is the result's identity: its kind (``result``: ``model``,
``latents``, ...), its key, facts, size and SHA-256 of every file (``files``), and a digest of
itself. The same result has the same record, whenever and wherever it was computed: rules and DVC
stages pass it to each other. What differs from time to time (git revision, versions, device,
command, seconds) is in ``provenance.json`` beside it; what people read about a model is in its
card, ``README.md``. Before hours of work on a result its files are compared with the record
(``verify``).
"""

import functools
import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from dimr.runtime.atomic import make_folder
from dimr.runtime.errors import DimrError
from dimr.runtime.files import digest_of, key_of, read_json, require_file, sha256, write_json
from dimr.runtime.progress import progress_bar

log = logging.getLogger(__name__)

RECORD = "record.json"
PROVENANCE = "provenance.json"
CARD = "README.md"
"""What people read about a model: its words may change while the model stays the same."""
FILES = "files"
DIGEST = "digest"
NO_KEY = "none"
"""Key of a record that stands in for a result: no result's key is so short."""
BESIDE_WEIGHTS = ("config.json", "class_names.json", "text_encoder.json")
"""Files that describe weights in the same folder."""
THREADS = 8
"""How many files are hashed at once; hashing lets other threads run."""
SHOWN_FROM = 1 << 30
"""Bytes from which a progress bar is shown: seconds of hashing."""


def seal(
    folder: Path,
    result: str,
    content: Mapping[str, Any],
    known: Mapping[str, str] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Write record and provenance of a result that is otherwise complete.

    Args:
        folder: of the result.
        result: its kind.
        content: its ``key``, and facts that are the same each time it is computed.
        known: SHA-256, by name, of files that need not be read again.
        origin: what may differ from time to time; None: not known.
    """
    make_folder(folder)
    files = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.name not in (RECORD, PROVENANCE, CARD):
            checksum = (known or {}).get(path.name) or sha256(path)
            files[path.name] = {"bytes": path.stat().st_size, "sha256": checksum}
    if origin is not None:
        write_json(folder / PROVENANCE, sealed(origin))
    write_json(folder / RECORD, sealed({"result": result, **content, FILES: files}))


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A record with the digest of its own content."""
    return {**content, DIGEST: digest_of(content)}


def is_intact(record: Mapping[str, Any]) -> bool:
    """Whether a record's digest matches its content; true if it has none."""
    content = {key: value for key, value in record.items() if key != DIGEST}
    return DIGEST not in record or record[DIGEST] == digest_of(content)


def read_record(folder: Path) -> dict[str, Any]:
    """Record and provenance of a result that an earlier stage left, as one mapping.

    Raises:
        DimrError: there is no record, or either was changed.
    """
    record = read_sealed(folder / RECORD)
    if not isinstance(record.get("key"), str):
        raise DimrError(f"{folder / RECORD}: not the record of a stage (no key)")
    if not (folder / PROVENANCE).is_file():
        return record
    return {**read_sealed(folder / PROVENANCE), **record}


def read_sealed(path: Path, what: str = "the record of a stage") -> dict[str, Any]:
    """A mapping with a digest of itself; ``DimrError`` if it is not ``what``, or was changed."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise DimrError(f"{path}: not {what}")
    if not is_intact(content):
        raise DimrError(f"{path}: changed since it was written (its digest differs)")
    return content


def recorded_key(folder: Path) -> str:
    """The key in a result's record."""
    return read_record(folder)["key"]


def stand_in(folder: Path, result: str) -> None:
    """Put a record in place of a result that does not exist, with a key that no result has."""
    seal(folder, result, {"key": NO_KEY})


def is_there(path: Path) -> bool:
    """Whether a result exists that is more than a stand-in."""
    try:
        return recorded_key(path) != NO_KEY
    except DimrError:
        return path.exists()


def content_key(path: Path) -> str:
    """What identifies weights that no stage here has made: the SHA-256 of their files.

    Args:
        path: a file, together with those that describe it (``BESIDE_WEIGHTS``); or a folder with
            all of its files, except records, which depend on where it was made, and the card
            beside a record.

    Raises:
        DimrError: there is no such file.
    """
    if path.is_dir():
        others = (RECORD, PROVENANCE, *([CARD] if (path / RECORD).is_file() else []))
        own = (file for file in path.iterdir() if file.is_file() and file.name[0] != ".")
        files = sorted(file for file in own if file.name not in others)
    else:
        files = [path, *(file for name in BESIDE_WEIGHTS if (file := path.parent / name).is_file())]
    require_file(files[0] if files else path)
    return key_of({"" if file == path else file.name: _hashed_once(file) for file in files})


def _hashed_once(file: Path) -> str:
    """The SHA-256 of a file, computed again only if it has changed."""
    found = file.stat()
    return _hashed(file.absolute(), found.st_size, found.st_mtime_ns)


@functools.cache
def _hashed(file: Path, size: int, mtime: int) -> str:  # noqa: ARG001 these reveal a change
    return sha256(file)


def verify(folder: Path, *names: str) -> None:
    """Compare files of a result with its record: they must exist, whole and unchanged.

    A folder without a record (from a hub, say), or with one from a version without checksums,
    cannot be compared: a line says so.

    Args:
        folder: of the result.
        names: which files; none: all that the record lists.

    Raises:
        DimrError: names the first file that is missing, differs, or is not listed.
    """
    folder = Path(folder)
    if not (folder / RECORD).is_file():
        return _tell_unchecked(folder, f"no {RECORD}")
    listed = read_record(folder).get(FILES)
    if listed is None:
        return _tell_unchecked(folder, f"a {RECORD} of an older version, without checksums")
    try:
        sizes = {name: int(entry["bytes"]) for name, entry in listed.items()}
        sums = {name: str(entry["sha256"]) for name, entry in listed.items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DimrError(f"{folder / RECORD}: its list of files is damaged") from None
    chosen = names or tuple(sums)
    for name in chosen:
        path = folder / name
        if name not in sums and path.exists():
            raise DimrError(f"{path}: no file of this result ({RECORD} does not list it)")
        if name in sums and path.is_file() and path.stat().st_size != sizes[name]:
            found = f"has {path.stat().st_size:,} bytes, was written with {sizes[name]:,}"
            raise DimrError(f"{path}: damaged: {found}")
    compare_files(folder, {name: sums[name] for name in chosen if name in sums})


@functools.cache
def _tell_unchecked(folder: Path, reason: str) -> None:
    """Warn once per folder: what could be damaged is not used silently."""
    log.warning("%s: has %s: damage to its files cannot be detected", folder, reason)


def compare_files(folder: Path, wanted: Mapping[str, str]) -> None:
    """Compare the SHA-256 of files by name, several at once.

    Raises:
        DimrError: names the first that is missing or differs.
    """
    missing = next((name for name in wanted if not (folder / name).is_file()), None)
    if missing is not None:
        raise DimrError(f"{folder / missing}: no such file, and it belongs to this result")
    sizes = {name: (folder / name).stat().st_size for name in wanted}
    total = sum(sizes.values())
    shown = total >= SHOWN_FROM
    with (
        progress_bar(
            total=total, description=f"verify {folder.name}", unit="B", scale=True, shown=shown
        ) as bar,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        found = pool.map(lambda name: sha256(folder / name), wanted)
        for (name, checksum), digest in zip(wanted.items(), found, strict=True):
            if digest != checksum:
                raise DimrError(f"{folder / name}: checksum differs from the recorded one: damaged")
            bar.update(sizes[name])
