"""Functions in processes of their own: settings of matrix products and memory are a process's."""

import multiprocessing
from contextlib import contextmanager

import torch

from dimr.runtime.device import prepare_device


def own_device(name, threads, product=None):
    """A process's device, prepared as ours; with a ``product`` setting, torch's own but for it."""
    if product is None:
        return prepare_device(name, threads)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(product)
    return torch.device(name)


@contextmanager
def worker(make, *arguments):
    """``make(*arguments)``, a function made in another process, to be called from this one.

    Both it and what it is called with and returns must be picklable. An error of its ends the
    process, which has printed it, and the call here raises ``EOFError``.
    """
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()  # else its end would not be seen here

    def call(*given):
        connection.send(given)
        return connection.recv()

    try:
        yield call
    finally:
        connection.close()
        process.join()


def _serve(connection, make, arguments):
    call = make(*arguments)
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        connection.send(call(*given))
