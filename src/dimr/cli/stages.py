"""Commands of the pipeline's stages: options from the stage's definition, and its ``run``."""

import argparse
from pathlib import Path
from typing import Any

from dimr.stages.download import OTHERS
from dimr.stages.options import Kind, add_output, add_threads
from dimr.stages.pipeline import STAGES
from dimr.stages.stage import Stage

DATA = """\
Fetch or copy published data, and check it. NAME is one of

  imagenet    (or another name in experiments/sources.yaml) labelled images, stored as one tar per
              class with an index and checksums. --source is one of
                a folder of class folders (n01440764/...), or one that holds train/
                ILSVRC2012_img_train.tar, or its folder, with ILSVRC2012_devkit_t12.tar.gz beside it
                a folder of parquet shards (train-00000-of-NNNNN.parquet)
                owner/name on the Hugging Face hub: shards are downloaded one by one, with HF_TOKEN
              The same images give the same files, whatever form they come in.
              A dataset of your own (dimr dataset new) is read from the folder it was made from;
              give --source if that has moved.
  reference   an ADM reference batch (.npz), which metrics compare with
  extractor   Inception's weights, which metrics compute features with

Without --source, the environment variable DIMR_<NAME> is read: DIMR_IMAGENET, DIMR_REFERENCE, ...
An interrupted command resumes when it is started again.
"""
DATA_EXAMPLES = """\
examples:
  dimr data imagenet --source /datasets/ILSVRC2012 --out data/imagenet/source
  dimr data imagenet --source ILSVRC/imagenet-1k --out data/imagenet/source
  dimr data reference --config data/imagenet256/config/reference.yaml \\
      --source /datasets/adm --out data/imagenet256/reference
  dimr data extractor --source weights-inception-2015-12-05-6726825d.pth \\
      --out data/extractors/weights-inception-2015-12-05-6726825d.pth
"""


def add(steps: Any) -> None:
    """Register the commands."""
    _add_data(steps)
    for stage in STAGES.values():
        command = (stage.command or stage.name).split()[0]
        if command not in ("data", "sample"):
            add_stage(steps, command, stage)
    text = "write a run's model under its authors' names (.pth, .pt or .safetensors)"
    parser = steps.add_parser("export", help=text, description=text)
    parser.set_defaults(handler=export, outputs={})
    parser.add_argument("--model", type=Path, required=True, metavar="PATH")
    add_output(parser, "--out", "weights", required=True)


def add_stage(
    steps: Any, command: str, stage: Stage, kind: Kind | None = None
) -> argparse.ArgumentParser:
    """A stage's command: its configuration, inputs and outputs, and options of its own.

    Args:
        steps: where commands are registered.
        command: its name.
        stage: what it runs.
        kind: of the result, where that depends on the options.
    """
    parser: argparse.ArgumentParser = steps.add_parser(
        command, help=stage.about, description=stage.about
    )
    parser.set_defaults(handler=stage.run, outputs={})
    if stage.phase:
        text = f"config/{stage.phase.format(setting='<setting>')}.yaml of a run or dataset"
        parser.add_argument(
            "--config", type=Path, required=stage.config_is_required, metavar="PATH", help=text
        )
    else:
        parser.set_defaults(config=None)
    groups = {one.group: parser.add_argument_group(one.group) for one in stage.inputs if one.group}
    for one in stage.inputs:
        groups.get(one.group, parser).add_argument(
            f"--{one.name.replace('_', '-')}",
            type=Path,
            required=one.required,
            metavar="PATH",
            help=one.about,
        )
    for name, output in stage.outputs.items():
        add_output(
            parser,
            f"--{name.replace('_', '-')}",
            kind or output.kind,
            required=output.required and stage.name != "published",
            help=output.about or None,
        )
    stage.add_arguments(parser)
    if not stage.is_short and "--threads" not in parser.format_usage():  # else beside --device
        add_threads(parser)
    return parser


def _add_data(steps: Any) -> None:
    text = "fetch and check published data: ImageNet, reference batches, Inception's weights"
    parser = steps.add_parser("data", help=text)
    parser.set_defaults(handler=data, outputs={})
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description, parser.epilog = DATA, DATA_EXAMPLES
    parser.add_argument("name", metavar="NAME", help="imagenet, reference or extractor")
    text = (
        "what to expect: source.yaml (default: NAME's entry in sources.yaml; also for a NAME of "
        "your own), or reference.yaml"
    )
    parser.add_argument("--config", type=Path, metavar="PATH", help=text)
    parser.add_argument("--source", metavar="PATH|NAME", help="path or hub name; see above")
    text = "the folder to make; for extractor, the file"
    add_output(parser, "--out", lambda options: _data_stage(options).result.kind, required=True,
               help=text)  # fmt: skip


def _data_stage(options: argparse.Namespace) -> Stage:
    return STAGES[options.name if options.name in OTHERS else "source"]


def data(options: argparse.Namespace) -> None:
    """``dimr data``."""
    _data_stage(options).run(options)


def export(options: argparse.Namespace) -> None:
    """``dimr export``."""
    from dimr.checkpoints.export import export as write

    tensors = write(options.model, options.out)
    print(f"written  {options.out} ({tensors} tensors)")
