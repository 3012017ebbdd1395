"""Steps from images to numbers and tables."""

import argparse
import itertools
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dimr.cli.arguments import TABLE_FILES, Record, add_device, add_output, add_step, batch_size
from dimr.config.runs import ROOT, load_section, section_key
from dimr.config.schema import EvaluateConfig
from dimr.runtime.errors import DimrError
from dimr.runtime.files import write_json
from dimr.runtime.record import read_record, recorded_key

log = logging.getLogger(__name__)

FORMS = {
    "digits": ("images", "classifier"),
    "inception-v3-compat": ("reference", "extractor_weights"),
}
"""What ``dimr evaluate`` takes besides, by extractor."""


def add(steps: Any) -> None:
    """Register the subcommands."""
    parser = add_step(
        steps, "evaluate", evaluate,
        "compute the metrics of samples: a folder of them (or of PNG or JPEG images of one size), "
        "an .npz (arr_0, labels in arr_1) or an .npy",
        "config", "samples", metrics="metrics", provenance="provenance",
    )  # fmt: skip
    digits = parser.add_argument_group("extractor digits")
    digits.add_argument("--images", type=Path, metavar="PATH", help="the dataset's images")
    digits.add_argument("--classifier", type=Path, metavar="PATH", help="whose features are used")
    inception = parser.add_argument_group("extractor inception-v3-compat")
    inception.add_argument(
        "--reference", type=Path, metavar="PATH",
        help="an ADM reference batch .npz, or a folder of one or of uint8 images",
    )  # fmt: skip
    inception.add_argument(
        "--extractor-weights", type=Path, metavar="FILE", help="torch-fidelity's Inception weights"
    )
    inception.add_argument(
        "--batch", type=batch_size, default=64, help="images at a time; changes speed alone"
    )
    parser.add_argument("--model", type=Path, metavar="PATH", help="whose cost is recorded")
    add_device(parser)
    text = (
        "build a table and its picture (samples of its rows, bars of what is compared, or a curve)"
    )
    parser = add_step(steps, "table", table, text, "table", "runs", **TABLE_FILES)
    add_output(parser, "--picture", "picture", help="also draw it")
    parser.add_argument("--partial", action="store_true",
                        help="with the results at hand: mark what is missing")  # fmt: skip
    parser.add_argument(
        "--root", type=Path, default=ROOT,
        help="whose experiments/ say what results should be of (default: this)",
    )  # fmt: skip


def evaluate(options: argparse.Namespace) -> None:
    """``dimr evaluate``: numbers in one file, where they come from in the other."""
    from dimr.runtime.device import prepare_device
    from dimr.stages.provenance import sealed

    config = load_section(EvaluateConfig, options.config)
    _check_form(config, options)
    device = prepare_device(options.device, options.threads)
    origin = Record(device).origin
    measure = _measure_digits if config.extractor == "digits" else _measure_inception
    metrics, facts = measure(config, options, device.type == "cuda")
    provenance = {
        "key": section_key(config, *facts["inputs"].values()),
        "inputs": facts.pop("inputs"),
        "evaluate": config.model_dump(mode="json"),
        **facts,
        "cost": _cost(options.model) if options.model else {},
        **origin,
    }
    write_json(options.metrics, metrics)
    write_json(options.provenance, sealed(provenance, options.metrics))


def _check_form(config: EvaluateConfig, options: argparse.Namespace) -> None:
    """Refuse options of another extractor, and missing ones."""
    wanted = FORMS[config.extractor]
    takes = f"extractor {config.extractor} takes " + " and ".join(map(_flag, wanted))
    for name in itertools.chain(*FORMS.values()):
        given = getattr(options, name) is not None
        if given != (name in wanted):
            state = "not used here" if given else "missing"
            raise DimrError(f"{_flag(name)}: {state}: {options.config}: {takes}")


