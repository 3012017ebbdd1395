"""The hidden folder beside a result in which it is made, and the locks of those who work there.

It is named by the key of the work, so that work on another configuration is never mixed in, and it
takes the result's name when it is whole: both are on one disk.
"""

import shutil
from pathlib import Path

from filelock import FileLock

from dimr.errors import DimrError
from dimr.files import followed

LOCKS = "*lock"
PATIENCE_SECONDS = 1.0
"""How long a lock must be held to be somebody's: one who only asks, as here, holds it briefly."""


def work_folder(out: Path, key: str) -> Path:
    """Where a result is made; if ``out`` is a link, beside its target."""
    out = followed(out)
    return out.with_name(f".{out.name}.part-{key}")


def require_one_disk(folder: Path, out: Path) -> None:
    """Refuse work in a folder that cannot take the place of ``out``: it is on another disk."""
    out = followed(out)
    for place in (out.parent, out):
        if place.exists() and place.stat().st_dev != folder.stat().st_dev:
            raise DimrError(
                f"{folder}: is on another disk than {place}, whose place it is to take: both must "
                f"be on one; put the whole of {out.parent} on the larger disk, or a link to it"
            )


def is_held(lock: Path) -> bool:
    """Whether a process holds a lock file, or it is somebody's whom we may not ask."""
    asked = FileLock(lock)
    try:
        asked.acquire(timeout=PATIENCE_SECONDS)
    except OSError:  # Timeout is one
        return True
    asked.release()
    return False


def remove_abandoned(out: Path) -> None:
    """Remove what is left of work on ``out``, of any key, but for that which goes on."""
    out = followed(out)
    for folder in out.parent.glob(f".{out.name}.part-*"):
        if not any(is_held(lock) for lock in folder.glob(LOCKS)):
            shutil.rmtree(folder, ignore_errors=True)
