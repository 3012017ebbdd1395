"""Functions in processes of their own, as matrix-product settings and memory are per process."""

import multiprocessing
from contextlib import contextmanager

import torch

from dimr.runtime.device import prepare_device


def own_device(name, threads, product=None):
    """A process's device, prepared as ours; with ``product``, torch's defaults except for that."""
    if product is None:
        return prepare_device(name, threads)
    torch.set_num_threads(threads)
    torch.set_float32_matmul_precision(product)
    return torch.device(name)


@contextmanager
def worker(make, *arguments):
    """The function ``make(*arguments)``, made in another process, to be called from this one.

    ``make``, and what the function takes and returns, must be picklable. An error in it is printed
    and ends its process; the call here then raises ``EOFError``.
    """
    context = multiprocessing.get_context("spawn")
    connection, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, make, arguments), daemon=True)
    process.start()
    theirs.close()  # otherwise the process's end would go unnoticed here

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
