"""The loop around the training step: resume, log, checkpoint, stop, export."""

import csv
import json
import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from dimr.diffusion.schedule import SCHEDULES
from dimr.errors import DimrError, StoppedEarly, TrainingFailed
from dimr.files import atomic_directory, atomic_file, read_json, write_json, write_text
from dimr.models import build
from dimr.progress import progress_bar
from dimr.randomness import derived_seed
from dimr.settings import TrainPhase
from dimr.training.batches import Batches, Draws, Prefetch
from dimr.training.checkpoint import Checkpoints, locked
from dimr.training.engine import Engine, prepare_forward, resolve_precision
from dimr.training.step import Trainee, learning_rate, make_ema, make_optimizer, train_step

log = logging.getLogger(__name__)

SAVE_INTERVAL = 20.0  # seconds between checkpoints at least; saving may take 2% of the time at most
SAVE_SHARE = 0.02


@dataclass(frozen=True)
class Limits:
    """When to save and stop; none of it changes the result.

    Attributes:
        stop_after: seconds after which to save and leave with exit code 75; None: never.
        checkpoint_every: steps between checkpoints; None: by time, at most 2% of it.
        preview_every: seconds between previews; None: no previews.
    """

    stop_after: float | None = None
    checkpoint_every: int | None = None
    preview_every: float | None = None


@dataclass
class Progress:
    """Where training is: what a checkpoint holds besides tensors of the network.

    Attributes:
        step: steps taken.
        seconds: time spent training, over all the sessions it took.
        sums: (R + 2,) sums of the losses and gradient norms since the last line of the log.
        summed: how many steps they are of.
        sessions: the provenance of each session, in order.
        codes: fingerprints of the code that took these steps, without repetition.
    """

    step: int
    seconds: float
    sums: Tensor
    summed: int
    sessions: list[str] = field(default_factory=list)
    codes: list[str] = field(default_factory=list)


