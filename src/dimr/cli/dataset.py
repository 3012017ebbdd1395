"""``dimr dataset new``: a folder of images becomes a dataset."""

import argparse
import os
import shlex
from pathlib import Path
from typing import Any

from dimr.config.project import ROOT
from dimr.stages.options import add_step, whole

NEW = """\
Look at a folder of images, choose how they are prepared and which network is trained on them, and
write that, with the reasons, into experiments/sources.yaml and experiments/recipes.yaml. The folder
is one of

  a folder of class folders   of any names: blue squares/, Zürich/, 7/
  a folder of images          one class
  a folder with labels.csv    file,label: one line per image
  parquet                     a file, or a folder of them: image, label or caption
  a folder with captions      captions.jsonl, {"file": ..., "captions": [...]} on each line;
                              captions.csv, file,caption; or MS-COCO 2014's own layout

Images are PNG, JPEG or WebP of any size and shape, grey, palette, transparent (put on white) or 16
bits; EXIF orientation is applied. Only the centre is used, as in ADM's crop. All images are opened
once, so that a damaged one is reported now.
"""
EXAMPLES = """\
examples:
  dimr dataset new shapes --images ~/pictures/shapes --size 32
  dimr dataset new faces --images /data/faces --size 256 --unconditional --mirror
"""


def add(steps: Any) -> None:
    """Register the commands."""
    about = "datasets of your own images"
    parser = steps.add_parser("dataset", help=about, description=about)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    parser = add_step(actions, "new", new, "turn a folder of images into a dataset")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = NEW, EXAMPLES
    parser.add_argument("name", metavar="NAME", help="name of the dataset, as in runs/NAME/...")
    parser.add_argument("--images", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--size", type=whole(1, 4096), metavar="N",
                        help="side of the centre crop: 16, 32, 64, 128, 256 or 512 "
                        "(default: the largest that the smallest image allows, at most 64, or "
                        "256 for many images)")  # fmt: skip
    parser.add_argument(
        "--unconditional", action="store_true", help="do not learn the labels, or the captions"
    )
    text = "no autoencoder, even for a small dataset"
    parser.add_argument("--pixels", action="store_true", help=text)
    parser.add_argument("--mirror", action="store_true",
                        help="also train on mirror images (not if left and right differ in "
                        "meaning)")  # fmt: skip
    parser.add_argument("--metrics", choices=["inception", "classifier"],
                        help="whose features metrics use (default: Inception's where its weights "
                        "are available, else of a small classifier of the images)")  # fmt: skip
    text = "a variant such as dimr-xs-2r (default: chosen by the number of images)"
    parser.add_argument("--network", metavar="NAME", help=text)
    parser.add_argument(
        "--text-encoder",
        choices=["words", "clip"],
        help="encoder of the captions (default: words, which needs no download)",
    )
    text = "rewrite the entries of an existing dataset of your own"
    parser.add_argument("--replace", action="store_true", help=text)
    parser.add_argument("--root", type=Path, default=ROOT, help="the repository (default: this)")


def new(options: argparse.Namespace) -> None:
    """``dimr dataset new``."""
    from dimr.config.project import Project
    from dimr.config.validation import did_you_mean
    from dimr.config.variants import names_of
    from dimr.data.own import look
    from dimr.data.own.entries import TABLE, check_name, source_entry, write_entries
    from dimr.data.own.recipe import INCEPTION, Wishes, choose
    from dimr.runtime.errors import DimrError

    project, name = Project(options.root), options.name
    check_name(name, project, options.replace)
    if options.network and options.network not in project.variants:
        hint = did_you_mean(options.network, names_of(project.variants.values()))
        raise DimrError(f"--network: no variant {options.network!r} {hint}")
    found = look(options.images)
    weights = (options.root / "data/extractors" / INCEPTION, os.environ.get("DIMR_EXTRACTOR"))
    network = project.variants[options.network] if options.network else None
    wishes = Wishes(
        size=options.size,
        unconditional=options.unconditional,
        pixels=options.pixels,
        mirror=options.mirror,
        metrics=options.metrics,
        network=network,
        text_encoder=options.text_encoder,
    )
    choice = choose(name, found, wishes, any(one and Path(one).exists() for one in weights))
    write_entries(name, source_entry(found), choice, project)
    chosen = project.variants[choice.network]
    model = f"runs/{name}/{choice.network}/0/model"
    shown = next(iter(found.classes))
    asked = f" --class {shlex.quote(shown)}" if len(found.classes) > 1 else ""
    if found.captions:
        learned = "text_encoder" in choice.recipe["data"]
        asked = f" --prompt {shlex.quote(found.captions.first)}" if learned else ""
    print(f"{name}: {found.form}, {found.images:,} images", *found.notes, sep="\n  ")
    width = max(len(what) for what, *_ in choice.reasons)
    for what, value, why in choice.reasons:
        print(f"  {what:<{width}}  {value}  ({why})")
    print(
        "written: experiments/sources.yaml, experiments/recipes.yaml and "
        f"experiments/tables/{name}/{TABLE}.yaml, which you may edit",
        "next:",
        f"  snakemake results/{name}/{TABLE}.csv   # train, sample, evaluate: table and pictures",
        f"  dimr sample --model {model}{asked} --out grid.png",
        f"  dvc exp run -S dataset={name} -S model.family={chosen.family} "
        f"-S model.variant={chosen.size}   # the same with DVC",
        sep="\n",
    )
