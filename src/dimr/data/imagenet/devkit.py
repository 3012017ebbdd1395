"""The devkit of ILSVRC2012: which classes the training archive has, and how many images of each."""

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dimr.errors import DimrError
from dimr.files import one_line

NAME = "ILSVRC2012_devkit_t12.tar.gz"
TABLE = "data/meta.mat"
TABLE_BYTES = 2**26


@dataclass(frozen=True)
class Synset:
    """A class: its words for people, comma-separated, and how many training images it has."""

    words: str
    images: int


def read_devkit(path: Path) -> dict[str, Synset]:
    """The classes by WordNet id, sorted.

    ``data/meta.mat`` also lists the synsets above the classes: those that have children are left
    out. ``DimrError`` names what is missing or damaged.
    """
    if not path.is_file():
        raise DimrError(
            f"{path}: no such file: the devkit must lie beside the archive, it says what must be "
            "in it"
        )
    table = _read_table(path)
    try:
        from scipy.io import loadmat  # slow to import

        rows = np.atleast_1d(
            loadmat(io.BytesIO(table), squeeze_me=True, variable_names=["synsets"])["synsets"]
        )
        found = {
            str(row["WNID"]): Synset(str(row["words"]), int(row["num_train_images"]))
            for row in rows
            if int(row["num_children"]) == 0
        }
    except Exception as error:  # scipy raises nearly anything on damaged files
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise DimrError(f"{path}: {TABLE}: not the table of synsets ({reason})") from None
    return dict(sorted(found.items()))


def _read_table(path: Path) -> bytes:
    """The bytes of the table: read to memory, nothing is extracted."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for member in archive:
                if member.name.endswith(f"/{TABLE}") and member.isreg():
                    if member.size > TABLE_BYTES:
                        raise DimrError(f"{path}: {member.name}: {member.size} bytes, too large")
                    file = archive.extractfile(member)
                    return file.read() if file else b""
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DimrError(f"{path}: truncated or no .tar.gz ({one_line(error)})") from None
    except ValueError as error:
        raise DimrError(f"{path}: damaged ({one_line(error)})") from None
    raise DimrError(f"{path}: holds no {TABLE}")
