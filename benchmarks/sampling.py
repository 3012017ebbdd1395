"""Images a second of `dimr sample`, against a plain loop: `python benchmarks/sampling.py`.

Plain: draw a batch, decode it, copy it to the host, append it to a list, and save everything at the
end as shards with checksums and as an .npz. Ours: shards in pieces that a killed job goes on with,
the copy one batch behind, the writing in a thread of its own, constant memory, and the same files
with a grid. Both draw with one network and autoencoder (random weights), in turns, and their images
are compared. "Waiting" is the share of the time in which the loop stands still for the autoencoder
and the copy, and for the disk.
"""

import argparse
import dataclasses
import platform
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from dimr import models
from dimr.data.decoder import Decoder
from dimr.data.shards import open_shards, write_shards
from dimr.device import prepare_device
from dimr.experiment import check_network, find_variant
from dimr.overlap import Waits
from dimr.sampling import folder as samples
from dimr.sampling.generate import Painter, in_batches, labels_in_order
from dimr.settings import SamplePhase

DIGITS = {"input_size": 8, "channels": 4, "num_classes": 10, "time_map": "latent"}


def make_painter(options, device):
    """A network of the variant with an autoencoder, and what is drawn."""
    inputs = find_variant(options.variant).published_input or DIGITS
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = models.build(options.variant, **inputs).eval()
        vae = make_autoencoder(options.autoencoder) if inputs["channels"] == 4 else None
    schedule = {"schedule": inputs["time_map"]}
    sizes = check_network({"family": network.family, **schedule, **network.sizes}, options.variant)
    phase = SamplePhase.model_validate({
        "seed": 0, "count": options.count, "steps": options.steps, "solver": "authors",
        "guidance": {"kind": "constant", "scale": 0.4},
    })  # fmt: skip
    decoder = Decoder(vae.to(device) if vae else None)
    return Painter(network.to(device), sizes, phase, decoder, device)


def make_autoencoder(size):
    """Of Stable Diffusion's shape (images 8 times as large as latents), or small (4 times)."""
    from diffusers import AutoencoderKL

    widths, layers = ((128, 256, 512, 512), 2) if size == "sd" else ((32, 32, 32), 1)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=layers,
        latent_channels=4,
        norm_num_groups=32,
        scaling_factor=0.18215,
    ).eval()


def wait_for(device):
    """Until the device is done with what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def plain(painter, batch, out):
    """The plain loop; returns seconds of waiting by kind."""
    waits, images = Waits(), []
    for numbers in in_batches(range(painter.phase.count), batch):
        x = painter.solve(numbers)
        wait_for(painter.device)
        with waits.on("decode and copy"):
            images.append(painter.decode(x).cpu().numpy())
    with waits.on("write"):
        classes = painter.sizes.num_classes
        labels = labels_in_order(painter.phase.count, classes)
        write_shards(
            out, images, labels, kind="pixels", classes=classes,
            class_names=list(map(str, range(classes))), scaling_factor=None, key="k",
            shard_size=10_000,
        )  # fmt: skip
        np.savez(out / "samples.npz", arr_0=np.concatenate(images))
    return waits.seconds


def ours(painter, batch, out):
    """What the command does; returns seconds of waiting by kind."""
    side, classes = painter.sizes.input_size * painter.decode.factor, painter.sizes.num_classes
    decoding = Waits()

    def decode(x):
        with decoding.on("decode"):
            return painter.decode(x)

    timed = dataclasses.replace(painter, decode=decode)
    work = samples.plan(out, "k", (side, side), painter.phase.count)
    waits = samples.fill(work, timed.draw, batch)
    with waits.on("write"):
        labels = labels_in_order(painter.phase.count, classes)
        samples.complete(work, labels, list(map(str, range(classes))))
    copy = decoding.seconds["decode"] + waits.seconds["copy"]
    return {"decode and copy": copy, "write": waits.seconds["write"]}


def images_of(folder):
    return np.concatenate(open_shards(folder).arrays)


def main():
    """Print a table of both, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="dimr-xs-2r")
    parser.add_argument("--autoencoder", choices=["small", "sd"], default="small")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=10, help="network evaluations")
    parser.add_argument("--batch", type=int, default=250, help="a divisor of 500")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", help="cpu, cuda, ... (default: cuda if there is one)")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    device = prepare_device(options.device, options.threads)
    painter = make_painter(options, device)
    seconds = {"plain": [], "ours": []}
    shares = {"plain": [], "ours": []}
    for turn in range(options.repeats + 1):  # the first warms up; in turns, so that noise hits both
        with tempfile.TemporaryDirectory() as folder:
            for name, run in (("plain", plain), ("ours", ours))[:: (-1) ** turn]:
                wait_for(device)
                started = time.perf_counter()
                waited = run(painter, options.batch, Path(folder) / name)
                taken = time.perf_counter() - started
                if turn:
                    seconds[name].append(taken)
                    shares[name].append({what: share / taken for what, share in waited.items()})
            pair = [images_of(Path(folder) / name).astype(np.int16) for name in seconds]
            difference = np.abs(pair[0] - pair[1]).max()
            assert difference <= 1, f"images differ by {difference} levels"
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor()
    print(f"{options.variant}, {options.steps} evaluations, {options.count} images of "
          f"{pair[0].shape[1]} pixels, batch {options.batch}, on {where or platform.machine()}, "
          f"{torch.get_num_threads()} threads, torch {torch.__version__}; "
          f"images differ by {difference} levels")  # fmt: skip
    print(f"{'':6} {'images/s':>9} {'waiting for decode and copy':>28} {'for the disk':>13}")
    for name in seconds:
        rate = options.count / statistics.median(seconds[name])
        decode, write = (
            statistics.median(s[what] for s in shares[name])
            for what in ("decode and copy", "write")
        )
        print(f"{name:6} {rate:9.1f} {decode:28.1%} {write:13.1%}")
    ratio = statistics.median(a / b for a, b in zip(seconds["plain"], seconds["ours"], strict=True))
    print(f"ours / plain: {ratio:.2f} times as many images a second")


if __name__ == "__main__":
    main()
