"""The command ``dimr``: one subcommand per stage of the pipeline; parse, call, exit code.

Heavy imports are inside the handlers, so that ``dimr --help`` answers at once.
"""

import argparse
import errno
import io
import logging
import os
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from dimr import __version__
from dimr.cli import (
    compiling,
    dataset,
    doctor,
    documents,
    figures,
    human_study,
    paper,
    plan,
    project,
    sample,
    stages,
    versions,
)
from dimr.runtime.atomic import means_full
from dimr.runtime.code import git_revision
from dimr.runtime.errors import DimrError
from dimr.runtime.outputs import check_log
from dimr.runtime.processor import keep_compiled
from dimr.stages.options import check_options


class _Version(argparse.Action):
    """``--version``: asks git only when it is used."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        revision, changed = git_revision()
        state = " with uncommitted changes" if changed else ""
        print(f"dimr {__version__}{f', git {revision}{state}' if revision else ''}")
        parser.exit()


def make_parser() -> argparse.ArgumentParser:
    """All subcommands with their arguments."""
    parser = argparse.ArgumentParser(
        prog="dimr",
        description="Multi-resolution diffusion (DiMR), step by step. The workflow calls these "
        "commands; each can be run by hand, with all its inputs and outputs as arguments.",
        epilog="Exit codes: 0 done, 2 bad input, 3 failed where a retry cannot help, or disk full, "
        "4 cannot be checked (dimr why), 75 stopped early with its state saved (the same command "
        "resumes).",
    )
    text = "version and git revision, and whether the code was changed since"
    parser.add_argument("--version", action=_Version, nargs=0, help=text)
    parser.add_argument("--log", type=Path, metavar="FILE", help="also write messages to FILE")
    steps = parser.add_subparsers(metavar="STEP", required=True)
    for module in (
        project,
        dataset,
        plan,
        stages,
        compiling,
        sample,
        human_study,
        paper,
        figures,
        doctor,
        documents,
        versions,
    ):
        module.add(steps)
    return parser


def _open_streams() -> None:
    """Make streams writable, whatever the shell closed and whatever characters the locale lacks.

    A closed stream (``2>&-``) is None in Python, and its number goes to the next file that is
    opened, into which libraries would then write their warnings.
    """
    while (free := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(free, True)
    os.close(free)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 it stays open
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _set_up(log: Path | None) -> None:
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if log is not None:
        check_log(log)
        handlers.append(logging.FileHandler(log, errors="backslashreplace"))
    logging.raiseExceptions = False  # a full disk must not fill the screen with tracebacks
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=handlers)
    logging.getLogger("dimr").setLevel(logging.INFO)
    from dimr.config.project import ROOT

    # Beside the project, not in the system's temporary folder.
    keep_compiled(ROOT / ".cache/torchinductor")
    os.environ.setdefault("MPLCONFIGDIR", str(ROOT / ".cache/matplotlib"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand; a user's mistake is one line on standard error."""
    _open_streams()
    parser = make_parser()
    words = sys.argv[1:] if arguments is None else arguments
    if any(re.fullmatch(r"(--[\w-]+=(--)?)?", word) for word in words):
        # "" would be the current folder, and argparse takes =-- for no value at all
        parser.error("an option has an empty value (an unset shell variable?)")
    options = parser.parse_args(arguments)
    log = logging.getLogger("dimr")
    try:
        _set_up(options.log)
        _check(options)
        options.handler(options)
    except DimrError as error:
        log.error("dimr: %s", error)
        return error.exit_code
    except BrokenPipeError:  # the reader of the output has gone, perhaps before the work was done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except KeyboardInterrupt:
        log.error("dimr: interrupted")
        return 130
    except Exception as error:
        told = _told(error)
        if told is None:
            log.exception("dimr: unexpected error; please report it with the lines below")
            return 1
        message, code = told
        log.error("dimr: %s", message)
        return code
    return 0


def _check(options: argparse.Namespace) -> None:
    """``check_options``; of several processes that do the same, the first reports the mistake."""
    try:
        os.getcwd()
    except FileNotFoundError:
        raise DimrError("the current folder was removed: change to another one") from None
    try:
        root = getattr(options, "root", None)
        if root is not None and not (root / "experiments").is_dir():
            raise DimrError(
                f"--root {str(root)[:300]}: no such repository (it has no experiments/)"
            )
        check_options(options)
    except DimrError as error:
        if os.environ.get("RANK", "0") != "0":
            raise SystemExit(error.exit_code) from None
        raise


def _told(error: Exception) -> tuple[str, int] | None:
    """The line and the exit code of an error that the user can fix; None: it is ours."""
    if means_full(error):
        file = getattr(error, "filename", None)
        where = f" ({file})" if file else ""
        return f"no space left on the disk{where}: make room and start again", 3
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        advice = {
            errno.EROFS: ": make its folder writable, or a link to one that is",
            errno.EACCES: ": make its folder writable, or a link to one that is",
            errno.EPERM: ": make its folder writable, or a link to one that is",
        }.get(error.errno or 0, "")
        return f"{str(error.filename)[:300]}: {error.strerror.lower()}{advice}", 2
    if isinstance(error, UnicodeEncodeError):
        letter = ascii(error.object[error.start])
        return f"{letter}: a letter that {error.encoding} lacks; set PYTHONUTF8=1", 2
    torch = sys.modules.get("torch")  # not imported for this
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return "out of memory on the GPU: use a smaller --batch", 2
    if isinstance(error, MemoryError):
        return "out of memory: use a smaller --batch", 2
    return None
