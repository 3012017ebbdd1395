"""The command ``dimr``: one subcommand a pipeline step; parse, call, exit code.

Heavy imports are inside the handlers, so that ``dimr --help`` answers at once.
"""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dimr.cli import (
    acquire,
    data,
    distortion,
    doctor,
    documents,
    evaluation,
    figures,
    paper,
    plan,
    project,
    sampling,
    training,
    versions,
    weights,
    why,
)
from dimr.errors import DimrError


def make_parser() -> argparse.ArgumentParser:
    """All subcommands with their arguments."""
    parser = argparse.ArgumentParser(
        prog="dimr",
        description="Multi-resolution diffusion (DiMR), step by step. The workflow calls these "
        "commands; each can be run by hand, with all its inputs and outputs as arguments.",
        epilog="Exit codes: 0 done, 2 bad input, 3 failed for good or disk full, "
        "75 stopped early with its state saved (the same command goes on).",
    )
    parser.add_argument("--log", type=Path, metavar="FILE", help="also write messages to FILE")
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for module in (
        project,
        plan,
        acquire,
        data,
        training,
        sampling,
        evaluation,
        distortion,
        paper,
        figures,
        doctor,
        documents,
        versions,
        weights,
        why,
    ):
        module.add(steps)
    return parser


def _set_up(log: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(log))
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=handlers)
    logging.getLogger("dimr").setLevel(logging.INFO)
    # Compiled kernels are kept beside the project, not in the system's temporary folder.
    from dimr.experiment import ROOT

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(ROOT / ".cache/torchinductor"))
    os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache/matplotlib"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; errors of the user's are one line on standard error."""
    options = make_parser().parse_args(arguments)
    _set_up(options.log)
    log = logging.getLogger("dimr")
    try:
        options.handler(options)
    except DimrError as error:
        log.error("dimr: %s", error)
        return error.exit_code
    except KeyboardInterrupt:
        log.error("dimr: interrupted")
        return 130
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            file = f" ({error.filename})" if error.filename else ""
            log.error("dimr: no space left on the disk%s: make room and start again", file)
            return 3
        if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            file, reason = error.filename or "a file", (error.strerror or "").lower()
            log.error(
                "dimr: %s: %s: make its folder writable, or a link to one that is", file, reason
            )
            return 2
        torch = sys.modules.get("torch")  # not imported for this
        if torch is not None and isinstance(error, torch.OutOfMemoryError):
            log.error("dimr: out of memory on the GPU: use a smaller --batch")
            return 2
        log.exception("dimr: unexpected error; please report it with the lines below")
        return 1
    return 0