class Signals:
    """SIGINT and SIGTERM, remembered until the step in hand is done; a second one acts at once."""

    def __init__(self) -> None:
        self.received: int | None = None

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = number
        signal.signal(
            number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        )

    @contextmanager
    def caught(self) -> Iterator["Signals"]:
        """Install the handlers, and put the old ones back."""
        old = {n: signal.signal(n, self._receive) for n in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in old.items():
                signal.signal(number, handler)


def make_trainee(phase: TrainPhase, device: torch.device, engine: Engine | None = None) -> Trainee:
    """The network with its seeded initial weights, optimizer and EMA, on ``device``."""
    engine = engine or Engine()
    # Fresh weights draw from torch's global generator, seeded here and put back after.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(phase.seed, "weights"))
        network = build(phase.network.family, **phase.network.arguments())
    network = network.to(device)
    return Trainee(
        network=network,
        forward=network,
        ema=make_ema(network, phase.train.ema_decay),
        optimizer=make_optimizer(network, phase.train, engine.fused),
        schedule=SCHEDULES[phase.network.schedule](),
        settings=phase.train,
        engine=engine,
        dtype=resolve_precision(phase.train.precision, device),
    )


def make_prefetch(
    phase: TrainPhase, batches: Batches, trainee: Trainee, device: torch.device
) -> Prefetch:
    """The batches of a run's steps."""
    draws = Draws(
        phase.seed, trainee.schedule, phase.train.label_dropout, phase.network.num_classes
    )
    return Prefetch(batches, draws, device, slice(None), trainee.engine.prefetch)


class Training:
    """One training run, from wherever its state is to the end.

    Args:
        phase: the configuration.
        batches: the data.
        state: folder of checkpoints, log and failure record of exactly this configuration.
        device: where to train.
        code: fingerprint of the sources; a finished state of other code is not taken for a result.
        session: the provenance of this session, plain JSON.
        preview: called with (step, EMA network) now and then.
        engine: how steps are computed.
    """

    def __init__(
        self,
        phase: TrainPhase,
        batches: Batches,
        state: Path,
        *,
        device: torch.device,
        code: str = "",
        session: dict[str, Any] | None = None,
        preview: Callable[[int, nn.Module], None] | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.phase, self.state = phase, state
        self.device, self.code, self.preview = device, code, preview
        self.session = json.dumps(session or {}, sort_keys=True)
        self.trainee = make_trainee(phase, device, engine)
        self.prefetch = make_prefetch(phase, batches, self.trainee, device)
        logged = 2 + self.trainee.network.predictions  # losses and the gradient's norm
        self.progress = Progress(0, 0.0, torch.zeros(logged, device=device), 0)
        # First step with a non-finite loss, kept on the device: reading it each step would wait.
        self.bad_step = torch.tensor(-1, device=device)

    # --- state ------------------------------------------------------------------------------------

    def resume(self, checkpoints: Checkpoints) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        saved = checkpoints.newest()
        if saved is None:
            return
        total = self.phase.train.steps
        if set(saved["codes"]) != {self.code}:
            if saved["step"] == total:
                log.warning("%s: finished by other code; starting over", self.state)
                checkpoints.clear()
                return
            log.warning("%s: the code has changed since it was saved; going on", self.state)
        try:
            self.trainee.ema.load_state_dict(saved["ema"])
            if saved["step"] < total:
                self.trainee.network.load_state_dict(saved["network"])
                self.trainee.optimizer.load_state_dict(saved["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise DimrError(f"{self.state}: checkpoint of another network ({reason})") from None
        self.progress = Progress(
            saved["step"],
            saved["seconds"],
            saved["sums"].to(self.device),
            saved["summed"],
            saved["sessions"],
            saved["codes"],
        )
        log.info("resuming at step %d of %d", saved["step"], total)

    def save(self, checkpoints: Checkpoints) -> None:
        """Write the state. After the last step only what the export needs is kept."""
        self.check_finite()
        state = {
            "codes": self.progress.codes,
            "seconds": self.progress.seconds,
            "sums": self.progress.sums,
            "summed": self.progress.summed,
            "sessions": self.progress.sessions,
            "ema": self.trainee.ema.state_dict(),
        }
        if self.progress.step < self.phase.train.steps:
            state["network"] = self.trainee.network.state_dict()
            state["optimizer"] = self.trainee.optimizer.state_dict()
        checkpoints.save(self.progress.step, state)

    def check_finite(self) -> None:
        """Raise ``TrainingFailed`` and record it if a loss was not finite."""
        bad = int(self.bad_step)
        if bad >= 0:
            message = (
                f"loss is not finite at step {bad}: starting again would end there too; lower "
                f"train.lr, set train.grad_clip, or remove {self.state / 'failure.json'} to try"
            )
            write_json(self.state / "failure.json", {"step": bad, "message": message})
            raise TrainingFailed(message)

    # --- the log ----------------------------------------------------------------------------------

    def trim_log(self) -> None:
        """Drop the lines of steps that the resumed state has not taken yet."""
        path = self.state / "log.csv"
        if path.exists() and path.stat().st_size:  # killed as it was created: empty
            head, *lines = path.read_text().splitlines()
            whole = [line for line in lines if line.count(",") == head.count(",")]
            kept = [line for line in whole if int(line.split(",")[0]) <= self.progress.step]
            write_text(path, "\n".join([head, *(kept if self.progress.step else [])]) + "\n")

    def write_log(self, images_per_second: float) -> dict[str, float]:
        """Append the mean losses since the last line; return the line."""
        progress, settings = self.progress, self.phase.train
        *means, norm = (progress.sums / max(1, progress.summed)).tolist()
        line = {
            "step": progress.step,
            "images": progress.step * settings.batch,
            "loss": round(means[0], 6),
            **{f"loss_branch_{r + 1}": round(value, 6) for r, value in enumerate(means[1:])},
            "gradient_norm": round(norm, 6),
            "lr": learning_rate(progress.step - 1, settings),
            "images_per_second": round(images_per_second, 1),
            "seconds": round(progress.seconds, 1),
        }
        path = self.state / "log.csv"
        is_new = not path.exists() or path.stat().st_size == 0
        with open(path, "a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(line))
            if is_new:
                writer.writeheader()
            writer.writerow(line)
        progress.sums.zero_()
        progress.summed = 0
        return line

    # --- running ----------------------------------------------------------------------------------

    def one_step(self) -> None:
        """Fetch a batch, take a step, add its losses to the sums."""
        progress = self.progress
        batch = self.prefetch.get(progress.step, self.phase.train.steps - 1)
        losses = train_step(self.trainee, batch, progress.step)
        progress.sums += losses
        progress.summed += 1
        failed_now = ~losses[0].isfinite() & (self.bad_step < 0)
        self.bad_step = torch.where(failed_now, progress.step, self.bad_step)
        progress.step += 1

    def run(self, limits: Limits) -> None:
        """Train to the end.

        Raises:
            StoppedEarly: saved and left because of a signal or ``stop_after``.
            TrainingFailed: a loss was not finite.
        """
        checkpoints = Checkpoints(self.state / "checkpoints")
        self.resume(checkpoints)
        self.trim_log()
        if self.progress.step == self.phase.train.steps:
            return
        self.progress.sessions.append(self.session)
        if self.code not in self.progress.codes:
            self.progress.codes.append(self.code)
        trainee, rows = self.trainee, -(-self.phase.train.batch // self.trainee.engine.accumulate)
        wanted = self.phase.train.compile
        trainee.forward = prepare_forward(
            trainee.network, trainee.engine, wanted, trainee.dtype, rows
        )
        with Signals().caught() as signals, self._bar() as bar:
            try:
                self._steps(limits, checkpoints, signals, bar)
            finally:
                self.prefetch.close()
        self.save(checkpoints)

    def _bar(self) -> Any:
        return progress_bar(
            total=self.phase.train.steps,
            initial=self.progress.step,
            description="train",
            unit="step",
        )

    def _steps(self, limits: Limits, checkpoints: Checkpoints, signals: Signals, bar: Any) -> None:
        settings, progress = self.phase.train, self.progress
        started = last_save = last_log = last_preview = time.monotonic()
        before, logged_at, save_took = progress.seconds, progress.step, 0.0
        while progress.step < settings.steps:
            self.one_step()
            bar.update()
            now = time.monotonic()
            progress.seconds = before + now - started
            if progress.step % settings.log_every == 0 or progress.step == settings.steps:
                speed = (progress.step - logged_at) * settings.batch / (now - last_log)
                line = self.write_log(speed)
                self.check_finite()
                bar.set_postfix_str(f"loss {line['loss']:.4f}, {speed:.0f} images/s")
                last_log, logged_at = now, progress.step
            stop = signals.received or (
                limits.stop_after is not None and now - started > limits.stop_after
            )
            if stop or _save_is_due(limits, progress.step, now - last_save, save_took):
                self.save(checkpoints)
                last_save = time.monotonic()
                save_took = last_save - now
            if stop and progress.step < settings.steps:
                raise _stopped(signals.received, progress.step, settings.steps)
            if self.preview and limits.preview_every and now - last_preview > limits.preview_every:
                self.preview(progress.step, self.trainee.ema.module)
                last_preview = time.monotonic()

    def export(self, out: Path, log_csv: Path, key: str) -> None:
        """Write the EMA network (diffusers layout), its record and the log in their places."""
        with atomic_directory(out) as folder:
            write_json(folder / "config.json", self.phase.network.model_dump(mode="json"))
            weights = {
                name: tensor.detach().cpu().contiguous()
                for name, tensor in self.trainee.ema.module.state_dict().items()
            }
            save_file(weights, folder / "diffusion_pytorch_model.safetensors")
            record = {
                "key": key,
                "steps": self.progress.step,
                "images": self.progress.step * self.phase.train.batch,
                "seconds": round(self.progress.seconds, 1),
                "config": self.phase.model_dump(mode="json"),
                "sessions": [json.loads(session) for session in self.progress.sessions],
            }
            write_json(folder / "record.json", record)
        with atomic_file(log_csv) as temporary:
            temporary.write_bytes((self.state / "log.csv").read_bytes())


def _save_is_due(limits: Limits, step: int, since: float, save_took: float) -> bool:
    if limits.checkpoint_every is not None:
        return step % limits.checkpoint_every == 0
    return since > max(SAVE_INTERVAL, save_took / SAVE_SHARE)


def _stopped(number: int | None, step: int, steps: int) -> StoppedEarly:
    reason = f"stopped by {signal.Signals(number).name}" if number else "stopped as time is up"
    error = StoppedEarly(f"{reason} at step {step} of {steps}, saved: the same command goes on")
    if number:
        error.exit_code = 128 + number
    return error


def train(
    training: Training,
    limits: Limits,
    out: Path,
    log_csv: Path,
    key: str,
    before_export: Callable[[], None] = lambda: None,
) -> None:
    """Run under the state's lock, then export. A recorded failure ends it at once.

    ``before_export`` may refuse the result by raising; the state stays.
    """
    with locked(training.state):
        failure = training.state / "failure.json"
        if failure.exists():
            raise TrainingFailed(read_json(failure)["message"])
        training.run(limits)
        before_export()
        training.export(out, log_csv, key)
