"""Snakemake's messages in this project's words: one line each, without shell code.

Installed by the Snakefile around the handler of Snakemake's logger that writes to the screen, so
that it works however the workflow is started; nothing of Snakemake is imported. Its own log, below
``.snakemake/log``, is complete.
"""

import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from dimr.runtime.files import single_line

if TYPE_CHECKING:
    from dimr.runtime.board import Board

# How messages begin that are left out: always, under `--quiet rules`, and after Ctrl-C.
NOISE = (
    "Select jobs to execute...",
    "Shutting down, this might take some time.",
    "Exiting because a job execution failed",
)
QUIET_NOISE = (
    "Using shell",
    "Conda environments: ignored",
    "Singularity containers: ignored",
)
INTERRUPT_NOISE = ("Complete log(s)", "Elapsed time")
STOPPING = ("Terminating processes on user request", "stopping; a training saves its state first")
"""What Snakemake says on Ctrl-C, and what is said instead."""
KEPT = "what is finished is kept, and a training resumes from its last checkpoint"
INTERRUPTED = f"stopped; {KEPT}: start the same command again"
EARLY = "stopped before any step"
FAILED = f"a step failed, its message is above; {KEPT}: fix it and start the same command again"
LOCKED = (
    "Directory cannot be locked: another snakemake works in this folder, or was killed there: if "
    "none runs, on any machine: snakemake --unlock"
)
ERROR = "error: "
OURS = ("WorkflowError", "InputFunctionException", "MissingRuleException")
"""Exceptions whose messages are our own, or read like them."""
_HEAD = re.compile(r"\s*\w*(?:Exception|Error)\b.*:\s*")
_PLACE = re.compile(r'\s*File ".*", line \d+, in .*')
_AFTER = re.compile(r"\s*(?:Wildcards|Traceback)\b.*:\s*|Using workflow specific profile.*")


def complaint(text: str) -> str:
    """The message in Snakemake's text about an exception, perhaps reworded, on one line."""
    lines = text.splitlines()
    if told := [line.removeprefix(ERROR) for line in lines if line.startswith(ERROR)]:
        return told[-1]
    heads = [number for number, line in enumerate(lines) if _HEAD.fullmatch(line)]
    message = []
    for line in lines[heads[-1] + 1 :] if heads else lines[-1:]:
        if _AFTER.fullmatch(line):
            break
        if not _PLACE.fullmatch(line):
            message.append(line)
    return single_line(" ".join(message)).split(" (if you use input functions")[0]


class Screen(logging.Handler):
    """Snakemake's handler for the screen, with fewer words.

    Args:
        inner: that handler, with Snakemake's formatter and filters.

    Attributes:
        interrupted: whether the user has stopped the workflow: jobs that end then have not failed.
        names: of jobs, by their number.
        board: a line for each running job, on a terminal, once the first has begun.
    """

    def __init__(self, inner: logging.Handler) -> None:
        super().__init__()
        self.inner, self.formats = inner, cast(Any, inner.formatter)
        quiet = [one.name.lower() for one in self.formats.quiet or ()]
        is_dry = any(getattr(one, "dryrun", False) for one in inner.filters)
        self.brief = "rules" in quiet and not is_dry
        self.interrupted = False
        self.names: dict[int, str] = {}
        self.jobs: dict[int, str] = {}  # as their own lines name them
        self.board: Board | None = None
        self.has_board = self.brief and os.isatty(2)
        self.finished: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on: unchanged, in our words, or not at all."""
        text = self._words(record, record.__dict__)
        if text is None:
            self.inner.handle(record)
        elif text:
            changes = {"msg": text, "args": (), "event": None}
            self.inner.handle(logging.makeLogRecord({**record.__dict__, **changes}))

    def close(self) -> None:
        """Close the screen's handler, too."""
        if self.board:
            self.board.stop()
        self.inner.close()
        super().close()

    def _words(self, record: logging.LogRecord, facts: dict[str, Any]) -> str | None:
        """What to say; empty: nothing; None: what Snakemake says."""
        event, text = facts.get("event"), str(record.msg or "")
        if event == "job_info":
            name = " ".join([facts["rule_name"], *map(str, facts["wildcards"].values())])
            self.names[facts["jobid"]] = name
            if self._begin(facts):
                return ""
            return f"started: {name}" if self.brief else None
        if event in ("job_error", "job_finished") and self.board:
            number = facts["jobid" if event == "job_error" else "job_id"]
            self.board.end(self.jobs.get(number, ""))
        if event == "job_error":
            return self._failed(record, facts)
        if event == "error":
            return _error(facts.get("exception"), text)
        if event == "job_finished":
            self.finished.append(self.names.get(facts["job_id"], text))
            return ""
        if event == "progress":
            done, self.finished = ", ".join(self.finished), []
            said = self.formats.format(record) + (f": {done}" if done else "")
            return said if self.inner.filter(record) else ""
        if text.startswith(STOPPING[0]):
            return STOPPING[1]
        noise = NOISE + QUIET_NOISE * self.brief + INTERRUPT_NOISE * self.interrupted
        hidden = event == "job_started" or (self.brief and event == "resources_info")
        return "" if hidden or text.startswith(noise) else None

    def _begin(self, facts: dict[str, Any]) -> bool:
        """Give a job its line, if it has one, named by its log like ``workflow/environment.sh``."""
        if not self.has_board or not facts["log"]:
            return False
        if not self.board:
            from dimr.runtime.board import Board

            self.board = Board()
        folder, _, step = str(facts["log"][0]).removeprefix("logs/").rpartition("/")
        self.jobs[facts["jobid"]] = job = f"{folder} {step.removesuffix('.log')}"
        self.board.start(job)
        return True

    def _failed(self, record: logging.LogRecord, facts: dict[str, Any]) -> str:
        """A line; where a cluster or ``--show-failed-logs`` adds to it, Snakemake's, less code."""
        if facts["aux"] or facts["rule_msg"] or self.formats.show_failed_logs:
            without = logging.makeLogRecord({**record.__dict__, "shellcmd": None})
            return str(self.formats.format(without))
        if self.interrupted:
            return ""
        name = self.names.get(facts["jobid"], facts["rule_name"])
        logs = f" (messages: {', '.join(facts['log'])})" if facts["log"] else ""
        return f"failed: {name}{logs}"


def _error(kind: str | None, text: str) -> str:
    if kind == "LockException":
        return f"{ERROR}{LOCKED}"
    # A job's failure is reported separately, and so is the workflow's.
    of_job = "returned non-zero exit status" in text and "CalledProcessError" in text
    if of_job or "At least one job did not complete successfully" in text:
        return ""
    return f"{ERROR}{complaint(text)}" if kind in OURS else text


def install(logger: logging.Logger) -> Callable[[], None]:
    """Make a logger of Snakemake's say less, and Ctrl-C say what is kept.

    Returns:
        a function to call if the workflow fails: says so, and how to resume.
    """
    screens = []
    for handler in list(logger.handlers):
        is_file = isinstance(handler, logging.FileHandler)
        if hasattr(handler.formatter, "quiet") and not is_file:  # a plugin has its own words
            screens.append(Screen(handler))
            logger.removeHandler(handler)
            logger.addHandler(screens[-1])

    def stop(number: int, _: Any) -> None:
        for one in screens:
            one.interrupted = True
        if not any(one.names for one in screens):
            logger.error(EARLY)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.exit(128 + number)  # as Snakemake treats Ctrl-C, but never with a traceback

    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if usual and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, stop)
    return lambda: logger.error(INTERRUPTED if any(one.interrupted for one in screens) else FAILED)
