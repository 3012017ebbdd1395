"""Reading ahead, fetching one behind, and writing in a thread whose errors are not lost."""

import errno
import threading
import time

import numpy as np
import pytest
import torch

from dimr.runtime.async_io import BackgroundWriter, Waits, fetch, one_behind, prefetch


def failing_after(count, log):
    """Numbers below ``count``, then an error; ``log`` remembers which were asked for."""
    for number in range(count):
        log.append(number)
        yield number
    raise OSError(errno.EIO, "input/output error")


@pytest.mark.parametrize("count", [0, 1, 4, 9])
def test_items_are_prefetched_in_order_by_a_thread(count):
    makers = []

    def source():
        for number in range(count):
            makers.append(threading.current_thread().name)
            yield number

    assert list(prefetch(source(), depth=3)) == list(range(count))
    assert all(name.startswith("prefetch") for name in makers)


def test_prefetching_stays_within_its_depth_and_ends_when_it_is_closed():
    made = []
    items = prefetch((made.append(n) or n for n in range(100)), depth=3)
    assert next(items) == 0
    time.sleep(0.1)
    assert len(made) == 4  # the one that was handed out, and three more
    items.close()
    assert len(made) == 4


def test_an_error_of_the_source_is_raised_where_it_belongs():
    for how in (prefetch, one_behind):
        log, seen = [], []
        with pytest.raises(OSError, match="input/output"):
            for item in how(failing_after(3, log)):
                seen.append(item)
        assert seen == log == [0, 1, 2]


@pytest.mark.parametrize("count", [0, 1, 4])
def test_an_item_is_taken_when_the_next_has_been_begun(count):
    events = []
    begun = (events.append(f"begin {n}") or n for n in range(count))
    for number in one_behind(begun):
        events.append(f"take {number}")
    assert [e for e in events if e[0] == "t"] == [f"take {n}" for n in range(count)]
    for number in range(count - 1):
        assert events.index(f"take {number}") > events.index(f"begin {number + 1}")
    assert events[-1:] == [f"take {count - 1}"] * (count > 0)


def test_what_is_not_pending_is_taken_at_once():
    begun = []
    items = one_behind((begun.append(n) or n for n in range(4)), lambda n: n == 1)
    assert [(n, len(begun)) for n in items] == [(0, 1), (1, 3), (2, 3), (3, 4)]


def test_arrays_of_the_cpu_come_at_once_and_are_not_copied():
    made = []

    def batches():
        for value in range(3):
            made.append(torch.full((2,), value))
            yield made[-1]

    waits = Waits()
    for count, array in enumerate(fetch(batches(), waits), start=1):
        assert len(made) == count
        assert array.tolist() == [count - 1] * 2
        assert array.ctypes.data == made[-1].data_ptr()
    assert [a.tolist() for a in fetch([np.arange(2)], waits)] == [[0, 1]]
    assert not waits.seconds


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tensors_of_a_gpu_arrive_whole_and_one_behind():
    tensors = [torch.randint(256, (50, 64, 64, 3), dtype=torch.uint8) for _ in range(5)]
    launched, waits = [], Waits()
    on_device = (launched.append(1) or t.pin_memory().cuda(non_blocking=True) for t in tensors)
    for number, array in enumerate(fetch(on_device, waits)):
        assert np.array_equal(array, tensors[number].numpy())
        assert len(launched) == min(number + 2, 5)
    assert set(waits.seconds) == {"copy"}


def test_calls_are_made_in_order_beside_the_work():
    done, gate = [], threading.Event()

    def call(number):
        gate.wait(10)
        done.append((number, threading.current_thread().name))

    waits = Waits()
    with BackgroundWriter(waits) as writer:
        writer.submit(call, 0)
        assert done == []  # the loop continued
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


@pytest.mark.parametrize("met", ["check", "submit", "leaving"])
def test_an_error_of_the_thread_is_raised(met):
    after, failed = [], threading.Event()

    def full_disk():
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        finally:
            failed.set()

    with pytest.raises(OSError, match="No space left") as caught, BackgroundWriter(Waits()) as w:
        w.submit(full_disk)
        failed.wait(10)
        if met == "check":
            while True:  # until the thread has handed its error over
                w.check()
                time.sleep(0.01)
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
