"""The same function of many things, in threads."""

import threading
import time

import pytest

from dimr.runtime import threads
from dimr.runtime.threads import in_threads


@pytest.fixture(autouse=True)
def three(monkeypatch):
    monkeypatch.setattr(threads.os, "cpu_count", lambda: 3)


def test_results_have_the_order_of_the_items():
    def slow_first(number):
        time.sleep(0.02 * (number % 3 == 0))
        return number**2

    assert list(in_threads(slow_first, range(20))) == [(n, n**2) for n in range(20)]
    assert list(in_threads(slow_first, [])) == []


def test_few_items_are_taken_at_once():
    taken, most = 0, 0

    def items():
        nonlocal taken
        for number in range(200):
            taken += 1
            yield number

    for handed_out, _ in enumerate(in_threads(str, items())):
        most = max(most, taken - handed_out)
    assert taken == 200
    assert most <= 3 * threads.AHEAD + 1


def test_the_first_error_is_raised_and_what_is_left_is_not_begun():
    begun, first = [], threading.Event()

    def fails(number):
        begun.append(number)
        if number == 2:
            first.wait(5)  # a later one fails before it
            raise ValueError("two")
        if number == 3:
            first.set()
            raise ValueError("three")

    with pytest.raises(ValueError, match="two"):
        list(in_threads(fails, range(500)))
    assert len(begun) < 30


def test_items_that_cannot_be_made():
    def items():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(in_threads(str, items()))
