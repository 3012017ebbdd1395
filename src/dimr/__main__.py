"""The program ``dimr``, or ``python -m dimr``: how its process begins and ends."""

import atexit
import gc
import logging
import os
import sys
from typing import NoReturn

from dimr.cli import main


def run() -> NoReturn:
    """Run the command line; its exit code ends the process."""
    # Python would scan all objects again and again while libraries create a million: a fifth of
    # the time to import them. Short-lived garbage, such as a step's, is collected as before.
    gc.set_threshold(*gc.get_threshold()[:2], 1000)
    codes: list[int] = []
    atexit.register(_leave, codes)  # registered first, so called last
    try:
        codes.append(main())
    except SystemExit as ended:  # by argparse
        if isinstance(ended.code, int):
            codes.append(ended.code)
        raise
    sys.exit(codes[0])


def _leave(codes: list[int]) -> None:
    """End at once after ``main``; Python would first tear torch down, which takes a second."""
    if not codes:
        return
    logging.shutdown()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        return  # Python reports it, with an exit code of its own
    os._exit(codes[0])


if __name__ == "__main__":
    run()
