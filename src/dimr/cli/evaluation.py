"""Steps from images to numbers and tables."""

import argparse
from pathlib import Path
from typing import Any

from dimr.cli.common import Record, add_device, add_step, read_record, recorded_key
from dimr.experiment import load_section, section_key
from dimr.files import sha256, write_json
from dimr.settings import Evaluate


def add(steps: Any) -> None:
    """Register the subcommands."""
    parser = add_step(
        steps, "evaluate", evaluate, "compute the metrics of a folder of samples",
        "config", "samples", "images", "classifier", "metrics", "provenance",
    )  # fmt: skip
    parser.add_argument("--model", type=Path, metavar="PATH", help="whose cost is recorded")
    add_device(parser)
    text = "build a table and the picture of its rows (samples, or bars of what is compared)"
    add_step(steps, "table", table, text, "table", "runs", "csv", "markdown", "picture")


def evaluate(options: argparse.Namespace) -> None:
    """``dimr evaluate``: numbers in one file, where they come from in the other."""
    from dimr.data.digits import load_images
    from dimr.device import prepare_device
    from dimr.evaluation.classifier import load_classifier
    from dimr.evaluation.features import register_digits_extractor
    from dimr.evaluation.fidelity import class_accuracy, fidelity
    from dimr.evaluation.memorisation import memorisation

    config = load_section(Evaluate, options.config)
    device = prepare_device(options.device, options.threads)
    origin = Record(device).origin
    training = load_images(options.images, "train")[0]
    reference = load_images(options.images, "heldout")[0]
    images, labels, samples = _read_samples(options.samples)
    extractor = register_digits_extractor(options.classifier)
    values = fidelity(
        images,
        reference,
        extractor=extractor,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        cuda=device.type == "cuda",
    )
    metrics = {
        "fid_digits": values.pop("fid"),
        **values,
        "class_accuracy": class_accuracy(load_classifier(options.classifier), images, labels),
        **memorisation(images, training, reference),
        "images": len(images),
    }
    inputs = {
        "samples": samples["key"],
        "images": recorded_key(options.images),
        "classifier": recorded_key(options.classifier),
    }
    provenance = {
        "key": section_key(config, *inputs.values()),
        "inputs": inputs,
        "evaluate": config.model_dump(mode="json"),
        "extractor": extractor,
        "images": len(images),
        "reference": {"images": len(reference), "what": "held-out images, never trained on"},
        "samples": samples,
        "cost": _cost(options.model) if options.model else {},
        **origin,
    }
    write_json(options.provenance, provenance)
    write_json(options.metrics, metrics)


def _read_samples(path: Path) -> tuple[Any, Any, dict[str, Any]]:
    """Images, labels and record of a folder of samples, or of other people's .npz (``arr_0``)."""
    from dimr.evaluation.fidelity import load_npz_images
    from dimr.sampling.folder import read_samples
    from dimr.sampling.generate import labels_in_order

    if path.suffix == ".npz":
        images = load_npz_images(path)
        record = {"key": sha256(path), "file": str(path), "labels": "assumed interleaved, i mod 10"}
        return images, labels_in_order(len(images), 10), record
    images, labels = read_samples(path)
    return images, labels, read_record(path)


def _cost(model: Path) -> dict[str, float]:
    """Parameters (M), GMACs of one image and one pass, and seconds of training if trained here."""
    from dimr.experiment import load_network_config
    from dimr.models import FAMILIES, complexity

    network, record = load_network_config(model / "config.json"), read_record(model)
    counted = complexity(FAMILIES[network.family], network.arguments())
    return {
        "parameters_m": counted.parameters / 1e6,
        "gmacs": counted.macs / 1e9,
        **({"train_seconds": record["seconds"]} if "seconds" in record else {}),
    }


def table(options: argparse.Namespace) -> None:
    """``dimr table``."""
    from dimr.reporting.bars import table_bars
    from dimr.reporting.figures import table_picture
    from dimr.reporting.tables import load_table, write_table

    definition = load_table(options.table)
    if definition.paired:
        table_bars(definition, options.runs, definition.paired, options.picture)
    else:
        table_picture(definition, options.runs, options.picture)
    write_table(definition, options.runs, options.csv, options.markdown)
