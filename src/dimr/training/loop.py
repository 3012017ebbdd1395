"""The loop around the training step: resume, log, checkpoint, stop, export."""

import contextlib
import functools
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dimr.config.schema import TrainConfig
from dimr.runtime.atomic import atomic_file
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line
from dimr.runtime.progress import progress_bar
from dimr.training.batches import Batch, BatchSource, make_batches
from dimr.training.checkpoint import FINISHED, OF, Checkpoints, Progress, restore, state_tensors
from dimr.training.distributed import World
from dimr.training.export import ema_weights, export, network_now, read_log
from dimr.training.log import Log
from dimr.training.monitoring import Sink, Speedometer, Watch
from dimr.training.saving import Saver
from dimr.training.start import Start
from dimr.training.state_folder import decisive, locked, require_same
from dimr.training.step import learning_rate, train_step
from dimr.training.stopping import (
    Decision,
    Decisions,
    Limits,
    Signals,
    record_failure,
    recorded_failure,
)
from dimr.training.train_state import Engine, make_train_state, prepare

log = logging.getLogger(__name__)

OTHER_CODE = {
    False: "the code has changed since it was saved; training resumes, and the record names both",
    True: "finished by a different version of the code, which its record names; it is exported as "
    "it is (to train with today's code, move this folder away)",
}
"""What is said about a state that other code left, by whether it is finished."""


