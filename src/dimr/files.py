"""Files that are whole or absent: written under a temporary name beside their own, then renamed."""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from dimr.errors import DimrError

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # in C, where there is one: 8 times faster


def temporary_name(path: Path) -> Path:
    """The hidden name beside ``path`` under which this process builds it."""
    return path.with_name(f".{path.name}.tmp{os.getpid()}{path.suffix}")


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; on success it is flushed and renamed to ``path``, else removed."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def followed(path: str | Path) -> Path:
    """The target of a link, which a result lies in the place of; ``path`` if it is none."""
    path = Path(path)
    return path.resolve() if path.is_symlink() else path


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; on success it takes the place of ``path``, else it is removed.

    If ``path`` is a link, that of its target.
    """
    path = followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        replace_directory(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def replace_directory(new: Path, path: Path) -> None:
    """Rename the folder ``new`` to ``path`` (or its target), in the place of what is there."""
    path = followed(path)
    old = path.with_name(f".{path.name}.old{os.getpid()}")
    if path.exists():
        os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def require_space(folder: str | Path, size: int, what: str) -> None:
    """Refuse to begin where the disk of ``folder`` has less than ``size`` bytes left.

    Raises:
        DimrError: with both numbers; ``what`` says what they are for.
    """
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if free < size:
        raise DimrError(
            f"{folder}: {free / 1e9:.1f} GB free, {what} takes {size / 1e9:.1f} GB: "
            "make room, or put the folder (or a link to one) on a larger disk"
        )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text)


def write_if_changed(path: str | Path, text: str) -> bool:
    """Write ``text`` unless the file holds it already (contract A); say whether it was written."""
    path = Path(path)
    if path.is_file() and path.read_text() == text:
        return False
    write_text(path, text)
    return True


def write_json(path: str | Path, value: Any) -> None:
    """Write ``value`` atomically as indented JSON."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one raises ``DimrError`` with its name."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise DimrError(f"{path}: not readable as JSON ({one_line(error)})") from None


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file; a missing or damaged one raises ``DimrError`` with its name."""
    try:
        return yaml.load(Path(path).read_text(), _LOADER)
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise DimrError(f"{path}: not readable as YAML ({one_line(error)})") from None


def one_line(error: object) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def key_of(*values: Any) -> str:
    """16 hex digits that identify JSON-able values; the same for equal values in any key order."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
