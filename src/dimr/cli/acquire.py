"""``dimr data``: what others publish, taken in and checked."""

import argparse
import os
from pathlib import Path
from typing import Any

from dimr.cli.arguments import Record, add_output, add_step, refuse_if_changed
from dimr.config.recipes import load_source, mapping
from dimr.config.runs import ROOT, load_section, section_key
from dimr.config.schema import ReferenceConfig, Source
from dimr.config.validation import did_you_mean
from dimr.runtime.errors import DimrError
from dimr.runtime.files import atomic_directory, read_yaml

OTHERS = ("reference", "extractor")
"""What ``dimr data`` takes in besides the sets of images of sources.yaml: kinds of ``--out``."""

DESCRIPTION = """\
Take in what others publish, and check it. NAME is one of

  imagenet    (or another name in experiments/sources.yaml) labelled images, stored as one tar a
              class with an index and checksums. --source is one of
                a folder of class folders (n01440764/...), or one that holds train/
                ILSVRC2012_img_train.tar, or its folder, with ILSVRC2012_devkit_t12.tar.gz beside it
                a folder of parquet shards (train-00000-of-NNNNN.parquet)
                owner/name on the Hugging Face hub: shards are downloaded one by one, with HF_TOKEN
              The same images give the same files, whatever they come from.
  reference   an ADM reference batch (.npz), which metrics compare with
  extractor   Inception's weights, which metrics compute features with

Without --source, the environment variable DIMR_<NAME> is read: DIMR_IMAGENET, DIMR_REFERENCE, ...
What was cut goes on with the same command.
"""
EXAMPLES = """\
examples:
  dimr data imagenet --source /datasets/ILSVRC2012 --out data/imagenet/source
  dimr data imagenet --source ILSVRC/imagenet-1k --out data/imagenet/source
  dimr data reference --config data/imagenet256/config/reference.yaml \\
      --source /datasets/adm --out data/imagenet256/reference
  dimr data extractor --source weights-inception-2015-12-05-6726825d.pth \\
      --out data/extractors/weights-inception-2015-12-05-6726825d.pth
"""


def add(steps: Any) -> None:
    """Register the subcommand."""
    text = "take in what others publish: ImageNet, reference batches, Inception's weights"
    parser = add_step(steps, "data", data, text)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.add_argument("name", metavar="NAME", help="imagenet, reference or extractor")
    parser.add_argument("--config", type=Path, metavar="PATH",
                        help="what must be there: source.yaml, of a NAME of your own too (default: "
                        "its entry in sources.yaml) "
                        "or reference.yaml")  # fmt: skip
    parser.add_argument("--source", metavar="PATH|NAME", help="where it is; see above")
    add_output(parser, "--out", _kind, required=True,
               help="the folder to make; of extractor, the file")  # fmt: skip


def _kind(options: argparse.Namespace) -> str:
    """What ``--out`` is."""
    return options.name if options.name in OTHERS else "source"


def data(options: argparse.Namespace) -> None:
    """``dimr data``."""
    variable = f"DIMR_{options.name.upper().replace('-', '_')}"
    source = options.source or os.environ.get(variable) or None
    if options.name == "reference":
        _reference(options, source)
    elif options.name == "extractor":
        _extractor(options, source)
    else:
        _images(options, source, variable)


def _images(options: argparse.Namespace, source: str | None, variable: str) -> None:
    """Images of sources.yaml, to a store."""
    names = list(mapping(read_yaml(ROOT / "experiments/sources.yaml"), "sources.yaml"))
    if options.config is None and options.name not in names:
        raise DimrError(
            f"data: no {options.name!r} {did_you_mean(options.name, [*names, *OTHERS])}"
        )
    config = load_section(Source, options.config) if options.config else load_source(options.name)
    if source is None:
        hub = f", or pass --source {config.repo} to download it" if config.repo else ""
        raise DimrError(
            f"data: {options.name} is not here: pass --source, or set {variable}, to a folder or "
            f"archive{hub}"
        )
    from dimr.data.imagenet.acquire import acquire
    from dimr.data.imagenet.store import checksums

    key, record = section_key(config), Record()

    def complete(folder: Path) -> None:
        if options.config:
            refuse_if_changed(options.config, config)
        facts = {"source": source, "config": config.model_dump(mode="json")}
        record.write(folder, "source", key, checksums(folder), **facts)

    acquire(config, source, options.out, key, complete)


def _reference(options: argparse.Namespace, source: str | None) -> None:
    """An ADM reference batch."""
    if options.config is None:
        raise DimrError("data: reference needs --config (config/reference.yaml of a dataset)")
    from dimr.evaluation.downloads import acquire_reference

    config, record = load_section(ReferenceConfig, options.config), Record()
    with atomic_directory(options.out) as folder:
        acquire_reference(config, source, folder)
        refuse_if_changed(options.config, config)
        key = section_key(config)
        record.write(folder, "reference", key, config=config.model_dump(mode="json"))


def _extractor(options: argparse.Namespace, source: str | None) -> None:
    """Inception's weights: their name holds what is checked."""
    if options.config is not None:
        raise DimrError("data: extractor takes no --config: --out's name says what it must be")
    from dimr.evaluation.downloads import acquire_extractor

    acquire_extractor(source, options.out)
