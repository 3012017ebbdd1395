"""Choosing a device, and on a CPU fast float32 matrix products and memory."""

import ctypes
import logging
import os

import torch

from dimr.runtime.atomic import size_text
from dimr.runtime.errors import DimrError
from dimr.runtime.files import single_line

log = logging.getLogger(__name__)

DEVICES = ("cpu", "cuda", "mps", "xpu")
ACCEPTED_ERROR = 1e-5  # relative; bf16 rounding would give 2e-3, float32 gives 1e-7

MALLOC = {-1: -1, -2: 64 << 20, -4: 0}
"""glibc's M_TRIM_THRESHOLD: never; M_TOP_PAD: bytes asked for at a time; M_MMAP_MAX: none."""


def prepare_device(name: str | None = None, threads: int | None = None) -> torch.device:
    """Choose the device (CUDA if there is one) and the number of CPU threads.

    On a CPU matrix products use oneDNN, twice as fast as MKL on AMD processors, if their error
    shows that they are still float32 (a processor with AMX would round to bf16), and freed memory
    is kept (``keep_freed_memory``).
    """
    if threads is not None:
        torch.set_num_threads(threads)
    device = usable_device(name or ("cuda" if torch.cuda.is_available() else "cpu"), "--device")
    if device.type == "cpu":
        keep_freed_memory()
        torch.set_float32_matmul_precision("medium")
        if matmul_error() > ACCEPTED_ERROR:
            torch.set_float32_matmul_precision("highest")
            log.debug("float32 matrix products stay with the default library: oneDNN rounds here")
    return device


def usable_device(name: str | torch.device, option: str) -> torch.device:
    """The device with this name; ``DimrError`` begins with ``option`` if it cannot be used."""
    try:
        device = torch.device(name)
        if device.type not in DEVICES:
            raise RuntimeError(f"known are {', '.join(DEVICES)}")
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DimrError(f"{option} {name}: not usable here ({single_line(error)[:100]})") from None
    return device


def require_memory(size: int, what: str, device: torch.device) -> None:
    """Refuse at once what a device can never hold.

    Args:
        size: least number of bytes needed.
        what: what needs them, for the message.
        device: a GPU, or the CPU for the machine's memory.

    Raises:
        DimrError: with both numbers.
    """
    if device.type == "cuda":
        held = torch.cuda.get_device_properties(device).total_memory
    elif device.type == "cpu" and hasattr(os, "sysconf"):
        held = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        return
    if size > held:
        raise DimrError(
            f"{what}: takes {size_text(size)} of memory or more; this machine has {size_text(held)}"
        )


def keep_freed_memory() -> None:
    """Make glibc keep the memory that this process frees, and reuse it.

    By default the memory of large tensors is returned to the system and allocated again, page by
    page and zeroed, in every step: 10% to 15% of its time. Other C libraries are left unchanged.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, TypeError, AttributeError):
        return
    for parameter, value in MALLOC.items():
        mallopt(parameter, value)


def matmul_error() -> float:
    """Relative error of a float32 matrix product with the current settings, against float64."""
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = a.double() @ b.double()
    return (((a @ b) - exact).norm() / exact.norm()).item()
