"""What all tests share."""

import os

# Tiny tensors: more threads than cores (other jobs, pytest workers) make them 20 times slower.
os.environ.setdefault("OMP_NUM_THREADS", "1")
