"""Where and how much `make gpu-check` measures, its limits, and how it takes time and memory."""

import gc
import statistics
import time
from dataclasses import dataclass

import torch
from network import wait_for

from dimr.runtime.errors import DimrError

EXACT, HALF = torch.float32, torch.bfloat16
LIMITS = {
    EXACT: {"predictions": 1e-5, "gradients": 1e-4, "losses": 1e-4, "weights": 1e-3},
    HALF: {"predictions": 2e-2, "gradients": 1e-1, "losses": 2e-2, "weights": 5e-2},
}
"""Largest relative errors allowed against the authors' vectors; on a CPU most are a tenth."""
TF32 = 5e-3
"""The same for predictions if the library may round convolutions to TF32, its default."""
BATCH = 64
OOM = torch.OutOfMemoryError, DimrError  # the latter: refused before it is tried


@dataclass(frozen=True)
class Setting:
    """Where and how much: ``small`` has tiny networks, few steps and small batches."""

    device: str
    small: bool = False

    @property
    def where(self):
        """The device."""
        return torch.device(self.device)

    def pick(self, usual, small):
        """A size, by ``small``."""
        return small if self.small else usual


def compared(name, limit, value, **more):
    """A row for a difference that has a limit."""
    return {"row": name, "difference": value, "limit": limit, "ok": value <= limit, **more}


def on_cuda(setting):
    """Whether the part runs on a GPU."""
    return setting.where.type == "cuda"


def timed(setting, call, repeats):
    """Median milliseconds of a call, including the wait for the device."""
    times = []
    for _ in range(repeats + 1):  # the first warms up
        wait_for(setting.where)
        started = time.perf_counter()
        call()
        wait_for(setting.where)
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[1:])


def peak_gb(setting):
    """The most that was allocated on the GPU since the last row; None on a CPU."""
    if not on_cuda(setting):
        return None
    return torch.cuda.max_memory_allocated(setting.where) / 1e9


def forget(setting):
    """Free the memory that the last row held."""
    gc.collect()
    if on_cuda(setting):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.where)


@dataclass
class Noise:
    """Images and labels of a step (``BatchSource``): noise, from which nothing is learned."""

    network: object
    rows: int

    def batch(self, step):
        """As ``ShardReader.batch``."""
        draw = torch.Generator().manual_seed(step)
        network = self.network
        x = torch.randn(self.rows, network.channels, *[network.input_size] * 2, generator=draw)
        return x, torch.randint(network.num_classes, (self.rows,), generator=draw)
