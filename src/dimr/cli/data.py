"""Steps that prepare a dataset: images, autoencoder, latents, classifier."""

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dimr.cli.arguments import (
    Record,
    add_device,
    add_parts,
    add_step,
    add_threads,
    batch_size,
    refuse_if_changed,
    whole,
)
from dimr.cli.parts import processes_for, run_parts
from dimr.config.recipes import load_autoencoder_config
from dimr.config.runs import load_section, section_key
from dimr.config.schema import (
    Autoencoder,
    Classifier,
    Identity,
    Images,
    Latents,
    Pretrained,
    SourceLatents,
)
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_directory, read_json, read_yaml
from dimr.runtime.record import RECORD, recorded_key

ENCODE_BATCH = 250

log = logging.getLogger(__name__)


def add(steps: Any) -> None:
    """Register the subcommands."""
    text = "make the raw images and their split"
    add_step(steps, "images", images, text, "config", out="images")
    text = "train or fetch the autoencoder (or note that there is none)"
    parser = add_step(steps, "autoencoder", autoencoder, text, "config", out="autoencoder")
    parser.add_argument("--images", type=Path, metavar="PATH", help="to train on, where it is")
    add_threads(parser)
    text = "encode the training images to shards of posterior moments (or of pixels)"
    paths = ("config", "images", "autoencoder")
    parser = add_step(steps, "encode", encode, text, *paths, out="latents")
    add_device(parser)
    add_parts(parser)
    parser.add_argument(
        "--batch",
        type=batch_size,
        help="images at a time; changes speed and memory alone (default: by the images' size)",
    )
    parser.add_argument(
        "--workers",
        type=whole(0, 256),
        help="processes that read and crop images (default: as many as threads; with one: none)",
    )
    text = "train the digit classifier whose features the metrics use"
    parser = add_step(steps, "classifier", classifier, text, "config", "images", out="classifier")
    add_threads(parser)


def images(options: argparse.Namespace) -> None:
    """``dimr images``."""
    from dimr.data.digits import make_digits

    config, record = load_section(Images, options.config), Record()
    with atomic_directory(options.out) as folder:
        make_digits(folder, config.image_size, config.train_per_class, config.split_seed)
        record.write(folder, "images", section_key(config))


def autoencoder(options: argparse.Namespace) -> None:
    """``dimr autoencoder``."""
    config, record = load_autoencoder_config(options.config), Record()
    inputs = [recorded_key(options.images)] if options.images else []
    key = section_key(config, *inputs)
    with atomic_directory(options.out) as folder:
        if isinstance(config, Identity):
            record.write(folder, "autoencoder", key, **config.model_dump())
        elif isinstance(config, Pretrained):
            from dimr.data.pretrained import save_pretrained

            facts = save_pretrained(config.repo, config.revision, folder)
            key = section_key(config)
            record.write(folder, "autoencoder", key, **config.model_dump(), **facts)
        elif not options.images:
            raise DimrError("--images: is needed, as this autoencoder is trained on images")
        else:
            _train_autoencoder(config, options.images, folder, options.threads)
            record.write(folder, "autoencoder", key, kind="trained")


def _train_autoencoder(config: Autoencoder, images: Path, out: Path, threads: int | None) -> None:
    from dimr.data.autoencoder import train_autoencoder
    from dimr.data.digits import load_images
    from dimr.runtime.device import prepare_device

    prepare_device("cpu", threads)
    train_autoencoder(
        load_images(images, "train")[0],
        load_images(images, "heldout")[0],
        out,
        steps=config.steps,
        batch=config.batch,
        lr=config.lr,
        channels=config.channels,
        seed=config.seed,
    )


def encode(options: argparse.Namespace) -> None:
    """``dimr encode``: of the digits at once, of a source's images in pieces."""
    config = read_yaml(options.config)
    if isinstance(config, dict) and "image_size" in config:
        encode_source(options)
    elif options.part or options.processes:
        raise DimrError(f"{options.config}: --part and --processes are for a source's images")
    else:
        encode_digits(options)


def encode_digits(options: argparse.Namespace) -> None:
    """``dimr encode`` of images that are one array."""
    import numpy as np

    from dimr.data.autoencoder import as_pixels, encode_moments, is_identity, load_autoencoder
    from dimr.data.digits import load_images
    from dimr.data.shards import checksums, write_shards
    from dimr.runtime.device import prepare_device
    from dimr.runtime.progress import progress_bar

    config = load_section(Latents, options.config)
    device = prepare_device(options.device, options.threads)
    record = Record(device)
    pixels, labels = load_images(options.images, "train")
    names = read_json(options.images / "manifest.json")["class_names"]
    key = section_key(config, recorded_key(options.autoencoder))
    in_pixels = is_identity(options.autoencoder)
    vae = None if in_pixels else load_autoencoder(options.autoencoder, str(device))

    def batches() -> Iterator[Any]:
        starts = range(0, len(pixels), ENCODE_BATCH)
        for start in progress_bar(starts, description="encode", unit="batch"):
            images = np.array(pixels[start : start + ENCODE_BATCH])
            yield encode_moments(vae, images) if vae else as_pixels(options.autoencoder, images)

    with atomic_directory(options.out) as folder:
        write_shards(
            folder,
            batches(),
            labels,
            kind="posterior" if vae else "pixels",
            classes=len(names),
            class_names=names,
            scaling_factor=float(vae.config.scaling_factor) if vae else None,
            key=key,
            shard_size=config.shard_size,
        )
        record.write(folder, "latents", key, checksums(folder))


def encode_source(options: argparse.Namespace) -> None:
    """``dimr encode`` of a source's images: what is missing, or a part of it."""
    from dimr.data.latent_folder import LatentWork
    from dimr.data.shards import checksums
    from dimr.runtime.code import ENCODING, code_fingerprint
    from dimr.runtime.device import prepare_device

    config = load_section(SourceLatents, options.config)
    key = section_key(config, recorded_key(options.images), recorded_key(options.autoencoder))
    code = code_fingerprint(*ENCODING)  # before the work, as it may change meanwhile
    device = prepare_device(options.device, options.threads)
    record = Record(device)
    work = LatentWork(options.out, key, code, config, options.images, options.autoencoder, device)
    if work.assembly.is_complete() and (options.out / RECORD).is_file():
        log.info("%s: is complete already", options.out)
        return
    work.announce()
    if options.part is None:  # before all is claimed: they claim their parts
        run_parts(processes_for(options, device), options.device or device, options.threads)
    with work.assembly.claimed(options.part):
        work.encode(options.part, options.batch, options.workers)
        if options.part:
            return
        refuse_if_changed(options.config, config)
        work.finish(
            lambda folder, facts: record.write(folder, "latents", key, checksums(folder), **facts)
        )


def classifier(options: argparse.Namespace) -> None:
    """``dimr classifier``."""
    from dimr.data.digits import load_images
    from dimr.evaluation.classifier import train_classifier
    from dimr.runtime.device import prepare_device

    config, record = load_section(Classifier, options.config), Record()
    prepare_device("cpu", options.threads)
    train_images, train_labels = load_images(options.images, "train")
    heldout, heldout_labels = load_images(options.images, "heldout")
    with atomic_directory(options.out) as folder:
        train_classifier(
            train_images,
            train_labels,
            folder,
            heldout=heldout,
            heldout_labels=heldout_labels,
            steps=config.steps,
            batch=config.batch,
            lr=config.lr,
            seed=config.seed,
        )
        key = section_key(config, recorded_key(options.images))
        record.write(folder, "classifier", key)
