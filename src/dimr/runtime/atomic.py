"""Files and folders that are whole or absent: built under a temporary name, then renamed.

Everything is flushed to the disk before the rename, so that a power failure leaves the old file or
the new one. Files get the permissions that the umask allows (some writers keep theirs private).
"""

import contextlib
import ctypes
import errno
import glob
import hashlib
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from dimr.runtime.errors import DimrError, DiskFull

TEMPORARY = ".*.dimr-tmp-*"
"""Pattern of the names under which files and folders are built."""
ABANDONED_SECONDS = 86_400
"""Age at which unfinished work of another machine's process counts as abandoned."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers that mean: no room for this file."""
_FULL_MESSAGES = re.compile(
    r"no space left|disk quota|file too large|os error (28|122|27)\b|requested and \d+ written"
    r"|PytorchStreamWriter failed|unexpected pos",
    re.IGNORECASE,
)
"""The same in errors without a number (of safetensors, numpy, torch)."""
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2


def make_folder(folder: Path) -> None:
    """Create a folder and those above it; ``DimrError`` names a dangling link on the way."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        for place in (folder, *folder.parents):
            if place.is_symlink() and not place.exists():
                target = os.readlink(place)
                raise DimrError(
                    f"{place}: links to {target}, which does not exist: mkdir -p {target}"
                ) from None
        raise


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is flushed and renamed to ``path``, else removed.

    Raises:
        DiskFull: the block, or the flush, met a full disk; ``path`` is as it was before.
    """
    path = Path(path)
    make_folder(path.parent)
    temporary = temporary_name(path)
    try:
        with disk_full_named(path):
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
            flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it replaces ``path`` (or the target, if it is a link).

    Otherwise it is removed. Remains of killed processes' work on ``path`` are removed first.

    Raises:
        DiskFull: as for ``atomic_file``.
    """
    path = followed(path)
    make_folder(path.parent)
    remove_leftovers(path)
    temporary = temporary_name(path)
    temporary.mkdir()
    try:
        with disk_full_named(path):
            yield temporary
            replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(new: Path, path: Path) -> None:
    """Flush the folder ``new`` and rename it to ``path`` (or its target), whose content is removed.

    The two are swapped in one step where the system can, so that one of them always exists.
    """
    path = followed(path)
    flush_folder(new)
    if not path.exists():
        os.replace(new, path)
    elif exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)  # the old content
    else:
        old = _marked(path, "old")
        os.replace(path, old)
        os.replace(new, path)
        shutil.rmtree(old, ignore_errors=True)
    flush(path.parent)


def exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the disk cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    names = os.fsencode(one), os.fsencode(other)
    return rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE) == 0


# --- temporary names, and what killed processes leave ---------------------------------------------


def temporary_name(path: Path) -> Path:
    """The hidden name beside ``path`` under which this process builds it."""
    return _marked(path, "tmp", path.suffix)


def _marked(path: Path, mark: str, suffix: str = "") -> Path:
    """A hidden name beside ``path`` that names the machine and the process."""
    return path.with_name(f".{path.name}.dimr-{mark}-{_host()}-{os.getpid()}{suffix}")


def _host() -> str:
    """This machine in 8 digits: process numbers of another one mean nothing here."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed processes left of ``path``; a folder that was moved aside is restored.

    Temporary names of running processes are left alone.
    """
    path = followed(path)
    name = glob.escape(path.name)
    for old in path.parent.glob(f".{name}.dimr-old-*"):
        if _is_abandoned(old):
            if path.exists():
                _remove(old)
            else:  # killed between the two renames
                os.replace(old, path)
    for left in path.parent.glob(f".{name}.dimr-tmp-*"):
        if _is_abandoned(left):
            _remove(left)


def _is_abandoned(left: Path) -> bool:
    """Whether the process whose machine and number are in the name has ended."""
    found = re.search(r"\.dimr-(?:tmp|old)-([0-9a-f]{8})-(\d{1,10})(?:\.\w+)?$", left.name)
    if found is None:
        return False
    if found[1] != _host():
        return time.time() - _changed(left) > ABANDONED_SECONDS
    try:
        os.kill(int(found[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it is running, as another user's
        return False
    return int(found[2]) == os.getpid()  # a reused process number


def _changed(path: Path) -> float:
    """When a file, or anything in a folder, was last changed; now, if it has just been removed."""
    try:
        return max(p.stat().st_mtime for p in (path, *path.rglob("*")))
    except FileNotFoundError:
        return time.time()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def followed(path: str | Path) -> Path:
    """The target of a link, where the result itself is; ``path`` if it is no link."""
    path = Path(path)
    return resolved(path) if os.path.islink(path) else path


def resolved(path: str | Path) -> Path:
    """A path without links; ``DimrError`` for a circle of links."""
    try:
        return Path(path).resolve()
    except RuntimeError:  # of Python 3.11 and 3.12
        raise DimrError(f"{path}: a link that leads back to itself") from None


# --- through to the disk --------------------------------------------------------------------------


def flush(path: Path) -> None:
    """Write a file, or a folder's list of names, through to the disk; files get the umask's mode.

    A file with a second name (a hard link) may be somebody else's: its mode is kept.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        state = os.fstat(descriptor)
        if stat.S_ISREG(state.st_mode) and state.st_nlink == 1:
            wanted = stat.S_IMODE(state.st_mode) | 0o666 & ~_umask()
            if stat.S_IMODE(state.st_mode) != wanted:
                os.fchmod(descriptor, wanted)
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM, errno.EROFS):  # disks that cannot
            raise
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Flush all files in and below a folder to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                flush(file)
        flush(Path(parent))


def _umask() -> int:
    """Permissions that new files lack; read without setting it, which other threads would see."""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"^Umask:\s*([0-7]+)$", status, re.M):
            return int(found[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# --- space on the disk ----------------------------------------------------------------------------


def means_full(error: BaseException) -> bool:
    """Whether an error, from whichever library, says that there is no room on the disk."""
    if isinstance(error, DiskFull):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return _FULL_MESSAGES.search(str(error)) is not None


@contextlib.contextmanager
def disk_full_named(path: Path) -> Iterator[None]:
    """A block that writes ``path``; an error that says "no space" becomes ``DiskFull``."""
    try:
        yield
    except DimrError as error:
        inner = str(temporary_name(path))  # a writer within this one has named its own place
        if isinstance(error, DiskFull) and inner in str(error):
            raise DiskFull(str(error).replace(inner, str(path))) from None
        raise
    except Exception as error:
        if not means_full(error):
            raise
        raise DiskFull(
            f"{path}: no space left on the disk; what was there before is kept: make room, and run "
            "the same command again"
        ) from None


def require_space(folder: str | Path, size: int, what: str) -> None:
    """Refuse to begin where the disk of ``folder`` has less than ``size`` bytes left.

    Raises:
        DiskFull: with both numbers; ``what`` says what needs them.
    """
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DiskFull(
            f"{folder}: {size_text(free)} free, {what} takes {size_text(size)}: make room, or put "
            "the folder (or a link to one) on a larger disk"
        )


def size_text(size: int) -> str:
    """Bytes for people, three digits: ``512 bytes``, ``1.21 MB``, ``138 GB``."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB", "PB", "EB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{size:,} bytes" if unit == "bytes" else f"{value:.3g} {unit}"
