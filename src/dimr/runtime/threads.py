"""A function applied to many items in threads: for reading and decoding, which let others run."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 4
"""Things per thread that are taken before the first of them is done."""
Given = TypeVar("Given")
Result = TypeVar("Result")


def in_threads(
    function: Callable[[Given], Result], items: Iterable[Given]
) -> Generator[tuple[Given, Result], None, None]:
    """Each item with its result, in the order of the items; few are held in memory at once.

    The first error, in that order, is raised; what has not begun by then is not begun.
    """
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[tuple[Given, Future[Result]]] = deque()
        try:
            for item in items:
                waiting.append((item, pool.submit(function, item)))
                if len(waiting) > threads * AHEAD:
                    first, future = waiting.popleft()
                    yield first, future.result()
            for first, future in waiting:
                yield first, future.result()
        finally:
            pool.shutdown(cancel_futures=True)
