"""``failure.json``: a failure that no retry can mend; while it is there, a start ends at once.

Who has mended its cause removes the file.
"""

import logging
from pathlib import Path

from dimr.runtime.errors import TrainingFailed
from dimr.runtime.files import read_json, single_line, write_json

log = logging.getLogger(__name__)

FAILURE = "failure.json"


def record(state: Path, step: int, write: bool) -> TrainingFailed:
    """The failure of a step (from 0) whose loss or gradient was not finite; ``write``: keep it."""
    path = state / FAILURE
    message = (
        f"loss is not finite at step {step}, or its gradient: starting again would end there too; "
        f"lower train.lr, set train.grad_clip, or remove {path} to try"
    )
    if write:
        try:
            write_json(path, {"step": step, "message": message})
        except OSError as error:  # a full disk must not take the place of what is told here
            log.warning("%s: could not be written (%s)", path, single_line(error))
    return TrainingFailed(message)


def recorded(state: Path) -> TrainingFailed | None:
    """The failure that ended an earlier session; None: there was none."""
    path = state / FAILURE
    if not path.exists():
        return None
    content = read_json(path)
    message = content.get("message") if isinstance(content, dict) else None
    if not isinstance(message, str):
        message = f"{path}: training failed here before, it does not say why; remove it to try"
    return TrainingFailed(message)
