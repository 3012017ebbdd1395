"""The distortion study: scores, the rating page, and what raters said."""

import argparse
import functools
import os
from pathlib import Path
from typing import Any

from dimr.cli.arguments import Record, add_device, add_step, batch_size, refuse_if_changed
from dimr.config.runs import ROOT, load_section, section_key
from dimr.config.schema import Distortion, Study
from dimr.runtime.errors import DimrError
from dimr.runtime.record import recorded_key

SOURCE = "DIMR_CLASSIFIER"
"""Environment variable: a file of the timm classifier's weights."""
EXAMPLES = """\
examples:
  snakemake results/distortion/ratings.html     # then: open it, rate, save the CSV
  dimr distortion ann.csv ben.csv --key results/distortion/key.json --csv rates.csv \\
      --markdown rates.md
CSVs in experiments/ratings/<dataset>/ are read by `snakemake results/distortion/rates.csv`.
"""


def add(steps: Any) -> None:
    """Register the subcommands."""
    _add_scores(steps)
    text = "take in the weights of a timm classifier: from the hub, or a file"
    parser = add_step(steps, "distortion-classifier", classifier, text, out="classifier weights")
    parser.add_argument("--name", required=True, help="as timm lists it, with its tag")
    parser.add_argument("--source", type=Path, metavar="FILE",
                        help=f"safetensors or pth with timm's names (default: ${SOURCE}, "
                        "else the hub)")  # fmt: skip
    text = "write the page on which people rate images of several models, and its key"
    files = {"out": "rating page", "key": "key of a rating page"}
    add_step(steps, "rating-page", rating_page, text, "study", "runs", **files)
    text = "distortion rates of models from raters' CSVs, beside the published ones"
    tables = {"csv": "table", "markdown": "Markdown table"}
    parser = add_step(steps, "distortion", distortion, text, "key", **tables)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EXAMPLES
    parser.add_argument("ratings", type=Path, nargs="*", metavar="RATINGS",
                        help="CSVs saved from the page; none: the confidence alone")  # fmt: skip
    parser.add_argument("--root", type=Path, default=ROOT, help="whose published.yaml")


def _add_scores(steps: Any) -> None:
    text = "score samples by the confidence of their own class, and choose images for raters"
    parser = add_step(steps, "distortion-scores", scores, text, "config", "samples", out="scores")
    parser.add_argument("--classifier", type=Path, metavar="PATH",
                        help="classifier digits: the folder of the digit classifier")  # fmt: skip
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="of a timm classifier (default: from the hub)")  # fmt: skip
    parser.add_argument(
        "--batch", type=batch_size, default=64, help="images at a time; changes speed alone"
    )
    add_device(parser)


def scores(options: argparse.Namespace) -> None:
    """``dimr distortion-scores``: ``--out`` is the JSON; .npy and .npz are written beside it."""
    from dimr.human_study.confidence import (
        Chosen,
        choose,
        own_confidence,
        summarise,
        write_scores,
    )
    from dimr.runtime.device import prepare_device

    config = load_section(Distortion, options.config)
    device = prepare_device(options.device, options.threads)
    record = Record(device)
    samples, shards = _open_samples(options.samples)
    scorer, classifier_key = _open_scorer(config, options, device)
    if (classes := shards.manifest["classes"]) != scorer.classes:
        raise DimrError(
            f"{options.samples}: images of {classes} classes; the classifier {config.classifier} "
            f"has {scorer.classes}"
        )
    confidence = own_confidence(samples.images, shards.labels, scorer, options.batch)
    index = choose(confidence, config)
    chosen = Chosen(shards.take(index), shards.labels[index], confidence[index], index)
    inputs = {"samples": samples.record["key"], "classifier": classifier_key}
    summary = {
        "key": section_key(config, *inputs.values()),
        **summarise(confidence, config),
        "inputs": inputs,
        "config": config.model_dump(mode="json"),
        "classifier": scorer.facts,
        **record.origin,
    }
    check = functools.partial(refuse_if_changed, options.config, config)
    write_scores(options.out, confidence, chosen, summary, check)


def _open_samples(folder: Path) -> tuple[Any, Any]:
    """The samples, with every checksum compared, and their shards."""
    from dimr.data.shards import open_shards
    from dimr.evaluation.reference import open_set

    if not folder.is_dir():
        raise DimrError(f"{folder}: not a folder of samples (their labels are needed)")
    return open_set(folder), open_shards(folder)


def _open_scorer(config: Distortion, options: argparse.Namespace, device: Any) -> tuple[Any, str]:
    """The classifier that the configuration names, and the key of its weights."""
    from dimr.human_study.classifiers import DIGITS, DigitScorer, TimmScorer

    digits = config.classifier == DIGITS
    unused, needed = ("weights", "classifier") if digits else ("classifier", "weights")
    if getattr(options, unused) is not None:
        raise DimrError(
            f"--{unused}: not used here: {options.config}: classifier {config.classifier} takes "
            f"--{needed}"
        )
    if not digits:
        threads = options.threads or os.cpu_count() or 1
        timm = TimmScorer(config.classifier, options.weights, device, threads)
        return timm, timm.facts["weights"]
    if options.classifier is None:
        raise DimrError(f"--classifier: missing: {options.config}: classifier is digits")
    return DigitScorer(options.classifier, device), recorded_key(options.classifier)


def classifier(options: argparse.Namespace) -> None:
    """``dimr distortion-classifier``."""
    from dimr.human_study.classifiers import fetch_timm

    given = os.environ.get(SOURCE)
    fetch_timm(options.name, options.source or (Path(given) if given else None), options.out)


def rating_page(options: argparse.Namespace) -> None:
    """``dimr rating-page``."""
    from dimr.human_study.rating_page import read_models, write_rating_page

    study = load_section(Study, options.study)
    write_rating_page(study, read_models(study, options.runs), options.out, options.key)


def distortion(options: argparse.Namespace) -> None:
    """``dimr distortion``: the table is printed too."""
    from dimr.human_study.ratings import read_key, read_ratings
    from dimr.paper.published import load_published
    from dimr.paper.tables.human_study import write_distortion_table

    key = read_key(options.key)
    ratings = read_ratings(options.ratings, key)
    published = load_published(options.root).distortion
    print(write_distortion_table(key, ratings, published, options.csv, options.markdown))
