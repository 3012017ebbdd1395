"""Errors that a user can fix: one line with the file or key, what is wrong, what is allowed."""


class DimrError(Exception):
    """Bad input. The command line prints the message as one line and exits with ``exit_code``."""

    exit_code = 2


class TrainingFailed(DimrError):
    """A failure that no retry can fix (a non-finite loss); recorded in ``failure.json``."""

    exit_code = 3


class StoppedEarly(DimrError):
    """Training saved its state and left before the end: the same command resumes there.

    Exit code 75 is EX_TEMPFAIL of sysexits.h: "try again".
    """

    exit_code = 75


class PeerLost(DimrError):
    """Another process of the same training has died; the newest checkpoint stays: try again."""

    exit_code = 75


class DiskFull(DimrError, OSError):
    """There is no room for what should be written; nothing that existed before is lost."""

    exit_code = 3

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.strerror = "no space left on the disk"


class SaveFailed(DimrError):
    """A checkpoint could not be written; the one before it stays."""

    exit_code = 3
