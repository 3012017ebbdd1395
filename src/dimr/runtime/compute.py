"""What training and sampling share: precision, compiling that may fail, the device's ceiling."""

import contextlib
import functools
import logging
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from dimr.runtime.say import say

log = logging.getLogger(__name__)

Function = TypeVar("Function", bound=Callable[..., Any])

COMPILER = {"layout_optimization": False}
"""Options of torch's compiler (inductor). Images are (B, H, W, D) in the networks, as is best for
convolutions; it would take them for (B, C, H, W) and permute them: 10% to 15% more time."""


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of matrix products: ``auto`` is bfloat16 on CUDA, float32 elsewhere."""
    if name == "auto":
        name = "bfloat16" if device.type == "cuda" else "float32"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager[Any]:
    """Autocast to a dtype below float32; nothing for float32."""
    if dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype)


def compile_or_not(
    function: Function,
    attempt: Callable[[Function], object],
    doing: str,
    dynamic: bool | None = None,
    **options: Any,
) -> Function:
    """The compiled form of a function, or itself where the compiler fails; a warning then says why.

    Args:
        function: what is compiled.
        attempt: calls the compiled form as it will be called.
        doing: what continues without it, for the messages (``sampling``).
        dynamic: for ``torch.compile``: whether one program serves several sizes.
        options: of the compiler, besides ``COMPILER``.
    """
    # As many compilers at once as this process has threads: the machine has other work, too.
    compilers = int(os.environ.get("TORCHINDUCTOR_COMPILE_THREADS", torch.get_num_threads()))
    options = {**COMPILER, "compile_threads": compilers, **options}
    try:
        with without_cuda_warning():
            if doing in ("training", "sampling"):  # compiling takes long, without output
                step = {"training": "train", "sampling": "sample"}[doing]
                say(step, "compiling (a minute or two the first time)")
            compiled: Any = torch.compile(function, dynamic=dynamic, options=options)
            attempt(compiled)
    except Exception as error:  # whatever the compiler stack raises: it is an optimisation only
        reason = str(error).strip().splitlines() or [type(error).__name__]
        log.warning("torch.compile is not usable here (%s); %s without it", reason[0], doing)
        return function
    return compiled


@contextlib.contextmanager
def without_cuda_warning() -> Iterator[None]:
    """Suppress the warning that there is no GPU, and no other.

    torch's compiler causes it, even for a CPU, if a CUDA toolkit but no GPU is installed.
    """
    logger = logging.getLogger("torch.utils.cpp_extension")

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("No CUDA runtime is found")

    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def compiler_works(device: torch.device, doing: str) -> bool:
    """Whether a one-line function compiles for the device; if not, a warning says why."""

    def double(x: torch.Tensor) -> torch.Tensor:
        return 2 * x

    return compile_or_not(double, lambda f: f(torch.ones(8, device=device)), doing) is not double


@functools.cache
def matrix_ceiling(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s of the best of a few square matrix products, measured once in a process.

    The speed of a training step is compared with it.
    """
    best = 0.0
    for side in (1024, 2048) if device.type == "cpu" else (4096, 8192):
        a = torch.ones(side, side, device=device, dtype=dtype)
        for _ in range(4):
            started = time.perf_counter()
            (a @ a)[0, 0].item()  # waits for the device
            best = max(best, 2 * side**3 / (time.perf_counter() - started))
    return best
