"""What an output may replace: a result of its own kind that dimr wrote, and nothing else.

A command declares the kind of each of its outputs (``dimr.stages.options``); the check is made here
for all commands, before any work (``dimr.runtime.output_kinds`` says how kinds are recognised).
"""

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

from dimr.runtime.atomic import (
    FULL,
    followed,
    make_folder,
    remove_leftovers,
    resolved,
    temporary_name,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.output_kinds import BESIDE, FOLDERS, GROWING, described, holds, kinds_of_folder
from dimr.runtime.record import CARD, PROVENANCE, RECORD
from dimr.runtime.record import FILES as RECORDED_FILES

OF_THE_SYSTEM = frozenset({".snakemake_timestamp", ".DS_Store", "Thumbs.db", "desktop.ini"})
"""Files that others leave in any folder, and nobody misses."""
LOG_MARK = "# dimr log"
"""First line of a file that ``--log`` begins."""
SHOWN = 300
"""Characters of a path that a message shows at most."""


def check_places(outputs: Mapping[str, tuple[Path, str]], inputs: Mapping[str, Path]) -> None:
    """Refuse outputs that would replace, or lie in, what they must not, or cannot be written.

    Leftovers of killed processes are removed once all checks have passed.

    Args:
        outputs: place and kind (in ``FOLDERS``, ``FILES`` or ``GROWING``) of each, by the option
            that names it.
        inputs: files and folders that the command reads or resumes from, likewise.

    Raises:
        DimrError: names the option and what is in its way.
    """
    written = dict(outputs)
    for option, (place, kind) in outputs.items():
        for suffix in BESIDE.get(kind, ()) if place.name else ():
            written[option + suffix] = (place.with_suffix(suffix), f"{kind} {suffix}")
    places = {option: place for option, (place, _) in written.items()}
    for option, (place, kind) in written.items():
        claim(place, kind, option)
        for other, path in {**inputs, **places}.items():
            if other != option:
                _check_apart(option, place, other, path)
        if kind == "source":
            _check_outside(option, place, inputs)
    for place, kind in written.values():
        if kind not in GROWING and followed(place).parent.is_dir():
            remove_leftovers(place)


def _check_apart(option: str, place: Path, other: str, path: Path) -> None:
    own, its = resolved(place), resolved(path)
    if own == its:
        raise DimrError(f"{option} {place}: is {other} too: each needs a place of its own")
    if its.is_relative_to(own):
        raise DimrError(f"{other} {path}: lies in {option} {place}, which would be replaced")


def _check_outside(option: str, place: Path, inputs: Mapping[str, Path]) -> None:
    """Refuse outputs within images that are taken in: the next start would read them, too."""
    for other, path in inputs.items():
        if path.is_dir() and resolved(place).is_relative_to(resolved(path)):
            raise DimrError(f"{option} {place}: lies in {other} {path}, which is read")


def claim(place: Path, kind: str, option: str = "") -> None:
    """Refuse a place that holds anything but an earlier result of this kind, or cannot be written.

    Raises:
        DimrError: with ``option`` in front, if it is given.
    """
    named = f"{option} {place}".strip()
    target = followed(place)
    if kind in FOLDERS and resolved(Path.cwd()).is_relative_to(resolved(target)):
        raise DimrError(f"{named}: holds the current folder; name a place of its own")
    if kind not in FOLDERS and kind not in GROWING and target.is_dir():
        raise DimrError(f"{named}: is a folder; a file is to be written there")
    _require_writable(target / "x" if kind in GROWING else target, named)
    if target.exists():
        _check_own(target, kind, named)
    _check_not_in_a_result(target, named)


def _check_own(target: Path, kind: str, named: str) -> None:
    """Refuse existing content unless it is an earlier result of this kind."""
    if kind in GROWING:
        if (foreign := _foreign_in_growing(target, GROWING[kind])) is not None:
            raise DimrError(f"{named}: has {foreign}, which is no part of a {kind}; name another")
    elif kind in FOLDERS:
        if (reason := _why_not(target, kind)) is not None:
            raise DimrError(f"{named}: {reason}; refusing to overwrite")
    elif not (target.is_file() and holds(target, kind)):
        raise DimrError(
            f"{named}: already exists and was not created by dimr as {kind}; refusing to overwrite"
        )


def _require_writable(target: Path, named: str) -> None:
    """Refuse, before the work, a place where nothing can be written under a temporary name."""
    folder, missing = target.parent, [temporary_name(target).name]
    try:
        while not folder.exists():
            missing.append(folder.name)
            folder = folder.parent
        if not folder.is_dir():
            raise DimrError(f"{named}: {folder} is a file, not a folder")
        longest = os.pathconf(folder, "PC_NAME_MAX")
        if max(len(os.fsencode(name)) for name in missing) > longest:
            raise DimrError(f"{named[:SHOWN]}: the name is too long for this disk")
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise DimrError(f"{named[:SHOWN]}: cannot be written ({error.strerror})") from None


def _check_not_in_a_result(target: Path, named: str) -> None:
    """A result holds what its record lists, and is replaced as a whole."""
    for folder in target.absolute().parents:
        if (result := described(folder / RECORD).get("result")) in FOLDERS:
            raise DimrError(
                f"{named}: lies in {folder}, a result of dimr; choose a place outside the "
                f"{result}'s own folder"
            )


def _foreign_in_growing(folder: Path, names: str) -> str | None:
    """What is in the way in a folder that files are added to."""
    if not folder.is_dir():
        return "a file's content"
    found = sorted(path.name for path in folder.iterdir() if path.name not in OF_THE_SYSTEM)
    return next((name for name in found if re.fullmatch(names, name) is None), None)


def _why_not(folder: Path, kind: str) -> str | None:
    """Why a result of a kind may not replace a folder; None: it may."""
    if not folder.is_dir():
        return "already exists and was not created by dimr"
    present = {path.name for path in folder.iterdir()} - OF_THE_SYSTEM
    if not present:
        return None
    record = described(folder / RECORD)
    kinds = kinds_of_folder(folder, record)
    if not kinds:
        return "already exists and was not created by dimr"
    if kind not in kinds:
        return f"holds {kinds[0]}, and {kind} would be written"
    listed = record.get(RECORDED_FILES)
    if kind == "model" and holds(folder / CARD, "model card"):
        present.remove(CARD)
    foreign = sorted(present - {RECORD, PROVENANCE, *listed}) if isinstance(listed, dict) else []
    return f"has {foreign[0]}, which is not of this {kind}" if foreign else None


def check_log(path: Path) -> None:
    """Refuse a ``--log`` that would add lines to what is not a log of dimr's; begin a new one.

    Raises:
        DimrError: a folder, a file with other content, or a place that cannot be written.
    """
    try:
        if path.is_char_device():  # /dev/null, a terminal
            return
        make_folder(path.parent)
        with open(path, "a+b") as file:
            file.seek(0)
            begun = file.read(len(LOG_MARK))
            if not begun:
                file.write(f"{LOG_MARK}\n".encode())
    except IsADirectoryError:
        raise DimrError(f"--log {path}: is a folder; it names a file") from None
    except OSError as error:
        shown = str(path)[:SHOWN]
        raise DimrError(f"--log {shown}: cannot be written ({error.strerror})") from None
    if begun not in (b"", LOG_MARK.encode()):
        raise DimrError(f"--log {path}: already exists and is no log of dimr; refusing to append")
