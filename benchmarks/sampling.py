"""Guided sampling by `dimr sample` and by a plain loop: `python benchmarks/sampling.py`.

Plain, as the authors sample: two passes for guidance, the time given image by image, eager, the
formulas of `benchmarks/network.py` one by one, float32 products of the default library; a batch is
drawn, decoded, copied to the host and appended to a list, and everything is saved at the end as
shards with checksums and as an .npz. The solver is diffusers' in every row: the authors' own code
of it is slower. "Plain, same products" has our products: oneDNN's on a CPU, bfloat16 on CUDA. Ours
is what the command does: one batch of both passes in pieces, compiled, shards that a killed job
resumes with, the copy one batch behind, the writing in a thread of its own, and a grid. All draw
with the same weights (random, or of `--model`), in turns, each in a process of its own, and their
images are compared. "Waiting" is the share of the time in which the loop stands still for the
autoencoder and the copy, and for the disk.
"""

import argparse
import dataclasses
import platform
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from network import PlainPasses, make_autoencoder, wait_for, write_out
from workers import own_device, worker

import dimr
from dimr.config.project import PROJECT
from dimr.config.schema import SampleConfig
from dimr.config.variants import check_network
from dimr.data.autoencoder import Decoder
from dimr.data.resumable_shards import Assembly
from dimr.runtime.async_io import Waits
from dimr.runtime.compute import resolve_precision
from dimr.runtime.device import prepare_device
from dimr.runtime.files import write_json
from dimr.sampling import folder as samples
from dimr.sampling.engine import Evaluator, SamplingEngine
from dimr.sampling.model import load_network
from dimr.sampling.sampler import Sampler, in_batches, labels_in_order

DIGITS = {"input_size": 8, "channels": 4, "num_classes": 10, "time_map": "latent"}
WAYS = ("plain", "plain, same products", "ours")


def make_network(options):
    """The network, and its config.json: of a run, or of the variant with random weights."""
    if options.model:
        return load_network(options.model)
    inputs = PROJECT.variant(options.variant).published_input or DIGITS
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = dimr.build(options.variant, **inputs).eval()
    config = {"family": network.family, "schedule": inputs["time_map"], **network.sizes.arguments()}
    return network, check_network(config, options.variant)


def make_sampling(options):
    """The configuration of what is drawn."""
    return SampleConfig.model_validate({
        "seed": 0, "count": options.count, "steps": options.steps, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.4},
    })  # fmt: skip


def make_run(way, options, threads, products):
    """A function that draws into a folder in one of ``WAYS``: what it took, and what of it waiting.

    Args:
        way: one of ``WAYS``; the plain ones run with torch's own settings.
        options: of the command line.
        threads: number of the process's threads.
        products: the setting of float32 matrix products of "plain, same products".
    """
    own = {"plain": "highest", "plain, same products": products, "ours": None}[way]
    device = own_device(options.device, threads, own)
    network, config = make_network(options)
    sampling, network = make_sampling(options), network.to(device)
    vae = make_autoencoder(options.autoencoder).to(device) if config.channels == 4 else None
    engine = make_engine(options, config, device)
    if way == "ours":
        evaluator = Evaluator(network, engine, options.batch, guided=True)
    else:
        write_out(network)
        precision = "float32" if way == "plain" else engine.precision
        evaluator = PlainPasses(network, resolve_precision(precision, device))
    sampler = Sampler(evaluator, config, sampling, Decoder(vae), device)

    def run(out):
        wait_for(device)
        started = time.perf_counter()
        waited = (ours if way == "ours" else plain)(sampler, options.batch, out)
        taken = time.perf_counter() - started
        assert getattr(evaluator, "compiled", True), "the compiler failed: nothing to compare"
        return taken, {what: share / taken for what, share in waited.items()}

    return run


def make_engine(options, config, device):
    """Ours: compiled, and in the precision that was asked for."""
    engine = SamplingEngine(True, options.precision)
    return engine.resolved(config, make_sampling(options), device)


def plain(sampler, batch, out):
    """The plain loop; returns seconds of waiting by kind."""
    waits, images = Waits(), []
    for numbers in in_batches(range(sampler.sampling.count), batch):
        x = sampler.solve(numbers)
        wait_for(sampler.device)
        with waits.on("decode and copy"):
            images.append(sampler.decode(x).cpu().numpy())
    with waits.on("write"):
        images, classes = np.concatenate(images), sampler.config.num_classes
        work = Assembly(out, "k", "pixels", images.shape[1:], len(images), len(images))
        work.write(0, images)
        work.finish(labels_in_order(len(images), classes), list(map(str, range(classes))))
        np.savez(out / "samples.npz", arr_0=images)
    return waits.seconds


