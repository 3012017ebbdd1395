"""Files that are whole or absent: written under a temporary name beside their own, then renamed.

Before the rename everything is flushed to the disk, so that a power cut leaves the old file or the
new one, and files get the permissions that the umask allows (some writers keep them private).
"""

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimr.runtime.errors import DimrError, DiskFull
from dimr.runtime.strict_yaml import LARGEST as LARGEST_YAML
from dimr.runtime.strict_yaml import YAMLError
from dimr.runtime.strict_yaml import load as parse_yaml

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors that mean: no room for this file."""
_SAID_FULL = re.compile(
    r"no space left|disk quota|file too large|os error (28|122|27)\b|requested and \d+ written"
    r"|PytorchStreamWriter failed|unexpected pos",
    re.IGNORECASE,
)
"""How libraries say the same in errors without a number (safetensors, numpy, torch)."""
ABANDONED_SECONDS = 86_400
"""After so long without a change, unfinished work of another machine's process is abandoned."""
TEMPORARY = ".*.dimr-tmp-*"
"""Pattern of the names under which files and folders are built."""
_CWD, _EXCHANGE = -100, 2  # of renameat2: AT_FDCWD, RENAME_EXCHANGE

# --- whole or absent ------------------------------------------------------------------------------


def temporary_name(path: Path) -> Path:
    """The hidden name beside ``path`` under which this process builds it."""
    return _marked(path, "tmp", path.suffix)


def _marked(path: Path, mark: str, suffix: str = "") -> Path:
    """A hidden name beside ``path`` that says which process of which machine has given it."""
    return path.with_name(f".{path.name}.dimr-{mark}-{_host()}-{os.getpid()}{suffix}")


def _host() -> str:
    """This machine in 8 digits: numbers of another one's processes say nothing here."""
    return hashlib.sha256(platform.node().encode()).hexdigest()[:8]


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is flushed and renamed to ``path``, else removed.

    Raises:
        DiskFull: the block, or the flush, met a full disk; ``path`` is as it was before.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
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
    """Yield a temporary folder; on success it takes the place of ``path``, else it is removed.

    If ``path`` is a link, that of its target. What a killed process left of the same work goes.

    Raises:
        DiskFull: as for ``atomic_file``.
    """
    path = followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
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
    """Flush the folder ``new`` and rename it to ``path`` (or its target), whose content goes.

    The two change places in one step where the system can, so that there is always one of them.
    """
    path = followed(path)
    flush_folder(new)
    if not path.exists():
        os.replace(new, path)
    elif _exchange(new, path):
        shutil.rmtree(new, ignore_errors=True)  # what was there before
    else:
        old = _marked(path, "old")
        os.replace(path, old)
        os.replace(new, path)
        shutil.rmtree(old, ignore_errors=True)
    flush(path.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where the system or the disk cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    return rename(_CWD, os.fsencode(one), _CWD, os.fsencode(other), _EXCHANGE) == 0


def remove_leftovers(path: str | Path) -> None:
    """Remove what killed processes left of ``path``; what was moved aside last comes back.

    Temporary names of processes that still run are left alone.
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
    except PermissionError:  # it runs, and is somebody else's
        return False
    return int(found[2]) == os.getpid()  # a number that was given again


def _changed(path: Path) -> float:
    """When a file, or what lies in a folder, was changed last; now, if it just goes away."""
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
    """The target of a link, which a result lies in the place of; ``path`` if it is none."""
    path = Path(path)
    return resolved(path) if os.path.islink(path) else path


def resolved(path: str | Path) -> Path:
    """A path without links; ``DimrError`` for links in a circle."""
    try:
        return Path(path).resolve()
    except RuntimeError:  # of Python 3.11 and 3.12
        raise DimrError(f"{path}: a link that leads back to itself") from None


# --- through to the disk --------------------------------------------------------------------------


def flush(path: Path) -> None:
    """Write a file, or a folder's list of names, through to the disk; files get the umask's mode.

    A file with a second name (a hard link) may be somebody else's: its mode stays.
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
    """Write all files of a folder, and below, through to the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                flush(file)
        flush(Path(parent))


def _umask() -> int:
    """Which permissions new files lack."""
    with contextlib.suppress(OSError):
        found = re.search(r"^Umask:\s*([0-7]+)$", Path("/proc/self/status").read_text(), re.M)
        if found:
            return int(found[1], 8)
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# --- space ----------------------------------------------------------------------------------------


def means_full(error: BaseException) -> bool:
    """Whether an error, of whichever library, says that there is no room on the disk."""
    if isinstance(error, DiskFull):
        return True
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in FULL
    return _SAID_FULL.search(str(error)) is not None


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
            f"{path}: no space left on the disk; what was there before stays: make room, and run "
            "the same command again"
        ) from None


def require_space(folder: str | Path, size: int, what: str) -> None:
    """Refuse to begin where the disk of ``folder`` has less than ``size`` bytes left.

    Raises:
        DiskFull: with both numbers; ``what`` says what they are for.
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


# --- content --------------------------------------------------------------------------------------


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_if_changed(path: str | Path, text: str) -> bool:
    """Write ``text`` unless the file holds it already (contract A); say whether it was written."""
    path = Path(path)
    if path.is_file() and path.read_bytes() == text.encode():
        return False
    write_text(path, text)
    return True


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def save_array(array: Any, path: str | Path) -> None:
    """Write a numpy array as ``.npy``, not atomically; ``OSError`` if the disk does not take it.

    numpy's own ``save`` writes through the C library, and loses the error of what is still in its
    buffer when the file is closed: the end of the file is then missing, and nothing was said.
    """
    import numpy as np
    from numpy.lib import format as npy

    whole = np.ascontiguousarray(array)
    with open(path, "wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(whole))
        file.write(whole.reshape(-1).view(np.uint8).data)


def save_png(image: Any, path: str | Path) -> None:
    """Write a PIL image as PNG atomically; its metadata says that dimr made it."""
    from PIL.PngImagePlugin import PngInfo  # with the rest of Pillow: slow to import

    info = PngInfo()
    info.add_text("Software", "dimr")
    with atomic_file(path) as temporary:
        image.save(temporary, "PNG", pnginfo=info)


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one raises ``DimrError`` with its name."""
    require_file(path)
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DimrError(f"{path}: not readable as JSON ({single_line(error)})") from None


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file; a missing or damaged one raises ``DimrError`` with its name."""
    require_file(path)
    try:
        with open(path, encoding="utf-8") as file:
            return parse_yaml(file.read(LARGEST_YAML + 1))
    except (OSError, ValueError, YAMLError) as error:
        raise DimrError(f"{path}: not readable as YAML ({single_line(error)})") from None


def require_file(path: str | Path) -> None:
    """Refuse what is no file: a pipe would be waited for, a device has no end."""
    if not Path(path).exists():
        raise DimrError(f"{path}: no such file")
    if not Path(path).is_file():
        raise DimrError(f"{path}: not a file{', but a folder' * Path(path).is_dir()}")


def single_line(error: object) -> str:
    """An error's text on one line, or its kind if it has none."""
    nameless = type(error).__name__ if isinstance(error, BaseException) else ""
    return " ".join(str(error).split()) or nameless


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes; ``DimrError`` for what is no file: a pipe has no end."""
    require_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same before it is written and after it is read."""
    plain = json.loads(json.dumps(value))
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(*values: Any) -> str:
    """16 hex digits that identify JSON-able values; the same for equal values in any key order."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
