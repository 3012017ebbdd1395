"""What names and contents of image files are accepted, and what classes are called."""

import re
from collections.abc import Mapping, Sequence

from dimr.runtime.errors import DimrError

WNID = re.compile(r"n\d{8}")
"""A WordNet id, the name of a class folder of ImageNet's."""
SUFFIXES = (".jpeg", ".jpg", ".png")
"""Of image files, in any case; the content may be either format (ILSVRC2012 has such a file)."""
NAME_BYTES = 40
"""Of a file's or a class's name, in UTF-8."""
MAX_BYTES = 2**28
"""Of one image file; ILSVRC2012's largest has 15 MB."""

_OFFICIAL = re.compile(r"(n\d{8})_\d+(?:_(n\d{8}))?(\.\w+)")
_SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")


def check_plain(name: str, where: str, what: str = "file") -> str:
    """``name`` if it may be one of a file or folder; ``where`` begins the error's line."""
    shown = name.isprintable() and name == name.strip() and name[:1] not in ("", ".", "-")
    if not shown or set(name) & set("/\\") or len(name.encode()) > NAME_BYTES:
        raise DimrError(
            f"{where}: {name[:200]!r} is no plain {what} name (at most {NAME_BYTES} bytes, all "
            "printable, without folders; it does not begin with '.' or '-')"
        )
    return name


def check_name(name: str, where: str) -> str:
    """``name`` if it is a plain file name of an image; ``where`` begins the error's line."""
    check_plain(name, where)
    if not name.lower().endswith(SUFFIXES):
        raise DimrError(f"{where}: {name!r} is no image (allowed: {', '.join(SUFFIXES)})")
    return name


def check_size(name: str, size: int, where: str) -> None:
    """Refuse empty files and ones that no image has the size of."""
    if not 0 < size <= MAX_BYTES:
        raise DimrError(f"{where}: {name}: {size} bytes (allowed: 1 to {MAX_BYTES})")


def check_content(name: str, data: bytes, where: str) -> None:
    """Refuse what does not begin as a JPEG or PNG file does; nothing is decoded."""
    check_size(name, len(data), where)
    if not data.startswith(_SIGNATURES):
        raise DimrError(f"{where}: {name}: neither JPEG nor PNG (begins with {data[:4].hex()})")


def official_name(path: str, where: str) -> tuple[str, str | None]:
    """File name and WordNet id of a path as data sets on the hub have it.

    ``n01440764_10026_n01440764.JPEG`` is the official ``n01440764_10026.JPEG``, of n01440764. Any
    other plain name stays, and its class is None: unknown.
    """
    if path.startswith("/") or ".." in path.split("/"):
        raise DimrError(f"{where}: path {path[:200]!r} leads out of its folder")
    name = check_name(path.split("/")[-1], where)
    if match := _OFFICIAL.fullmatch(name):
        wnid, again, suffix = match.groups()
        if again is None:
            return name, wnid
        if again == wnid:
            return name[: -len(f"_{again}{suffix}")] + suffix, wnid
    return name, None


def people_names(wnids: Sequence[str], words: Mapping[str, str]) -> list[str]:
    """What people call the classes: ImageNet's names, else those of ``words``, else the id."""
    from dimr.data.classes import class_names, wordnet_ids  # timm, slow to import

    known = dict(zip(wordnet_ids(1000), class_names(1000), strict=True))
    return [known.get(wnid) or words.get(wnid) or wnid for wnid in wnids]