def _check_count(found: int, config: EvaluateConfig, options: argparse.Namespace) -> None:
    """The number of images decides what FID and recall are: it must be the run's."""
    if found != config.count:
        wanted = f"{options.config} wants {config.count} (count)"
        raise DimrError(f"{options.samples}: {found} images; {wanted}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _measure_digits(
    config: EvaluateConfig, options: argparse.Namespace, cuda: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics with the digit classifier's features, and the facts of their provenance."""
    import numpy as np

    from dimr.data.digits import load_images
    from dimr.evaluation.classifier import load_classifier
    from dimr.evaluation.features import register_digits_extractor
    from dimr.evaluation.fidelity import class_accuracy, fidelity
    from dimr.evaluation.image_sets import check_kind
    from dimr.evaluation.memorisation import memorisation
    from dimr.evaluation.reference import open_set

    samples = open_set(options.samples)
    _check_count(samples.images.shape[0], config, options)
    training = load_images(options.images, "train")[0]
    reference = load_images(options.images, "heldout")[0]
    check_kind(samples.images.name, training.dtype, samples.images.shape, reference.shape[1])
    images = np.concatenate(list(samples.images.batches(config.count)))
    extractor = register_digits_extractor(options.classifier)
    order = _announced_order(samples, ["class_accuracy"])
    values = fidelity(
        images,
        reference,
        extractor=extractor,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        score_order=order,
        cuda=cuda,
    )
    metrics = {"fid_digits": values.pop("fid"), **values}
    if (labels := samples.labels.values) is not None:
        classifier = load_classifier(options.classifier)
        name = f"{options.samples}: {samples.labels.origin}"
        metrics["class_accuracy"] = class_accuracy(classifier, images, labels, name=name)
    metrics |= {**memorisation(images, training, reference), "images": len(images)}
    facts = {
        "inputs": {
            "samples": samples.record["key"],
            "images": recorded_key(options.images),
            "classifier": recorded_key(options.classifier),
        },
        "extractor": extractor,
        "images": len(images),
        "reference": {"images": len(reference), "what": "held-out images, never trained on"},
        "samples": samples.record,
        "inception_score_order": samples.labels.score_note,
    }
    return metrics, facts


def _measure_inception(
    config: EvaluateConfig, options: argparse.Namespace, cuda: bool
) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics with Inception's features, and the facts of their provenance."""
    from dimr.evaluation.downloads import check_digits, expected_digits
    from dimr.evaluation.extraction import resolve_layers
    from dimr.evaluation.fidelity import PRC_REFERENCE, fidelity
    from dimr.evaluation.reference import open_set

    weights = options.extractor_weights
    digest = check_digits(weights, expected_digits(str(config.weights)), str(weights))
    samples = open_set(options.samples)
    _check_count(samples.images.shape[0], config, options)
    reference = open_set(options.reference, labelled=False)
    order = _announced_order(samples)
    values = fidelity(
        samples.images,
        reference.images,
        extractor=config.extractor,
        statistics=reference.statistics,
        weights=weights,
        isc_splits=config.isc_splits,
        prc_neighborhood=config.prc_neighborhood,
        score_order=order,
        batch_size=options.batch,
        cuda=cuda,
        progress=True,
    )
    of_file = reference.statistics is not None
    facts = {
        "inputs": {"samples": samples.record["key"], "reference": reference.record["key"]},
        "extractor": config.extractor,
        "extractor_weights": {"file": weights.name, "sha256": digest},
        "layers": resolve_layers(config.extractor),
        "images": samples.images.shape[0],
        "reference": {
            **reference.record,
            "fid_statistics": "mu and sigma of the file" if of_file else "of its images",
            "precision_recall_images": min(reference.images.shape[0], PRC_REFERENCE),
        },
        "samples": samples.record,
        "inception_score_order": samples.labels.score_note,
    }
    return {**values, "images": samples.images.shape[0]}, facts


def _announced_order(samples: Any, needing: Sequence[str] = ()) -> Any:
    """The order for the Inception Score; what it changes for want of labels is said.

    ``needing``: metrics that are left out without labels.
    """
    name, labels = samples.images.name, samples.labels
    order = labels.score_order(samples.images.shape[0])
    taken = f"the Inception Score takes the images in another order ({labels.score_note})"
    if labels.values is None:
        left_out = "".join(f"{metric} is left out, and " for metric in needing)
        log.warning("%s: labels are not known (%s): %s%s", name, labels.origin, left_out, taken)
    elif order is not None:
        log.info("%s: classes are not interleaved: %s", name, taken)
    return order


def _cost(model: Path) -> dict[str, float]:
    """Parameters (M), GMACs of one image and one pass, and seconds of training if trained here."""
    from dimr.config.runs import load_network_config
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
    from dimr.paper.results import read_at_hand, read_cells
    from dimr.paper.tables.definitions import load_runs_table
    from dimr.paper.tables.runs import table_sheet
    from dimr.paper.tables.sheets import label_of, write_sheet

    definition = load_runs_table(options.table, options.root)
    read = read_at_hand if options.partial else read_cells
    made = read(options.runs, definition.cells(), options.root)
    sheet = table_sheet(definition, made, options.partial)  # before the picture, which takes longer
    if options.picture:
        _draw(definition, options.runs, options.picture)
    label = label_of(options.table)
    write_sheet(sheet, options.csv, options.markdown, options.latex, label)


def _draw(definition: Any, runs: Path, picture: Path) -> None:
    """The picture of a table: bars of what is compared, a curve, or samples of its rows."""
    from dimr.paper.figures.bars import table_bars
    from dimr.paper.figures.curves import table_curves
    from dimr.paper.figures.picture import table_picture

    if definition.paired:
        table_bars(definition, runs, definition.paired, picture)
    elif definition.curve:
        x, y = definition.curve
        table_curves(definition, runs, x, y, picture)
    else:
        table_picture(definition, runs, picture)
