"""CSV files as data frames."""

from pathlib import Path
from typing import TYPE_CHECKING

from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

if TYPE_CHECKING:
    import pandas as pd


def read_frame(path: Path, kind: str = "CSV", remedy: str = "") -> "pd.DataFrame":
    """Read a CSV file; ``DimrError`` if it is missing or damaged.

    Args:
        path: the file.
        kind: what it should be, for the message (``a log``).
        remedy: how it is made, for the message that it is missing.
    """
    import pandas as pd

    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise DimrError(f"{path}: no such file{remedy and '; '}{remedy}") from None
    except (OSError, ValueError) as error:
        raise DimrError(f"{path}: not readable as {kind} ({single_line(error)})") from None
