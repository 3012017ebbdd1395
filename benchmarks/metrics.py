"""Metrics at full size: `python benchmarks/metrics.py`. Each part says its seconds and its memory.

1. Precision, recall and FID of random features, 50,000 x 10,000 of width 2048 (minutes, 2 GB).
2. Reading an .npz of images for the extractor: streamed and read ahead, against np.load and the
   images one by one, as torch-fidelity's loader takes them, with a stand-in that takes as long for
   a batch as a GPU would. The features of both must be the same.

Each measurement runs in a process of its own, so that its peak of memory is its own.
"""

import argparse
import multiprocessing
import platform
import re
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.utils import get_featuresdict_from_dataset

from dimr.evaluation.extraction import extract_features
from dimr.evaluation.fidelity import feature_statistics, frechet_distance
from dimr.evaluation.image_sets import NpzImages, image_tensor
from dimr.evaluation.manifold import precision_recall


def measured(call, *arguments, threads=None):
    """Result of a call in a new process, seconds of clock and processor, what memory it took (GB).

    The memory is the process's peak less what it had before the call, with all modules loaded.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(_timed, call, arguments, threads).result()


def _timed(call, arguments, threads):
    torch.set_num_threads(threads or multiprocessing.cpu_count())
    before = peak_memory()
    started = time.perf_counter(), time.process_time()
    result = call(*arguments)
    seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    return result, seconds, busy, peak_memory() - before


def peak_memory():
    """Of this process, in GB; not ru_maxrss, which starts from the parent process's."""
    [peak] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(peak) * 1024 / 1e9


def random_features(count, width, seed, shift=0.0):
    """Non-negative float32 features (count, width) near a subspace, as Inception's are."""
    generator = torch.Generator().manual_seed(0)
    inner = min(64, width)
    mixing = torch.randn(inner, width, generator=generator)
    own = torch.Generator().manual_seed(seed)
    return torch.relu(torch.randn(count, inner, generator=own) @ mixing / 16 + 0.3 + shift)


def shares(distances, count, other, width):
    """(precision, recall) of ``count`` generated and ``other`` real features."""
    one, two = random_features(count, width, 1, 0.1), random_features(other, width, 2)
    return tuple(round(share, 4) for share in precision_recall(one, two, 3, distances))


def fid(count, other, width):
    """FID of the same features, both statistics taken."""
    one, two = random_features(count, width, 1, 0.1), random_features(other, width, 2)
    return round(frechet_distance(feature_statistics(one), feature_statistics(two)), 4)


def stand_in(milliseconds):
    """An extractor of the mean that leaves the processor idle for that long per batch."""

    class Mean(FeatureExtractorBase):
        @staticmethod
        def get_provided_features_list():
            return ("mean",)

        def forward(self, images):
            time.sleep(milliseconds / 1000)
            return (images[:, :, ::16, ::16].float().mean((2, 3)),)

    return Mean("stand-in", ["mean"])


def ours(path, milliseconds):
    """Features of an .npz, streamed and read ahead."""
    network = stand_in(milliseconds)
    return extract_features(NpzImages(path), network, batch_size=64, cuda=False)["mean"].numpy()


class OneByOne(torch.utils.data.Dataset):
    """All images in memory, each turned when it is asked for."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return image_tensor(self.images[index])


def plain(path, milliseconds):
    """The same without streaming and reading ahead."""
    dataset = OneByOne(np.load(path)["arr_0"])
    network = stand_in(milliseconds)
    return get_featuresdict_from_dataset(dataset, network, 64, False, True, False)["mean"].numpy()


def main():
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--generated", type=int, default=50_000)
    parser.add_argument("--real", type=int, default=10_000)
    parser.add_argument("--width", type=int, default=2048)
    parser.add_argument("--images", type=int, default=8_000, help="of 256 px, in the .npz")
    parser.add_argument("--gpu-ms", type=float, default=20, help="of a batch of 64, stood in for")
    parser.add_argument("--parts", default="features,images")
    options = parser.parse_args()
    sizes = options.generated, options.real, options.width
    print(f"{platform.machine()}, {multiprocessing.cpu_count()} cores, torch {torch.__version__}")
    if "features" in options.parts:
        print("features: {} x {} of width {}".format(*sizes))
        for name, call, *more in (
            ("float16 P and R", shares, "float16"), ("float32 P and R", shares, "float32"),
            ("FID", fid),
        ):  # fmt: skip
            value, seconds, busy, peak = measured(call, *more, *sizes)
            times = f"{seconds:7.1f} s, {busy:7.1f} CPU s"
            print(f"{name:18} {value!s:18} {times} {peak:6.1f} GB", flush=True)
    if "images" in options.parts:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "images.npz")
            images = np.random.default_rng(0).bytes(options.images * 256 * 256 * 3)
            np.savez(path, np.frombuffer(images, np.uint8).reshape(-1, 256, 256, 3))
            del images
            compare_reading(path, options)


def compare_reading(path, options):
    """Both ways of reading, and the share of the time in which the extractor waited."""
    busy = -(-options.images // 64) * options.gpu_ms / 1000
    print(f"images: {options.images} of 256 px, extractor: {options.gpu_ms} ms per batch of 64")
    results = []
    for name, call in (("one by one", plain), ("read ahead", ours)):
        # One thread: on a busy machine, several are several times slower for single images.
        values, seconds, _, peak = measured(call, path, options.gpu_ms, threads=1)
        results.append(values)
        rate, waited = options.images / seconds, 1 - busy / seconds
        print(f"{name:18} {rate:7.0f} images/s, waited {waited:4.0%} {peak:6.2f} GB", flush=True)
    assert np.array_equal(*results), "the two give other features"


if __name__ == "__main__":
    main()
