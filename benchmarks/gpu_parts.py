"""What `make gpu-check` does, one function per part; each runs in a process of its own.

A part yields rows: dictionaries with a ``row``, numbers, and, for comparisons, ``ok``. It imports
torch, NumPy and our modules; what needs another package says so if that package is missing.
"""

from gpu_correctness import compiled, parity, resume
from gpu_speed import autoencoder, batches_of, machine, sampling_of, step_of

PARTS = {
    "machine": machine,
    "parity": parity,
    "resume": resume,
    "compiled": compiled,
    "train dimr-xl-2r": step_of("dimr-xl-2r"),
    "sample dimr-xl-2r": sampling_of("dimr-xl-2r"),
    "batch dimr-xl-2r": batches_of("dimr-xl-2r"),
    "autoencoder": autoencoder,
    "train dimr-g-2r": step_of("dimr-g-2r"),
}
"""In the order in which they run: what matters most comes first, should time run out."""
