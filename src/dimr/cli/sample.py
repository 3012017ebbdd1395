"""``dimr sample``: a folder of images for the workflow, or a picture for a person."""

import argparse
import logging
from pathlib import Path
from typing import Any

from dimr.cli.stages import add_stage
from dimr.runtime.errors import DimrError
from dimr.stages.options import number, positive, seed
from dimr.stages.pipeline import STAGES

log = logging.getLogger(__name__)

ASKED = ("classes", "prompts", "unconditional", "negative_prompt", "per_class", "seed", "steps",
         "solver", "guidance", "power_cosine", "interval")  # fmt: skip
"""Options of ``dimr sample`` that only a person gives; fields of ``PictureOptions``."""
OTHERS = ("prompt_file", "setting", "text_encoder")
"""Further options that only a person gives."""
SPELT = {"classes": "class", "prompts": "prompt", "prompt_file": "prompts"}
"""Options whose names differ from the fields that hold them."""
SAMPLE_EXAMPLES = """\
examples:
  dimr sample --model runs/digits/dimr-xs-2r/0/model --class 3 --class 7 --out grid.png
  dimr sample --model runs/imagenet256/dimr-xl-2r/published/model \\
      --autoencoder stabilityai/sd-vae-ft-ema --class goldfish --class n02123045 \\
      --seed 0 --out grid.png
  dimr sample --model runs/shapes/dimr-xs-2r/0/model --class "blue squares" --out squares.png
  dimr sample --model runs/digits-text/dimr-xs-2r/0/model \\
      --prompt "a three to the left of a seven" --prompt "an eight above a two" --out pairs.png
  dimr sample --model runs/digits-text/dimr-xs-2r/0/model --prompts prompts.txt --out more.png
  dimr sample --model runs/digits/dimr-xs-2r/0/model --setting unguided --steps 50 --out more.png
  dimr sample --model runs/digits/dimr-xs-2r/0/model --unconditional --per-class 32 --out any.png
  run=runs/imagenet256/dimr-xl-2r/published
  dimr sample --config $run/config/sample-guided.yaml --model $run/model --processes 8 \\
      --autoencoder data/imagenet256/autoencoder --out $run/samples/guided
"""


def add(steps: Any) -> None:
    """Register the command: the stage's options, and a person's."""
    parser = add_stage(steps, "sample", STAGES["sample"], kind=_kind_of_out)
    parser.set_defaults(handler=sample)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SAMPLE_EXAMPLES
    asked = parser.add_argument_group("a picture")
    which = asked.add_mutually_exclusive_group()
    which.add_argument("--class", action="append", dest="classes", metavar="CLASS",
                       help="name, number or WordNet id, repeatable: one row each; 7 is the "
                       "class called 7 if there is one, else the one with label 7 (default: "
                       "all classes, or 8 of many)")  # fmt: skip
    which.add_argument("--prompt", action="append", dest="prompts", metavar="TEXT",
                       help="for a model trained on text, repeatable (default: a few of its "
                       "dataset's, if that is found)")  # fmt: skip
    which.add_argument("--prompts", type=Path, dest="prompt_file", metavar="FILE",
                       help="a text file of prompts, one per line")  # fmt: skip
    which.add_argument("--unconditional", action="store_true", default=None,
                       help="sample without a class or text")  # fmt: skip
    asked.add_argument("--negative-prompt", metavar="TEXT",
                       help="what guidance steers away from, in place of the empty "
                       "caption")  # fmt: skip
    asked.add_argument("--text-encoder", metavar="FOLDER",
                       help="for a model trained on text: a folder or a name on the Hugging Face "
                       "hub (default: that of the run's dataset, if it is found)")  # fmt: skip
    asked.add_argument("--per-class", "--per-prompt", type=positive, metavar="N",
                       help="images per class (default: 8) or prompt (default: 1, with the "
                       "prompt below it), or in total if unconditional (default: 8)")  # fmt: skip
    asked.add_argument("--setting", metavar="NAME",
                       help="sampling setting of the run (RUN/config/sample-NAME.yaml beside "
                       "RUN/model), for options not given (default: guided, or the "
                       "first)")  # fmt: skip
    asked.add_argument(
        "--seed", type=seed, metavar="N", help="seed of the noise (default: the setting's, or 0)"
    )
    asked.add_argument("--steps", type=positive, metavar="N",
                       help="network evaluations (default: the setting's, or 50)")  # fmt: skip
    asked.add_argument("--solver", choices=["authors", "singlestep", "multistep", "ancestral"],
                       help="(default: the setting's, or its authors')")  # fmt: skip
    weight = asked.add_mutually_exclusive_group()
    weight.add_argument("--guidance", type=number, metavar="S",
                        help="cond + S (cond - uncond); 0: none (default: the setting's, or "
                        "0.4)")  # fmt: skip
    weight.add_argument("--power-cosine", type=number, nargs=2, metavar=("S", "A"),
                        help="uncond + w (cond - uncond), w rises from 1 to S as noise falls, "
                        "later for larger A")  # fmt: skip
    asked.add_argument("--interval", type=number, nargs=2, metavar=("LOW", "HIGH"),
                       help="guide only at diffusion times from LOW to HIGH (within 0 to 1), "
                       "which halves the cost outside (default: at all times)")  # fmt: skip


def _kind_of_out(options: argparse.Namespace) -> str:
    return "samples" if options.config else "picture"


def sample(options: argparse.Namespace) -> None:
    """``dimr sample``: with --config the stage, else a picture."""
    names = (*ASKED, *OTHERS)
    asked = {key: value for key in names if (value := getattr(options, key)) is not None}
    if options.config is None and (options.shard or options.processes):
        raise DimrError("sample: --shard and --processes are for a folder, which needs --config")
    if options.config is None:
        _sample_picture(options, asked)
    elif asked:
        first = next(iter(asked))
        option = SPELT.get(first, first.replace("_", "-"))
        raise DimrError(f"sample: --{option} cannot be combined with --config, which sets it")
    else:
        STAGES["sample"].run(options)


def _sample_picture(options: argparse.Namespace, asked: dict[str, Any]) -> None:
    if options.out.suffix.lower() != ".png":
        raise DimrError(
            f"--out {options.out}: a picture's name ends in .png (a folder needs --config)"
        )
    from dimr.runtime.device import prepare_device
    from dimr.runtime.files import save_png
    from dimr.sampling.engine import SamplingEngine
    from dimr.sampling.picture import PictureOptions, draw_picture
    from dimr.sampling.prompts import read_prompts

    setting, text_encoder = asked.pop("setting", None), asked.pop("text_encoder", None)
    if (file := asked.pop("prompt_file", None)) is not None:
        asked["prompts"] = read_prompts(file)
    picture, about = draw_picture(
        options.model,
        PictureOptions(**asked),
        setting=setting,
        autoencoder=options.autoencoder,
        text_encoder=text_encoder,
        captions=options.captions,
        batch=options.batch,
        engine=SamplingEngine(options.compile, options.precision),
        device=prepare_device(options.device, options.threads),
    )
    save_png(picture, options.out)
    log.info("%s: %s", options.out, about)
