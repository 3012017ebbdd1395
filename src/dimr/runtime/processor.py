"""The processor's instructions, and code compiled for them; nothing here needs PyTorch."""

import hashlib
import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def instruction_set() -> str:
    """Eight hex digits, which differ where processors' instructions do: a name for compiled code.

    PyTorch's compiler writes loops for the vectors of the processor, or of ``ATEN_CPU_CAPABILITY``,
    and its cache does not tell them apart: with loops for AVX-512 from the cache, losses of
    PyTorch under AVX2 were not finite. The nodes of a cluster share a cache, and may differ.
    """
    found = platform.machine()
    if CPUINFO.is_file():
        with CPUINFO.open(errors="replace") as lines:  # flags on x86, Features on ARM
            found += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    allowed = os.environ.get("ATEN_CPU_CAPABILITY", "")
    return hashlib.sha256(f"{found}\n{allowed}".encode()).hexdigest()[:8]


def keep_compiled(cache: Path) -> None:
    """Have PyTorch keep compiled code below ``cache``, unless the environment names a folder.

    Traced steps are kept too, including those with a gradient of ours (``dimr.models.depthwise``),
    which PyTorch would otherwise trace at every start; its code is part of their cache key.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache / instruction_set()))
    os.environ.setdefault("TORCHINDUCTOR_AUTOGRAD_CACHE_ALLOW_CUSTOM_AUTOGRAD", "1")
