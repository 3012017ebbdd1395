"""When to save, stop and preview: signals, limits, common decisions, and final failures."""

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dimr.runtime.errors import StoppedEarly, TrainingFailed
from dimr.runtime.files import read_json, single_line, write_json
from dimr.training.distributed import World

log = logging.getLogger(__name__)

SAVE_INTERVAL = 20.0  # seconds between checkpoints at least; saving may take 2% of the time at most
SAVE_SHARE = 0.02
PREVIEWED = 2 / 3  # of the steps: late enough to show something, and well before the end
LEAST_PAUSE = 10.0  # seconds before that preview, and since the last one: short trainings have none
DECISION_INTERVAL = 1.0  # seconds between common decisions of several processes, about
FAILURE = "failure.json"
"""A failure that no retry can fix; while this file exists, a start ends at once (contract C)."""


@dataclass(frozen=True)
class Limits:
    """When to save and stop; none of it changes the result.

    Attributes:
        stop_after: seconds after which to save and exit with code 75; None: never.
        begun: start of these seconds, by ``time.monotonic``; None: the first step.
        checkpoint_every: steps between checkpoints; None: by time, taking at most 2% of it.
        preview_every: most seconds between previews; None: no previews. There is also one after
            two thirds of the steps (``PREVIEWED``).
    """

    stop_after: float | None = None
    begun: float | None = None
    checkpoint_every: int | None = None
    preview_every: float | None = None


class Signals:
    """SIGINT and SIGTERM, remembered until the current step is done.

    A second one acts at once, unless torchrun started the process: it passes on what the process
    may have received already, and kills after its ``--shutdown-timeout``.
    """

    def __init__(self, world: World) -> None:
        self.received = 0
        self._patient = world.launched

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        if not self._patient:
            default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, default)

    @contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Install the handlers, and restore the old ones."""
        old = {n: signal.signal(n, self._receive) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


@dataclass(frozen=True)
class Decision:
    """What is done after a step; for several processes what any of them asks for.

    Attributes:
        signal: number of the signal on which to exit; 0: none.
        time_is_up: exit, as ``stop_after`` says.
        save: begin a checkpoint.
        preview: draw one.
        writing: a checkpoint is still being written.
    """

    signal: int = 0
    time_is_up: bool = False
    save: bool = False
    preview: bool = False
    writing: bool = False

    @property
    def stop(self) -> bool:
        """Whether to save and leave."""
        return bool(self.signal) or self.time_is_up

    def stopped(self, step: int, steps: int) -> StoppedEarly:
        """The error to exit with: code 75, or 128 plus the signal's number."""
        by = f"by {signal.Signals(self.signal).name}" if self.signal else "by the time limit"
        error = StoppedEarly(
            f"stopped {by} at step {step} of {steps}, saved: the same command resumes"
        )
        if self.signal:
            error.exit_code = 128 + self.signal
        return error


class Decisions:
    """One process decides after every step; several about once a second, at the same steps."""

    def __init__(self, world: World, limits: Limits, signals: Signals, steps: int) -> None:
        self.world, self.limits, self.signals = world, limits, signals
        self.started = self.saved = self._previewed = self._asked = time.monotonic()
        self._shown = int(steps * PREVIEWED)
        self._begun = self.started if limits.begun is None else limits.begun
        self._since, self._next = 0, 0  # steps of the last decision and of the next one

    def after(self, step: int, writing: bool, save_took: float) -> Decision | None:
        """The decision after a step; None: no decision at this one.

        Args:
            step: steps taken.
            writing: whether this process is still writing a checkpoint.
            save_took: seconds that the last one took.
        """
        every = self.limits.checkpoint_every
        if self.world.size == 1:
            return self._wish(step, writing, save_took)
        # All processes know these steps without asking each other.
        known = step == self._shown or (every is not None and step % every == 0)
        if step < self._next and not known:
            return None
        wish, now = self._wish(step, writing, save_took), time.monotonic()
        a_step = int(1e6 * (now - self._asked) / max(1, step - self._since))
        number, *flags, pace = self.world.most(
            [wish.signal, wish.time_is_up, wish.save, wish.preview, wish.writing, a_step]
        )
        self._asked, self._since = now, step
        self._next = step + max(1, int(1e6 * DECISION_INTERVAL / max(1, pace)))
        return Decision(number, *map(bool, flags))

    def previewed(self) -> None:
        """Note that a preview was drawn."""
        self._previewed = time.monotonic()

    def _wish(self, step: int, writing: bool, save_took: float) -> Decision:
        now, limits = time.monotonic(), self.limits
        if limits.checkpoint_every is not None:
            save = step % limits.checkpoint_every == 0
        else:  # by the first process's clock, and not before the last one is written
            pause = max(SAVE_INTERVAL, save_took / SAVE_SHARE)
            save = self.world.is_first and not writing and now - self.saved > pause
        every, since = limits.preview_every, now - self._previewed
        is_late = step == self._shown and since > LEAST_PAUSE
        return Decision(
            signal=self.signals.received,
            time_is_up=limits.stop_after is not None and now - self._begun > limits.stop_after,
            save=save,
            preview=self.world.is_first and every is not None and (is_late or since > every),
            writing=writing,
        )


def record_failure(state: Path, step: int, write: bool) -> TrainingFailed:
    """The failure of a step (from 0) whose loss or gradient was not finite; ``write``: keep it."""
    path = state / FAILURE
    message = (
        f"loss is not finite at step {step}, or its gradient: starting again would end there too; "
        f"lower train.lr, set train.grad_clip, or remove {path} to try"
    )
    if write:
        try:
            write_json(path, {"step": step, "message": message})
        except OSError as error:  # a full disk must not hide the failure
            log.warning("%s: could not be written (%s)", path, single_line(error))
    return TrainingFailed(message)


def recorded_failure(state: Path) -> TrainingFailed | None:
    """The failure that ended an earlier session; None: there was none."""
    path = state / FAILURE
    if not path.exists():
        return None
    content = read_json(path)
    message = content.get("message") if isinstance(content, dict) else None
    if not isinstance(message, str):
        message = (
            f"{path}: training failed here before, but no reason is recorded; remove it to try"
        )
    return TrainingFailed(message)
