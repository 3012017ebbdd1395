"""Text, JSON, YAML, arrays and pictures, read with errors that name the file, written atomically.

All text is UTF-8, whatever the locale.
"""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError


def require_file(path: str | Path) -> None:
    """Refuse what is not a regular file: reading a pipe would block, a device has no end."""
    if not Path(path).exists():
        raise DimrError(f"{path}: no such file")
    if not Path(path).is_file():
        raise DimrError(f"{path}: not a file{', but a folder' * Path(path).is_dir()}")


def single_line(error: object) -> str:
    """An error's text on one line, or its kind if it has none."""
    nameless = type(error).__name__ if isinstance(error, BaseException) else ""
    return " ".join(str(error).split()) or nameless


# --- reading --------------------------------------------------------------------------------------


def read_text(path: str | Path, kind: str = "text", largest: int = -1) -> str:
    """Read a UTF-8 text; a missing or damaged file raises ``DimrError`` with its name.

    Args:
        path: the file.
        kind: what it should be, for the message.
        largest: number of characters to read at most; -1: all.
    """
    require_file(path)
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(largest)
    except (OSError, ValueError) as error:
        raise DimrError(f"{path}: not readable as {kind} ({single_line(error)})") from None


def read_json(path: str | Path) -> Any:
    """Read a JSON file; a missing or damaged one raises ``DimrError`` with its name."""
    text = read_text(path, "JSON")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DimrError(f"{path}: not readable as JSON ({single_line(error)})") from None


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file; a missing or damaged one raises ``DimrError`` with its name."""
    from dimr.runtime import strict_yaml  # PyYAML: training and sampling need none

    text = read_text(path, "YAML", strict_yaml.LARGEST + 1)
    try:
        return strict_yaml.load(text)
    except ValueError as error:
        raise DimrError(f"{path}: not readable as YAML ({single_line(error)})") from None


# --- writing --------------------------------------------------------------------------------------


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
    """Write a numpy array as ``.npy``, not atomically; ``OSError`` if the disk cannot hold it.

    numpy writes to a file through the C library, and loses an error about what is still buffered
    when the file is closed: the end of the file is then silently missing. To an object that only
    has ``write``, it writes through Python.
    """
    import numpy as np

    with open(path, "wb") as file:
        np.save(SimpleNamespace(write=file.write), array)


def save_png(image: Any, path: str | Path) -> None:
    """Write a PIL image as PNG atomically; its metadata says that dimr created it."""
    from PIL.PngImagePlugin import PngInfo  # imports the rest of Pillow: slow

    info = PngInfo()
    info.add_text("Software", "dimr")
    with atomic_file(path) as temporary:
        image.save(temporary, "PNG", pnginfo=info)


# --- keys and checksums ---------------------------------------------------------------------------


def sha256(path: str | Path) -> str:
    """Hex SHA-256 of a file's bytes; ``DimrError`` if not a regular file: a pipe has no end."""
    require_file(path)
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON-able value, the same before it is written and after it is read."""
    return _digest(json.loads(json.dumps(value)))


def key_of(*values: Any) -> str:
    """16 hex digits that identify JSON-able values; the same for equal values in any key order."""
    return _digest(values)[:16]


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