def ours(sampler, batch, out):
    """What the command does; returns seconds of waiting by kind."""
    side, classes = sampler.config.input_size * sampler.decode.factor, sampler.config.num_classes
    decoding = Waits()

    def decode(x):
        with decoding.on("decode"):
            return sampler.decode(x)

    timed = dataclasses.replace(sampler, decode=decode)
    work = samples.plan(out, "k", (side, side), sampler.sampling.count)
    waits = samples.fill(work, timed.draw, batch)
    with waits.on("write"):
        labels = labels_in_order(sampler.sampling.count, classes)
        samples.complete(work, labels, list(map(str, range(classes))))
    copied = decoding.seconds["decode"] + waits.seconds["copy"]
    return {"decode and copy": copied, "write": waits.seconds["write"]}


def compare(folder, tolerance):
    """The largest difference of each way's images from plain's; refused if more than rounding."""
    first = samples.read_samples(folder / "0")[0].astype(np.int16)
    found = {}
    for number, name in enumerate(WAYS[1:], start=1):
        other = samples.read_samples(folder / str(number))[0].astype(np.int16)
        difference = np.abs(first - other)
        found[name] = int(difference.max())
        mean = difference.mean()
        assert mean < tolerance, f"{name}: images differ by {mean:.2g} levels of 256 on average"
    return first.shape, found


def measure(options, device):
    """Rows of the table, the shape of the images, and how they differ."""
    rest = options, torch.get_num_threads(), torch.get_float32_matmul_precision()
    config = make_network(options)[1]
    exact = make_engine(options, config, device).precision == "float32"
    runs = {name: [] for name in WAYS}
    with ExitStack() as processes:
        draw = {name: processes.enter_context(worker(make_run, name, *rest)) for name in WAYS}
        for turn in range(options.repeats + 1):  # the first warms up; in turns: noise hits all
            with tempfile.TemporaryDirectory() as folder:
                for number, name in list(enumerate(WAYS))[:: (-1) ** turn]:
                    run = draw[name](Path(folder) / str(number))
                    if turn:
                        runs[name].append(run)
                shape, differences = compare(Path(folder), 0.02 if exact else 2.0)
    rows = {}
    for name, found in runs.items():
        taken, shares = zip(*found, strict=True)
        rows[name] = {
            "images_per_second": options.count / min(taken),
            "seconds": list(taken),
            "decode and copy": statistics.median(s["decode and copy"] for s in shares),
            "write": statistics.median(s["write"] for s in shares),
        }
    return rows, shape, differences


def machine_name(device):
    """The GPU's, or the processor's as Linux tells it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    """Print a table, and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="dimr-xs-2r")
    parser.add_argument("--model", type=Path, help="weights of the variant: a run's model folder")
    parser.add_argument("--autoencoder", choices=["small", "sd"], default="small")
    parser.add_argument("--count", type=int, default=250)
    parser.add_argument("--steps", type=int, default=250, help="network evaluations")
    parser.add_argument("--batch", type=int, default=250, help="images at a time")
    parser.add_argument("--precision", default="auto", help="of our way, as in dimr sample")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", type=Path, help="where to keep the results")
    options = parser.parse_args()
    device = prepare_device(options.device, options.threads)
    options.device = str(device)
    rows, shape, differences = measure(options, device)
    facts = {
        "machine": machine_name(device), "threads": torch.get_num_threads(),
        "torch": torch.__version__, "network": options.variant, "precision": options.precision,
        "evaluations": options.steps, "images": options.count, "pixels": shape[1],
        "batch": options.batch, "largest_difference": differences,
    }  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in facts.items()))
    head = f"fastest of {options.repeats}"
    print(f"{head:22} {'images/s':>9} {'ours / it':>10} "
          f"{'waiting for decode and copy':>28} {'for the disk':>13}")  # fmt: skip
    for name, row in rows.items():
        row["ours / it"] = rows["ours"]["images_per_second"] / row["images_per_second"]
        print(f"{name:22} {row['images_per_second']:9.2f} {row['ours / it']:10.2f} "
              f"{row['decode and copy']:28.1%} {row['write']:13.1%}")  # fmt: skip
    if options.json:
        write_json(options.json, {**facts, "rows": rows})


if __name__ == "__main__":
    main()
