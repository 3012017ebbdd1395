"""Random training batches: our reader against a file per sample: `python benchmarks/loader.py`.

Plain: each sample pickled in a `.npy` file of its own, drawn at random by a DataLoader with two
workers, as the code of diffusion papers does. Both read the same latents, which are in the page
cache, and their stored values are compared before anything is timed. Then the reader's memory, on
sparse folders that are many times larger.
"""

import argparse
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from dimr.data.reader import ShardReader
from dimr.data.resumable_shards import Assembly
from dimr.runtime.files import write_json

SHAPE = (8, 32, 32)


class Files(Dataset):
    """One pickled (moments, label) a file."""

    def __init__(self, folder, count):
        self.paths = [folder / f"{i}.npy" for i in range(count)]

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        moments, label = np.load(self.paths[index], allow_pickle=True)
        return torch.from_numpy(moments), label


def make(folder, count):
    """The same samples in both forms; label i is i mod 1000."""
    (folder / "files").mkdir()
    generator = np.random.default_rng(0)

    work = Assembly(folder / "shards", "k", "posterior", SHAPE, count, shard_size=2000)
    for number in range(work.shards):
        samples = generator.standard_normal((len(work.samples(number)), *SHAPE), np.float32)
        samples = np.abs(samples).astype(np.float16)
        for i, moments in zip(work.samples(number), samples, strict=True):
            pair = np.empty(2, dtype=object)
            pair[:] = moments, i % 1000
            np.save(folder / f"files/{i}.npy", pair)
        work.write(number, samples)
    work.finish(np.arange(count) % 1000, [str(i) for i in range(1000)], 0.18215)


def warm(folder):
    """Read every file once, so that neither side waits for the disk."""
    for path in folder.rglob("*.npy"):
        path.read_bytes()


def check(folder, reader):
    """Both forms hold the same."""
    files = Files(folder / "files", reader.count)
    indices, labels = reader.indices(0), reader.batch(0)[1]
    for stored, index, read in zip(reader.stored(indices), indices, labels, strict=True):
        moments, label = files[index]
        assert np.array_equal(stored, moments.numpy())
        assert read == label


def posterior(moments):
    """What the reader makes of stored moments, with torch's global generator."""
    mean, std = moments.float().chunk(2, dim=1)
    return torch.randn(mean.shape).mul_(std).add_(mean).mul_(0.18215)


def plain_rate(folder, count, batch, seconds, finish):
    """Samples per second of the DataLoader, once its workers run; ``finish`` gets each batch."""
    loader = DataLoader(Files(folder / "files", count), batch, shuffle=True, num_workers=2,
                        drop_last=True)  # fmt: skip
    iterator, batches = iter(loader), 0
    next(iterator)
    started = time.perf_counter()
    for moments, _ in iterator:
        finish(moments)
        batches += 1
        if time.perf_counter() - started > seconds:
            break
    return batches * batch / (time.perf_counter() - started)


def reader_rate(read, first, batch, seconds):
    """Samples per second of ``read(step)``, from step ``first`` on."""
    read(first)
    batches, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        batches += 1
        read(first + batches)
    return batches * batch / (time.perf_counter() - started)


def sparse_folder(folder, count, shard_size=100_000):
    """A shard folder of ``count`` zeros that takes no room on the disk."""
    folder.mkdir()
    shards = []
    for start in range(0, count, shard_size):
        name, size = f"{len(shards):05d}.npy", min(shard_size, count - start)
        np.lib.format.open_memmap(folder / name, "w+", np.float16, (size, *SHAPE))
        shards.append({"file": name, "count": size, "sha256": "0"})
    np.save(folder / "labels.npy", np.zeros(count, np.int64))
    write_json(folder / "manifest.json", {
        "format": "dimr-shards-1", "kind": "posterior", "count": count, "shape": SHAPE,
        "dtype": "float16", "classes": 1, "class_names": ["a"], "key": "k", "shards": shards,
        "labels": {"file": "labels.npy", "sha256": "0"}, "scaling_factor": 0.18215,
    })  # fmt: skip
    return folder


def resident():
    """MB of memory of this process, with the pages of files that are mapped into it."""
    with open("/proc/self/status") as file:
        sizes = dict(line.split(":", 1) for line in file)
    return int(sizes["VmRSS"].split()[0]) / 1000


def memory(folder, batch, pipe):
    """Send MB before reading, after 20 batches and after 200, and the peak."""
    torch.set_num_threads(1)
    reader = ShardReader(folder, batch, 0)
    sizes = [resident()]
    for step in range(200):
        reader.batch(step)
        if step in (19, 199):
            sizes.append(resident())
    pipe.send([*sizes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000])


def in_a_process(function, *arguments):
    """What the function sends, run in a fresh process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=function, args=(*arguments, theirs))
    process.start()
    found = ours.recv()
    process.join()
    return found


def main():
    """Print both rates in turns, their ratio, and the reader's memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=12_000, help="latents of 8x32x32 float16")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--larger", type=int, nargs="*", default=[12_000, 120_000, 1_200_000])
    options = parser.parse_args()
    machine = platform.processor() or platform.machine()
    print(f"{machine}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    rates = {"plain": [], "plain whole": [], "stored": [], "whole": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make(folder, options.count)
        warm(folder)
        reader = ShardReader(folder / "shards", options.batch, seed=0)
        check(folder, reader)
        for turn in range(options.turns):  # in turns: the machine's other work affects all alike
            first = 10_000 * turn
            for kind, finish in (("plain", torch.Tensor.size), ("plain whole", posterior)):
                rates[kind].append(
                    plain_rate(folder, options.count, options.batch, options.seconds, finish)
                )
            for kind, read in (
                ("stored", lambda step: reader.stored(reader.indices(step))),
                ("whole", reader.batch),
            ):
                rates[kind].append(reader_rate(read, first, options.batch, options.seconds))
    print(f"{'':44} {'samples/s':>10} {'ratio':>6} {'ratios':>22}")
    for kind, against, words in (
        ("plain", "plain", "a pickled file per sample, 2 workers"),
        ("stored", "plain", "reader: the stored moments"),
        ("plain whole", "plain whole", "plain, and a posterior drawn, float32"),
        ("whole", "plain whole", "reader, and a posterior drawn, float32"),
    ):
        ratios = [a / b for a, b in zip(rates[kind], rates[against], strict=True)]
        rate, shown = statistics.median(rates[kind]), " ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"{words:44} {rate:10,.0f} {statistics.median(ratios):6.1f} {shown:>22}")
    print(
        f"\n{'latents':>10} {'GB':>6} {'MB at first':>12} {'20 batches':>11} {'200':>6} {'peak':>6}"
    )
    for count in options.larger:
        with tempfile.TemporaryDirectory() as name:
            folder = sparse_folder(Path(name) / "z", count)
            found = in_a_process(memory, folder, options.batch)
        size = count * 2 * np.prod(SHAPE) / 1e9
        at_first, soon, later, peak = found
        print(f"{count:10,} {size:6.1f} {at_first:12.0f} {soon:11.0f} {later:6.0f} {peak:6.0f}")


if __name__ == "__main__":
    main()
