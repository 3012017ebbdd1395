"""Checksums of archives that are too large to be hashed twice."""

import hashlib
from pathlib import Path

from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, write_json
from dimr.runtime.progress import progress_bar

CHUNK = 2**22


def check_md5(path: Path, wanted: str, notes: Path) -> None:
    """Compare a file's MD5 with the published one.

    Args:
        path: of the file.
        wanted: 32 hex digits.
        notes: a JSON file that remembers verified files by path, size and time of change, so that
            138 GB are not read again by the next start.

    Raises:
        DimrError: another MD5, with both.
    """
    status = path.stat()
    identity = f"{path.resolve()} {status.st_size} {status.st_mtime_ns}"
    verified = read_json(notes) if notes.exists() else {}
    if verified.get(identity) != wanted:
        found = _md5(path, status.st_size)
        if found != wanted:
            raise DimrError(f"{path}: its MD5 is {found}, published is {wanted}: fetch it again")
        write_json(notes, {**verified, identity: wanted})


def _md5(path: Path, size: int) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    bar = progress_bar(total=size, description=f"MD5 of {path.name}", unit="B", scale=True)
    with bar, open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            bar.update(len(chunk))
    return digest.hexdigest()
