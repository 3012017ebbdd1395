"""`dimr encode` from end to end on generated JPEGs: `python benchmarks/encode.py [--device cuda]`.

A small store of JPEGs of ImageNet's usual size is made, and an autoencoder with random weights:
small on a CPU, that of Stable Diffusion on a GPU. It is timed three times, on the same images: the
path of `dimr encode`; plainly, one thing after the other (read, encode, copy; all is saved at the
end); and reading only. Both write the same latents, which is checked.
"""

import argparse
import io
import platform
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from dimr.data.autoencoder import posterior_moments
from dimr.data.encode import DTYPES, Crops, Encoder, encode_missing, usual_batch
from dimr.data.imagenet import center_crop
from dimr.data.imagenet.store import ENTRY, ImageStore
from dimr.data.resumable_shards import Assembly
from dimr.runtime.async_io import Waits
from dimr.runtime.device import prepare_device
from dimr.runtime.files import sha256, write_json

SIZES = [(500, 375), (500, 333), (400, 500), (640, 480), (375, 500)]


def jpeg(seed):
    """A photograph's size and detail: about 100 KB."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (24, 32, 3), np.uint8)
    image = Image.fromarray(coarse).resize(SIZES[seed % len(SIZES)], Image.Resampling.BICUBIC)
    pixels = np.asarray(image).astype(np.int16)
    pixels = np.clip(pixels + generator.integers(-12, 13, pixels.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def make_store(folder, count):
    """A source folder of one class; 64 different files, over and over."""
    folder.mkdir()
    files, entries = [jpeg(seed) for seed in range(min(count, 64))], []
    path = folder / "n00000001.tar"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for i in range(count):
            member, data = tarfile.TarInfo(f"n00000001_{i:06d}.JPEG"), files[i % len(files)]
            member.size = len(data)
            entries.append((member.name.encode(), 0, tar.offset + 512, len(data)))
            tar.addfile(member, io.BytesIO(data))
    np.save(folder / "index.npy", np.array(entries, ENTRY))
    tars = [{"size": path.stat().st_size, "sha256": ""}]
    write_json(folder / "manifest.json", {
        "format": "dimr-source-1", "wnids": ["n00000001"], "class_names": ["a"],
        "counts": [count], "images": count, "tars": tars, "key": "k",
        "index": {"sha256": sha256(folder / "index.npy")}, "source": {}, "known_bad": [],
    })  # fmt: skip
    return ImageStore(folder)


def save_autoencoder(folder, widths):
    """Random weights; (128, 256, 512, 512) is Stable Diffusion's."""
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths, layers_per_block=2 if widths[0] == 128 else 1,
        norm_num_groups=32 if widths[0] % 32 == 0 else 8,
        mid_block_add_attention=widths[0] == 128,
    )  # fmt: skip
    vae.save_pretrained(folder)


@torch.inference_mode()
def plain(store, vae, size, batch, out):
    """One thing after the other, in this process."""
    pieces = []
    for start in range(0, len(store), batch):
        numbers = range(start, min(start + batch, len(store)))
        crops = np.stack([center_crop(store.image(i), size) for i in numbers])
        x = torch.from_numpy(crops).to(vae.device).permute(0, 3, 1, 2).float() / 127.5 - 1
        x = torch.stack([x, x.flip(3)], 1).flatten(0, 1)
        pieces.append(posterior_moments(vae, x).half().cpu().numpy())
    np.save(out, np.concatenate(pieces))


def timed(call):
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main():
    """Print images per second of each, and what the path of ``dimr encode`` waited for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device")
    parser.add_argument("--images", type=int, help="default: 192, on a GPU 8192")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--dtype", choices=DTYPES, help="default: float32, on a GPU bfloat16")
    parser.add_argument("--widths", type=int, nargs="+", help="of the autoencoder's levels")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--workers", type=int, help="default: the CPU threads; with one: none")
    parser.add_argument("--shard", type=int, help="latents a shard; default: an eighth of them")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    device = prepare_device(options.device, options.threads)
    gpu = device.type == "cuda"
    count = options.images or (8192 if gpu else 192)
    dtype = options.dtype or ("bfloat16" if gpu else "float32")
    widths = tuple(options.widths or ((128, 256, 512, 512) if gpu else (8, 8, 16, 16)))
    batch = options.batch or usual_batch(options.size, gpu)
    threads = torch.get_num_threads()
    workers = threads * (threads > 1) if options.workers is None else options.workers
    name = torch.cuda.get_device_name(device) if gpu else platform.processor() or "CPU"
    print(f"{name}, {threads} threads, torch {torch.__version__}; {count} images to {options.size} "
          f"px, {dtype}, widths {widths}, batch {batch}, {workers} workers")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        store = make_store(folder / "source", count)
        save_autoencoder(folder / "vae", widths)
        encode, waits = Encoder(folder / "vae", options.size, device, True, dtype), Waits()
        shard = options.shard or max(2, count // 4)
        work = Assembly(folder / "out", "k", encode.kind, encode.shape, 2 * count, shard)
        encode(torch.zeros(batch, options.size, options.size, 3, dtype=torch.uint8))()  # warm up
        ours = timed(
            lambda: encode_missing(store, encode, work, batch=batch, workers=workers, waits=waits)
        )
        in_turn = timed(lambda: plain(store, encode.vae, options.size, batch, folder / "plain.npy"))
        crops = Crops(store, options.size)
        reading = timed(lambda: [crops[range(i, i + 1)] for i in range(0, count, 4)]) * 4
        found = np.concatenate([np.load(path) for path in sorted(work.store.glob("0*.npy"))])
        expected = np.load(folder / "plain.npy")
    error = np.abs(found.astype(np.float32) - expected).max()
    limit = {"float32": 1e-2, "float16": 5e-2, "bfloat16": 3e-1}[dtype]  # rounding: other batches
    assert error < limit, f"latents differ by {error}"
    print(f"latents of both differ by {error:.0e} at most")
    print(f"{'':32} {'images/s':>9}")
    for words, seconds in (
        ("dimr encode", ours),
        ("one thing after the other", in_turn),
        ("reading only, one process", reading),
    ):
        print(f"{words:32} {count / seconds:9.1f}")
    shares = ", ".join(f"{waits.seconds.get(k, 0) / ours:.0%} for {w}" for k, w in (
        ("data", "data"), ("device", "the device"), ("write", "the writer")))  # fmt: skip
    print(f"dimr encode waited {shares}")
    if gpu:
        print(f"peak of GPU memory: {torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB")


if __name__ == "__main__":
    main()
