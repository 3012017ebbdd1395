"""Progress bars for people: live on a terminal, a line now and then in a log."""

import sys
from typing import Any

from tqdm import tqdm


def progress_bar(
    iterable: Any = None,
    *,
    total: int | None = None,
    description: str,
    unit: str = "it",
    initial: int = 0,
    scale: bool = False,
    shown: bool = True,
) -> "tqdm[Any]":
    """A tqdm bar on standard error; where that is no terminal it is refreshed every 10 seconds.

    ``scale`` writes large numbers short, as for bytes: 138G. Of several processes that do the same
    work, one has it ``shown``.
    """
    return tqdm(
        iterable,
        total=total,
        desc=description,
        unit=unit,
        initial=initial,
        unit_scale=scale,
        disable=not shown,
        mininterval=0.2 if sys.stderr.isatty() else 10.0,
        dynamic_ncols=True,
    )
