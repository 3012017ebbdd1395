"""Steps that prepare a dataset: images, autoencoder, latents, classifier."""

import argparse
from collections.abc import Iterator
from typing import Any

from dimr.cli.common import Record, add_device, add_step, add_threads, recorded_key
from dimr.experiment import load_section, section_key
from dimr.files import atomic_directory
from dimr.recipes import load_autoencoder_config
from dimr.settings import Classifier, Identity, Images, Latents

ENCODE_BATCH = 250


def add(steps: Any) -> None:
    """Register the subcommands."""
    add_step(steps, "images", images, "make the raw images and their split", "config", "out")
    text = "train the small autoencoder (or note that there is none)"
    add_threads(add_step(steps, "autoencoder", autoencoder, text, "config", "images", "out"))
    text = "encode the training images to shards of posterior moments (or of pixels)"
    add_device(add_step(steps, "encode", encode, text, "config", "images", "autoencoder", "out"))
    text = "train the digit classifier whose features the metrics use"
    add_threads(add_step(steps, "classifier", classifier, text, "config", "images", "out"))


def images(options: argparse.Namespace) -> None:
    """``dimr images``."""
    from dimr.data.digits import make_digits

    config, record = load_section(Images, options.config), Record()
    with atomic_directory(options.out) as folder:
        make_digits(folder, config.image_size, config.train_per_class, config.split_seed)
        record.write(folder, section_key(config))


def autoencoder(options: argparse.Namespace) -> None:
    """``dimr autoencoder``."""
    from dimr.data.autoencoder import train_autoencoder
    from dimr.data.digits import load_images
    from dimr.device import prepare_device

    config, record = load_autoencoder_config(options.config), Record()
    prepare_device("cpu", options.threads)
    with atomic_directory(options.out) as folder:
        if isinstance(config, Identity):
            key = section_key(config, recorded_key(options.images))
            record.write(folder, key, **config.model_dump())
            return
        train_autoencoder(
            load_images(options.images, "train")[0],
            load_images(options.images, "heldout")[0],
            folder,
            steps=config.steps,
            batch=config.batch,
            lr=config.lr,
            channels=config.channels,
            seed=config.seed,
        )
        key = section_key(config, recorded_key(options.images))
        record.write(folder, key, kind="trained")


def encode(options: argparse.Namespace) -> None:
    """``dimr encode``."""
    import numpy as np

    from dimr.data.autoencoder import as_pixels, encode_moments, is_identity, load_autoencoder
    from dimr.data.digits import load_images
    from dimr.data.shards import write_shards
    from dimr.device import prepare_device
    from dimr.files import read_json
    from dimr.progress import progress_bar

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
        record.write(folder, key)


def classifier(options: argparse.Namespace) -> None:
    """``dimr classifier``."""
    from dimr.data.digits import load_images
    from dimr.device import prepare_device
    from dimr.evaluation.classifier import train_classifier

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
        record.write(folder, section_key(config, recorded_key(options.images)))
