"""A whole training step, ours against the authors' way: `python benchmarks/training.py`.

Plain: eager, float32 (bfloat16 autocast on CUDA, `plain, bf16`), the norms as their formulas, every
block checkpointed, AdamW and EMA tensor by tensor. Each row is a process of its own, as settings of
matrix products and memory are a process's; it takes steps in turns with a plain one, so that the
machine's other work falls on both, and their losses are compared.
"""

import argparse
import json
import platform
import resource
import statistics
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from network import write_out
from phases import phase_of
from workers import own_device, worker

from dimr.diffusion.schedule import SCHEDULES
from dimr.models.complexity import complexity
from dimr.runtime.compute import matrix_ceiling
from dimr.runtime.device import prepare_device
from dimr.training import Engine, train_step
from dimr.training.batches import Draws
from dimr.training.distributed import World
from dimr.training.train_state import make_train_state, prepare

BATCH = {"dimr-xs-2r": 64, "dimr-m-3r": 2}  # on a CPU; a GPU takes 64
WARM_UP = 3
DTYPES = torch.float32, torch.bfloat16
TURN = 4  # steps of one, then as many of the other: the caches are its own after the first


@dataclass(frozen=True)
class Row:
    """A way to train: its engine and precision; ``plain``: the formulas, torch's own settings.

    ``product``: a plain row's setting of float32 matrix products; ours choose their own.
    """

    name: str
    engine: Engine
    precision: str = "float32"
    plain: bool = False
    product: str = "highest"


def rows_of(device, product):
    """The rows, the plain one first; ``product``: ours."""
    ours, plain = Engine(), Engine.plain()
    eager = replace(ours, compile=False)
    if torch.device(device).type == "cuda":
        return [
            Row("plain, bf16", plain, "bfloat16", plain=True, product=product),
            Row("eager, bf16", eager, "bfloat16"),
            Row("compiled, bf16", ours, "bfloat16"),
        ]
    return [
        Row("plain", plain, plain=True),
        Row("plain, same products", plain, plain=True, product=product),
        Row("eager", eager),
        Row("compiled", ours),
        Row("compiled, bf16", ours, "bfloat16"),
    ]


def make_step(row, variant, batch_size, device, threads, small=False):
    """A function that takes a step: its seconds, its loss, and the process's peak memory so far.

    ``small``: the variant's tiny stand-in (``phases.SMALL``). Its ``compiled`` says whether the
    compiler worked.
    """
    device = own_device(device, threads, row.product if row.plain else None)
    phase = phase_of(variant, batch_size, row.precision, small)
    network = phase.network
    torch.manual_seed(0)
    x = torch.randn(batch_size, network.channels, *[network.input_size] * 2)
    y = torch.randint(network.num_classes, (batch_size,))
    draws = Draws(0, SCHEDULES[network.schedule](), 0.1, network.num_classes)
    world = World(device)
    state = make_train_state(phase, world, row.engine)
    if row.plain:
        write_out(state.network)
    prepare(state, world)

    def step(number):
        batch = draws.batch(x, y, number).to(device)
        started = time.perf_counter()
        loss = train_step(state, batch, number)[0].item()  # waits for the device
        seconds = time.perf_counter() - started
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated()
        else:
            peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return seconds, loss, peak

    step.compiled = state.forward is not state.network
    return step


def measure(variant, device, batch_size, steps, threads, product):
    """Yield the rows of a variant (dictionaries) as they are measured."""
    macs = complexity(phase_of(variant).network.sizes).macs
    plain_row, *others = rows_of(device, product)
    where = torch.device(device)
    peaks = {str(dtype)[6:]: matrix_ceiling(where, dtype) for dtype in DTYPES}

    def line(row, found, ratio):
        seconds = statistics.median(one[0] for one in found[WARM_UP:])
        flops = 6 * macs * batch_size / seconds
        return {
            "variant": variant, "batch": batch_size, "row": row.name, "ms": 1000 * seconds,
            "images_per_second": batch_size / seconds, "gflops": flops / 1e9,
            "mfu": flops / peaks[row.precision], "peak_gb": found[-1][2] / 1e9, "ratio": ratio,
        }  # fmt: skip

    rest = variant, batch_size, device, threads
    for number, row in enumerate(others):  # two at a time: a large network has no room for more
        theirs, ours = [], []
        with worker(make_step, plain_row, *rest) as plain, worker(make_step, row, *rest) as own:
            for start in range(0, WARM_UP + steps, TURN):
                turn = range(start, min(start + TURN, WARM_UP + steps))
                theirs += [plain(i) for i in turn]
                ours += [own(i) for i in turn]
        check(row, ours, theirs)
        if number == 0:
            yield line(plain_row, theirs, 1.0)
        ratios = [a[0] / b[0] for a, b in zip(theirs[WARM_UP:], ours[WARM_UP:], strict=True)]
        yield line(row, ours, statistics.median(ratios))


def check(row, ours, theirs):
    """The same losses, to rounding; bfloat16 within 2%."""
    allowed = 2e-2 if row.precision == "bfloat16" else 1e-3
    for one, other in zip(ours, theirs, strict=True):
        if abs(one[1] - other[1]) > allowed * abs(other[1]):
            sys.exit(f"{row.name}: loss {one[1]}, plain {other[1]}")


def main():
    """Print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("variants", nargs="*", default=["dimr-xs-2r", "dimr-m-3r"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = prepare_device(options.device, options.threads)
    machine = torch.cuda.get_device_name() if device.type == "cuda" else platform.processor()
    threads = torch.get_num_threads()
    print(f"{machine or platform.machine()}, torch {torch.__version__}, {threads} threads")
    print(f"{'variant':12} {'batch':>5}  {'':22} {'ms':>8} {'images/s':>9} {'GFLOP/s':>8} "
          f"{'MFU':>6} {'GB':>6} {'ratio':>6}")  # fmt: skip
    found = []
    product = torch.get_float32_matmul_precision()
    for variant in options.variants:
        batch = options.batch or (BATCH.get(variant, 1) if device.type == "cpu" else 64)
        for line in measure(variant, options.device, batch, options.steps, threads, product):
            found.append(line)
            print(f"{line['variant']:12} {line['batch']:5}  {line['row']:22} {line['ms']:8.1f} "
                  f"{line['images_per_second']:9.1f} {line['gflops']:8.0f} {line['mfu']:6.1%} "
                  f"{line['peak_gb']:6.2f} {line['ratio']:6.2f}", flush=True)  # fmt: skip
    if options.json:
        result = {"machine": machine, "torch": torch.__version__, "rows": found}
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