@dataclass
class Trainer:
    """One training run, from wherever its state is to the end.

    Attributes:
        config: of the training.
        source: the data.
        folder: checkpoints, log and failure record of exactly this configuration.
        world: the processes that train together.
        data: identifies the content of the data, for the checkpoints' facts.
        code: fingerprint of the sources, which the state and the result keep.
        session: the provenance of this session, plain JSON.
        preview: called with (step, network) from time to time.
        class_names: by label, for the model's folder; empty: not known, or there are none.
        text_encoder: of the captions, for the model's folder; None: it learns classes.
        engine: how steps are computed.
        watch: where else training is shown.
        start: the weights to start from; None: fresh ones.
    """

    config: TrainConfig
    source: BatchSource
    folder: Path
    world: World
    _: KW_ONLY
    data: str = ""
    code: str = ""
    session: Mapping[str, Any] | None = None
    preview: Callable[[int, nn.Module], None] | None = None
    class_names: Sequence[str] = ()
    text_encoder: Mapping[str, Any] | None = None
    engine: Engine = field(default_factory=Engine)
    watch: Watch = field(default_factory=Watch)
    start: Start | None = None

    def __post_init__(self) -> None:
        with self.world.agreed():  # before anything is built: is the batch divisible?
            self.world.rows(self.config.train.batch, self.engine.accumulate)
        self.of = decisive(self.config, self.data, self.start.content if self.start else "")
        self.state = make_train_state(self.config, self.world, self.engine)
        self.log = Log(self.folder / "log.csv")
        self.sinks: list[Sink] = []
        logged = 2 + self.state.network.predictions  # losses and the gradient's norm
        self.progress = Progress(0, 0.0, torch.zeros(logged, device=self.world.device), 0)
        # Steps from the first non-finite loss or gradient to the present one, 0 if there is none.
        # It stays on the device: reading it at each step would wait.
        self.non_finite = torch.zeros((), device=self.world.device)

    @functools.cached_property
    def speedometer(self) -> Speedometer:
        """Created with the first line of the log: a finished training needs none."""
        return Speedometer(self.config, self.world.device, self.state.dtype, self.world.size)

    @property
    def finished(self) -> bool:
        """Whether the last step is taken."""
        return self.progress.step == self.config.train.steps

    # --- state ------------------------------------------------------------------------------------

    def resume(self, checkpoints: Checkpoints) -> None:
        """Resume from the newest whole checkpoint, if there is one; the log is rewound to it.

        If there is none, training begins at step 0, with the weights to start from, if any.

        Raises:
            DimrError: it belongs to another training (older code does not say which), or is beyond
                the end.
        """
        self.world.on_first(checkpoints.clean)
        saved = checkpoints.newest(self.world)
        if saved is None:
            self.world.on_first(lambda: self.log.trim(0))
            if self.start:
                network = self.config.network
                self.progress.start = self.start.apply(self.state, network, self.world)
            return
        finished = saved.step == self.config.train.steps
        with self.world.agreed():
            require_same(saved.folder, saved.facts.get(OF, self.of), self.of)
            if saved.step > self.config.train.steps:
                raise DimrError(f"{self.folder}: is at step {saved.step}, beyond the last one")
        restore(self.state, saved, finished, self.world)
        self.progress = Progress.of(saved, self.world.device)
        if self.world.is_first:
            log.info("resuming at step %d of %d", saved.step, self.config.train.steps)
            if self.start:
                log.info("initial weights came from %s; not read again", self.start.name)
            if set(self.progress.codes) != {self.code}:
                log.warning("%s: %s", self.folder, OTHER_CODE[finished])
        self.world.on_first(lambda: self.log.resume(saved.step, saved.facts.get("log")))

    def save(self, saver: Saver) -> None:
        """Begin to save the state; a run that failed is not saved."""
        self.check_finite()
        facts = {**self.progress.facts(self.world), OF: self.of, FINISHED: self.finished}
        if self.world.is_first:
            facts["log"] = self.log.digest(self.progress.step)
        saver.begin(self.progress.step, state_tensors(self.state), facts)

    def check_finite(self) -> None:
        """Raise ``TrainingFailed`` in all processes if a loss or gradient was not finite.

        The first such step is recorded.
        """
        (non_finite,) = self.world.most([int(self.non_finite)])
        if non_finite:
            step = self.progress.step - non_finite
            self.world.agree(record_failure(self.folder, step, self.world.is_first))

    def write_log(self, images_per_second: float) -> dict[str, float]:
        """Append mean losses over whole batches since the last line; return the new line."""
        progress, settings = self.progress, self.config.train
        *means, norm = (self.world.mean(progress.sums) / max(1, progress.summed)).tolist()
        line = {
            "step": progress.step,
            "images": progress.step * settings.batch,
            "loss": round(means[0], 6),
            **{f"loss_branch_{r + 1}": round(value, 6) for r, value in enumerate(means[1:])},
            "gradient_norm": round(norm, 6),
            "lr": learning_rate(progress.step - 1, settings),
            "images_per_second": round(images_per_second, 1),
            **self.speedometer.line(images_per_second),
            "seconds": round(progress.seconds, 1),
        }
        self.world.on_first(lambda: self.log.append(line))
        for sink in self.sinks:
            sink(progress.step, line)
        progress.sums.zero_()
        progress.summed = 0
        return line

    # --- running ----------------------------------------------------------------------------------

    def run(self, limits: Limits) -> None:
        """Train to the end.

        Raises:
            StoppedEarly: saved and left because of a signal or ``stop_after``.
            TrainingFailed: a loss, or a gradient's norm, was not finite.
            SaveFailed: a checkpoint, or the log, could not be written.
        """
        checkpoints = Checkpoints(self.folder / "checkpoints")
        self.resume(checkpoints)
        if self.finished:
            return
        progress, steps = self.progress, self.config.train.steps
        progress.sessions.append(json.dumps(self.session or {}, sort_keys=True))
        if self.code not in progress.codes:
            progress.codes.append(self.code)
        prepare(self.state, self.world)
        with contextlib.ExitStack() as stack:
            signals = stack.enter_context(Signals(self.world).caught())
            saver = Saver(checkpoints, self.world)
            stack.callback(saver.close)
            batches = make_batches(self.config, self.source, self.engine, self.world, progress.step)
            stack.callback(batches.close)
            watch = self.watch if self.world.is_first else Watch()
            with self.world.agreed():
                self.sinks = stack.enter_context(watch.sinks())
                traced = stack.enter_context(watch.tracing())
            bar = stack.enter_context(
                progress_bar(
                    total=steps,
                    initial=progress.step,
                    description="train",
                    unit="step",
                    shown=self.world.is_first,
                )
            )
            decisions = Decisions(self.world, limits, signals, steps)
            self._steps(batches, decisions, saver, bar, traced)
            self.save(saver)
            saver.commit()

    def _steps(
        self,
        batches: Iterator[Batch],
        decisions: Decisions,
        saver: Saver,
        bar: Any,
        traced: Callable[[], None],
    ) -> None:
        settings, progress = self.config.train, self.progress
        before, logged_at, last_log = progress.seconds, progress.step, decisions.started
        for batch in batches:
            self._step(batch)
            traced()
            bar.update()
            now = time.monotonic()
            progress.seconds = before + now - decisions.started
            if progress.step % settings.log_every == 0 or self.finished:
                speed = (progress.step - logged_at) * settings.batch / (now - last_log)
                line = self.write_log(speed)
                self.check_finite()
                bar.set_postfix_str(f"loss {line['loss']:.4f}, {speed:.0f} images/s")
                last_log, logged_at = now, progress.step
            decision = decisions.after(progress.step, saver.writing, saver.took)
            if decision is not None and not self.finished:
                self._act(decision, decisions, saver)

    def _step(self, batch: Batch) -> None:
        """Take a step, and add its losses to the sums."""
        progress = self.progress
        losses = train_step(self.state, batch, progress.step)
        progress.sums += losses
        progress.summed += 1
        progress.step += 1
        finite = losses[0].isfinite() & losses[-1].isfinite()
        self.non_finite += (self.non_finite > 0) | ~finite

    def _act(self, decision: Decision, decisions: Decisions, saver: Saver) -> None:
        """Do what was decided, the same in all processes."""
        if saver.in_flight and not decision.writing:
            saver.commit()
        if decision.stop or decision.save:
            self.save(saver)
            decisions.saved = time.monotonic()
        if decision.stop:
            saver.commit()
            self.world.agree(decision.stopped(self.progress.step, self.config.train.steps))
        if self.preview and decision.preview:
            network = network_now(self.config, self.state, self.world)
            if network is not None:
                self._show(self.preview, network)
            decisions.previewed()

    def _show(self, preview: Callable[[int, nn.Module], None], network: nn.Module) -> None:
        """Draw a preview; if that fails, e.g. for lack of memory or space, training continues."""
        try:
            preview(self.progress.step, network)
        except Exception as error:
            reason = single_line(error)[:200] or type(error).__name__
            log.warning(
                "no preview of step %d (%s); training continues", self.progress.step, reason
            )

    def export(self, out: Path, log_csv: Path, key: str) -> None:
        """Write the EMA network (diffusers layout) with its record, and the log."""
        weights = ema_weights(self.state, self.world)

        def write() -> None:
            text = read_log(self.log.path)
            names, encoder = self.class_names, self.text_encoder
            export(self.config, weights, self.progress, text, key, out, names, encoder)
            with atomic_file(log_csv) as temporary:
                temporary.write_bytes(text)

        self.world.on_first(write)


def train(
    trainer: Trainer,
    limits: Limits,
    out: Path,
    log_csv: Path,
    key: str,
    before_export: Callable[[], None] = lambda: None,
) -> None:
    """Run under the state's lock, then export. A recorded failure ends it at once.

    ``before_export`` may refuse the result by raising; the state stays.
    """
    world = trainer.world
    with contextlib.ExitStack() as stack:
        with world.agreed():
            if world.is_first:
                stack.enter_context(locked(trainer.folder))
            failure = recorded_failure(trainer.folder)
            if failure is not None:
                raise failure
        trainer.run(limits)
        world.on_first(before_export)
        trainer.export(out, log_csv, key)
