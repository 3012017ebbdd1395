"""What a process is told before it computes on a CPU."""

import subprocess
import sys

import pytest

from dimr.runtime.device import usable_device
from dimr.runtime.errors import DimrError

FAULTS = """
import resource
import torch
from dimr.runtime.device import prepare_device

if {keep}:
    prepare_device("cpu")
before = []
for _ in range(10):
    before.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    large = [torch.ones(48 << 18) for _ in range(2)]  # 48 MiB each
    del large
print(before[-1] - before[-2])
"""


def faults(keep):
    """Pages that a process gets from the system when it allocates 96 MiB for the ninth time."""
    command = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@pytest.mark.slow
def test_freed_memory_is_used_again():
    pages = 2 * (48 << 20) // 4096
    assert faults(keep=False) >= pages * 0.9  # else glibc does so by itself, and nothing is gained
    assert faults(keep=True) < pages * 0.01


@pytest.mark.parametrize("name", ["bogus", "", "cuda:99", "meta", None, 1.5])
def test_a_device_that_is_not_there_is_one_line(name):
    with pytest.raises(DimrError, match=rf"device {name}: not usable here") as caught:
        usable_device(name, "device")
    assert "\n" not in str(caught.value)
