"""What a person watches during training: speed, memory, TensorBoard, DVCLive, a trace."""

import contextlib
import logging
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dimr.config.schema import TrainConfig
from dimr.models.complexity import complexity
from dimr.runtime.atomic import atomic_file
from dimr.runtime.compute import matrix_ceiling
from dimr.runtime.errors import DimrError
from dimr.runtime.files import read_json, read_yaml, single_line

log = logging.getLogger(__name__)

Sink = Callable[[int, Mapping[str, float]], None]
"""Takes the step and the values of a line of the log."""

TRACED = range(10, 14)
"""Steps of a session that a trace holds: the ones before them compile and fill caches."""


class Speedometer:
    """Share of the machine's arithmetic that training uses, and its memory.

    Args:
        config: of the training: a step is 6 FLOP per multiply-accumulate and image (forward, and
            twice as much backward), regardless of what checkpointing recomputes.
        device: whose ceiling, the best square matrix product, is measured once.
        dtype: of matrix products.
        devices: how many train together.
    """

    def __init__(
        self, config: TrainConfig, device: torch.device, dtype: torch.dtype, devices: int
    ) -> None:
        self.device, self.flop = device, 6 * complexity(config.network.sizes).macs
        self.ceiling = devices * matrix_ceiling(device, dtype)

    def line(self, images_per_second: float) -> dict[str, float]:
        """``tflops`` (10^12 FLOP/s of all devices), ``mfu`` of their ceiling, ``memory_gb``."""
        speed = images_per_second * self.flop
        return {
            "tflops": round(speed / 1e12, 4),
            "mfu": round(speed / self.ceiling, 4),
            "memory_gb": round(peak_memory(self.device) / 1e9, 3),
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that was allocated on a GPU, or resident in this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@dataclass(frozen=True)
class Watch:
    """Where else a training is shown; none of it changes the result, or ends it by failing.

    Attributes:
        tensorboard: folder of event files; None: none.
        dvclive: folder of DVCLive's metrics and plots; None: none.
        profile: file of a trace (Chrome's format, which Perfetto opens); None: none.
    """

    tensorboard: Path | None = None
    dvclive: Path | None = None
    profile: Path | None = None

    @contextlib.contextmanager
    def sinks(self) -> Iterator[list[Sink]]:
        """Open the places that lines go to.

        Raises:
            DimrError: a package that is not installed, a folder that cannot be written.
        """
        with contextlib.ExitStack() as stack:
            yield [
                stack.enter_context(_lasting(opened, folder, f"--{option} {folder}"))
                for option, folder, opened in (
                    ("tensorboard", self.tensorboard, _tensorboard),
                    ("dvclive", self.dvclive, _dvclive),
                )
                if folder
            ]

    @contextlib.contextmanager
    def tracing(self) -> Iterator[Callable[[], None]]:
        """A function to call after each step; the trace of ``TRACED`` is written when they end."""
        if self.profile is None:
            yield lambda: None
            return
        with _named(f"--profile {self.profile}"):
            if self.profile.is_dir():
                raise IsADirectoryError(None, "it is a folder")
            self.profile.parent.mkdir(parents=True, exist_ok=True)
        schedule = torch.profiler.schedule(
            wait=TRACED.start - 1, warmup=1, active=len(TRACED), repeat=1
        )
        with torch.profiler.profile(schedule=schedule, on_trace_ready=self._write) as profiler:
            yield profiler.step

    def _write(self, profiler: Any) -> None:
        assert self.profile is not None
        try:
            with atomic_file(self.profile) as temporary:
                profiler.export_chrome_trace(str(temporary))
        except (OSError, RuntimeError) as error:
            log.warning("%s: no trace (%s); training continues", self.profile, single_line(error))
        else:
            log.info("%s: the trace of %d steps", self.profile, len(TRACED))


@contextlib.contextmanager
def _named(what: str) -> Iterator[None]:
    """A block whose ``OSError`` becomes a ``DimrError`` that names the option."""
    try:
        yield
    except OSError as error:
        raise DimrError(f"{what}: cannot be written ({error.strerror or error})") from None


@contextlib.contextmanager
def _lasting(
    opened: Callable[[Path], tuple[Sink, Callable[[], object]]], folder: Path, what: str
) -> Iterator[Sink]:
    """A sink until it fails, whatever another package raises: training continues without it."""
    with _named(what):
        write, close = opened(folder)
    failed = False

    def attempt(call: Callable[..., object], *arguments: Any) -> None:
        nonlocal failed
        try:
            call(*arguments)
        except Exception as error:
            if not failed:
                log.warning(
                    "%s: failed (%s); training continues without it", what, single_line(error)
                )
            failed = True

    try:
        yield lambda step, line: None if failed else attempt(write, step, line)
    finally:
        attempt(close)


def _tensorboard(folder: Path) -> tuple[Sink, Callable[[], object]]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise DimrError("--tensorboard: the package tensorboard is not installed") from None
    writer = SummaryWriter(str(folder))

    def write(step: int, line: Mapping[str, float]) -> None:
        for name, value in line.items():
            writer.add_scalar(name, value, step)

    return write, writer.close


def _dvclive(folder: Path) -> tuple[Sink, Callable[[], object]]:
    try:
        from dvclive import Live
    except ImportError:
        raise DimrError("--dvclive: the package dvclive is not installed") from None
    check_live(folder)
    live = Live(str(folder), resume=True, save_dvc_exp=False, dvcyaml=None, monitor_system=False)

    def write(step: int, line: Mapping[str, float]) -> None:
        live.step = step
        for name, value in line.items():
            live.log_metric(name, value)
        live.make_summary()

    return write, live.end


def check_live(folder: Path) -> None:
    """Refuse, before the first step, files that DVCLive did not write but would resume from.

    Also refuse the root of a repository, whose commits would include metrics.json and plots/.
    """
    if (folder / ".git").exists():
        raise DimrError(f"--dvclive {folder}: is a repository: name a folder, runs/live")
    metrics, parameters = folder / "metrics.json", folder / "params.yaml"
    if parameters.exists():
        read_yaml(parameters)
    if metrics.exists():
        found = read_json(metrics)
        if not isinstance(found, dict) or type(found.get("step")) is not int:
            raise DimrError(
                f"--dvclive {folder}: its metrics.json is not of DVCLive; name another folder"
            )
