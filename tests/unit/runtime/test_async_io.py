"""Fetching one behind, and writing in a thread whose errors are not lost."""

import errno
import threading
import time

import numpy as np
import pytest
import torch

from dimr.runtime import async_io as overlap
from dimr.runtime.async_io import BackgroundWriter, Waits, fetch


def test_arrays_of_the_cpu_come_at_once_and_are_not_copied():
    made = []

    def batches():
        for value in range(3):
            made.append(torch.full((2,), value))
            yield made[-1]

    for count, array in enumerate(fetch(batches(), Waits()), start=1):
        assert len(made) == count
        assert array.tolist() == [count - 1] * 2
        assert array.ctypes.data == made[-1].data_ptr()
    assert [a.tolist() for a in fetch([np.arange(2)], Waits())] == [[0, 1]]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_copies_of_a_device_are_waited_for_one_behind(count, monkeypatch):
    """The order of events on CUDA, with a device that only tells what it was asked."""
    events = []

    class OnDevice:
        device = torch.device("cuda")

        def __init__(self, number):
            self.number = number
            events.append(f"launch {number}")

    def start(tensor):
        events.append(f"copy {tensor.number}")

        def array():
            events.append(f"wait {tensor.number}")
            return np.array(tensor.number)

        return array

    monkeypatch.setattr(overlap, "start_copy", start)
    monkeypatch.setattr(torch, "as_tensor", lambda tensor: tensor)
    waits = Waits()
    assert [int(a) for a in fetch(map(OnDevice, range(count)), waits)] == list(range(count))
    assert set(waits.seconds) == ({"copy"} if count else set())
    for number in range(count - 1):
        assert events.index(f"wait {number}") > events.index(f"launch {number + 1}")
        assert events.index(f"wait {number}") > events.index(f"copy {number + 1}")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_arrive_whole():
    tensors = [torch.randint(256, (50, 64, 64, 3), dtype=torch.uint8) for _ in range(5)]
    arrays = list(fetch((t.pin_memory().cuda(non_blocking=True) for t in tensors), Waits()))
    assert all(np.array_equal(a, t.numpy()) for a, t in zip(arrays, tensors, strict=True))


def test_calls_are_made_in_order_beside_the_work():
    done, gate = [], threading.Event()

    def call(number):
        gate.wait(10)
        done.append((number, threading.current_thread().name))

    waits = Waits()
    with BackgroundWriter(waits) as writer:
        writer.submit(call, 0)
        assert done == []  # the loop went on
        gate.set()
        for number in range(1, 5):
            writer.submit(call, number)
    assert [number for number, _ in done] == list(range(5))
    assert all(name.startswith("writer") for _, name in done)


def test_waiting_is_counted():
    waits = Waits()
    with BackgroundWriter(waits) as writer:
        writer.submit(time.sleep, 0.2)
        writer.submit(time.sleep, 0.0)
    assert 0.15 < waits.seconds["write"] < 5


def full_disk():
    raise OSError(errno.ENOSPC, "No space left on device")


def wait_until_done(writer):
    while not writer._running.done():
        time.sleep(0.01)


@pytest.mark.parametrize("met", ["check", "submit", "leaving"])
def test_an_error_of_the_thread_is_raised(met):
    after = []
    with pytest.raises(OSError, match="No space left") as caught, BackgroundWriter(Waits()) as w:
        w.submit(full_disk)
        wait_until_done(w)
        if met == "check":
            w.check()
        if met == "submit":
            w.submit(after.append, 1)
    assert caught.value.errno == errno.ENOSPC
    assert after == []


def test_an_error_of_the_loop_lets_the_call_finish():
    done = []

    def slow():
        time.sleep(0.1)
        done.append(1)

    with pytest.raises(KeyError), BackgroundWriter(Waits()) as writer:
        writer.submit(slow)
        writer.check()  # not done yet: nothing to say
        raise KeyError
    assert done == [1]
