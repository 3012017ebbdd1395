"""A whole training step, ours against the authors' way: `python benchmarks/training.py`.

Plain: eager, float32 (bfloat16 autocast on CUDA, `plain bf16`), the norms as their formulas, every
block checkpointed, AdamW and EMA tensor by tensor. The losses of all rows are compared before
anything is timed; rows are timed in turns, so that the machine's other work falls on all of them.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from network import PLAIN

from dimr.compute import matrix_ceiling
from dimr.device import prepare_device
from dimr.diffusion.schedule import SCHEDULES
from dimr.distributed import World
from dimr.experiment import load_run
from dimr.models import FAMILIES, complexity
from dimr.training.batches import Draws
from dimr.training.engine import Engine
from dimr.training.setup import make_trainee, prepare
from dimr.training.step import train_step

RUNS = {"dimr-xs-2r": "digits", "dimr-m-3r": "imagenet64", "dimr-xl-2r": "imagenet256",
        "dimr-g-2r": "imagenet256"}  # fmt: skip
BATCH = {"dimr-xs-2r": 64, "dimr-m-3r": 2}  # on a CPU; a GPU takes 64
WARM_UP = 3


class Row:
    """A way to train: its engine, precision, formulas, and the setting of matrix products."""

    def __init__(self, name, phase, device, engine, product, precision="float32", plain=False):
        self.name, self.device = name, device
        train = phase.train.model_copy(update={"precision": precision})
        self.phase = phase.model_copy(update={"train": train})
        self.product = product
        self.times, self.losses = [], []
        self.trainee = make_trainee(self.phase, device, engine)
        if plain:
            for module in self.trainee.network.modules():
                module.__class__ = PLAIN.get(type(module), type(module))
        prepare(self.trainee, World(device))

    def step(self, batch, number):
        """One step; its seconds."""
        torch.set_float32_matmul_precision(self.product)
        started = time.perf_counter()
        losses = train_step(self.trainee, batch, number)
        self.losses.append(losses[0].item())  # waits for the device
        return time.perf_counter() - started


def rows_of(phase, device):
    """Functions that make the rows, the plain one first."""
    ours, plain = Engine(), Engine.plain()
    own = torch.get_float32_matmul_precision()  # rows change it: asked for once
    if device.type == "cuda":
        return [
            partial(Row, "plain, bf16", phase, device, plain, own, "bfloat16", plain=True),
            partial(
                Row, "eager, bf16", phase, device, replace(ours, compile=False), own, "bfloat16"
            ),
            partial(Row, "compiled, bf16", phase, device, ours, own, "bfloat16"),
        ]
    return [
        partial(Row, "plain", phase, device, plain, "highest", plain=True),
        partial(Row, "plain, same products", phase, device, plain, own, plain=True),
        partial(Row, "eager", phase, device, replace(ours, compile=False), own),
        partial(Row, "compiled", phase, device, ours, own),
        partial(Row, "compiled, bf16", phase, device, ours, own, "bfloat16"),
    ]


def measure(variant, device, batch_size, steps):
    """The rows of a variant, as they are measured: dictionaries."""
    phase = load_run(f"{RUNS[variant]}/{variant}/0").phases()["train"]
    phase = phase.model_copy(update={"train": phase.train.model_copy(update={"compile": True})})
    network = phase.network
    macs = complexity(FAMILIES[network.family], network.arguments()).macs
    shape = batch_size, network.channels, network.input_size, network.input_size
    torch.manual_seed(0)
    x, y = torch.randn(shape), torch.randint(network.num_classes, (batch_size,))
    makers = rows_of(phase, device)
    draws = Draws(0, SCHEDULES[network.schedule](), 0.1, network.num_classes)
    batches = [draws.batch(x, y, number).to(device) for number in range(WARM_UP + steps)]
    peaks = {dtype: matrix_ceiling(device, dtype) for dtype in (torch.float32, torch.bfloat16)}
    for make in makers:  # one beside the plain one at a time: a large network has no room for more
        plain = makers[0]()
        row = plain if make is makers[0] else make()
        for number, batch in enumerate(batches):
            for one in dict.fromkeys([plain, row]):
                seconds = one.step(batch, number)
                if number >= WARM_UP:
                    one.times.append(seconds)
        check(row, plain)
        seconds = statistics.median(row.times)
        flops = 6 * macs * batch_size / seconds
        yield {
            "variant": variant, "batch": batch_size, "row": row.name, "ms": 1000 * seconds,
            "images_per_second": batch_size / seconds, "gflops": flops / 1e9,
            "mfu": flops / peaks[row.trainee.dtype],
            "ratio": statistics.median(
                a / b for a, b in zip(plain.times, row.times, strict=True)
            ),
        }  # fmt: skip
        del plain, row


def check(row, plain):
    """The same losses, to rounding; bfloat16 within 2%."""
    allowed = 2e-2 if row.trainee.dtype == torch.bfloat16 else 1e-3
    for ours, theirs in zip(row.losses, plain.losses, strict=True):
        if abs(ours - theirs) > allowed * abs(theirs):
            sys.exit(f"{row.name}: loss {ours}, plain {theirs}")


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
    print(f"{machine or platform.machine()}, torch {torch.__version__}, "
          f"{torch.get_num_threads()} threads")  # fmt: skip
    print(f"{'variant':12} {'batch':>5}  {'':22} {'ms':>8} {'images/s':>9} {'GFLOP/s':>8} "
          f"{'MFU':>6} {'ratio':>6}")  # fmt: skip
    found = []
    for variant in options.variants:
        default = BATCH.get(variant, 1) if device.type == "cpu" else 64
        for line in measure(variant, device, options.batch or default, options.steps):
            found.append(line)
            print(f"{line['variant']:12} {line['batch']:5}  {line['row']:22} {line['ms']:8.1f} "
                  f"{line['images_per_second']:9.1f} {line['gflops']:8.0f} {line['mfu']:6.1%} "
                  f"{line['ratio']:6.2f}", flush=True)  # fmt: skip
    if device.type == "cuda":
        print(f"peak memory {torch.cuda.max_memory_allocated() / 1e9:.1f} GB (all rows)")
    if options.json:
        result = {"machine": machine, "torch": torch.__version__, "rows": found}
        options.json.write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
