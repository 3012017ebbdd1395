"""Images of a run: drawn by its network, or, beside it, those of the dataset itself."""

import argparse
import logging
from pathlib import Path
from typing import Any

from dimr.cli.arguments import (
    Record,
    add_device,
    add_output,
    add_parts,
    add_step,
    batch_size,
    number,
    positive,
    refuse_if_changed,
    seed,
)
from dimr.cli.parts import processes_for, run_parts
from dimr.config.runs import load_network_config, load_section, section_key
from dimr.config.schema import BaselineConfig, NetworkConfig, SampleConfig, sampling_problem
from dimr.runtime.errors import DimrError
from dimr.runtime.record import RECORD, read_record, recorded_key

log = logging.getLogger(__name__)

BATCH = 250
ASKED = ("classes", "unconditional", "per_class", "seed", "steps", "solver", "guidance",
         "power_cosine", "interval")  # fmt: skip
"""Options of ``dimr sample`` that are a person's alone; fields of ``Request``."""
SAMPLE_EXAMPLES = """\
examples:
  dimr sample --model runs/digits/dimr-xs-2r/0/model --class 3 --class 7 --out grid.png
  dimr sample --model runs/imagenet256/dimr-xl-2r/published/model \\
      --autoencoder stabilityai/sd-vae-ft-ema --class goldfish --class n02123045 \\
      --seed 0 --out grid.png
  dimr sample --model runs/digits/dimr-xs-2r/0/model --setting unguided --steps 50 --out more.png
  dimr sample --model runs/digits/dimr-xs-2r/0/model --unconditional --per-class 32 --out any.png
  run=runs/imagenet256/dimr-xl-2r/published
  dimr sample --config $run/config/sample-guided.yaml --model $run/model --processes 8 \\
      --autoencoder data/imagenet256/autoencoder --out $run/samples/guided
"""


def add(steps: Any) -> None:
    """Register the subcommands."""
    _add_sample(steps)

    parser = add_step(
        steps, "baseline", baseline, "real images or reconstructions, in the form of samples",
        "config", "images", out="samples",
    )  # fmt: skip
    parser.add_argument("--autoencoder", type=Path, metavar="PATH", help="for reconstructions")
    add_device(parser)


def _add_sample(steps: Any) -> None:
    """``dimr sample`` has two forms: a person's and the workflow's."""
    parser = add_step(steps, "sample", sample, "draw images from a trained network")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = SAMPLE_EXAMPLES
    parser.add_argument("--model", type=Path, required=True, metavar="DIR",
                        help="a run's model folder: config.json and weights")  # fmt: skip
    text = "the picture (.png); with --config a folder of images"
    add_output(parser, "--out", _kind_of_out, required=True, help=text)
    parser.add_argument("--autoencoder", type=Path, metavar="DIR|NAME",
                        help="of a model of latents: a folder or a name on the Hugging Face hub "
                        "(default: that of the run's dataset, if it is found)")  # fmt: skip
    parser.add_argument("--batch", type=batch_size, metavar="N",
                        help=f"images at a time (default: {BATCH}; for a picture 32); "
                        "changes speed and memory alone")  # fmt: skip
    _add_engine(parser)
    add_device(parser)
    asked = parser.add_argument_group("a picture")
    which = asked.add_mutually_exclusive_group()
    which.add_argument("--class", action="append", dest="classes", metavar="CLASS",
                       help="number, name or WordNet id, as often as wanted: one row each "
                       "(default: all classes, or 8 of many)")  # fmt: skip
    which.add_argument("--unconditional", action="store_true", default=None,
                       help="draw without a class")  # fmt: skip
    asked.add_argument("--per-class", type=positive, metavar="N",
                       help="images of each class, or in all without (default: 8)")  # fmt: skip
    asked.add_argument("--setting", metavar="NAME",
                       help="of the model's run, RUN/config/sample-NAME.yaml beside RUN/model: for "
                       "what no other option says (default: guided, or the first)")  # fmt: skip
    asked.add_argument(
        "--seed", type=seed, metavar="N", help="of the noise (default: the setting's, or 0)"
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
                        help="uncond + w (cond - uncond), w from 1 to S as noise falls, the later "
                        "the larger A is")  # fmt: skip
    asked.add_argument("--interval", type=number, nargs=2, metavar=("LOW", "HIGH"),
                       help="guide at diffusion times from LOW to HIGH alone, of 0 to 1, which "
                       "saves half of an evaluation outside (default: all)")  # fmt: skip
    workflow = parser.add_argument_group("a folder of images, as the workflow draws them")
    workflow.add_argument("--config", type=Path, metavar="PATH",
                          help="sample-<setting>.yaml of a run: it says the rest. What is made "
                          "is kept if the command is cut: the same command goes on")  # fmt: skip
    add_parts(workflow)


def _add_engine(parser: Any) -> None:
    """How passes are computed (``dimr.sampling.engine.Engine``): speed, and rounding."""
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None,
                        help="torch.compile of the network, if the compiler works "
                        "(default: where there is enough to draw for it to pay)")  # fmt: skip
    parser.add_argument("--precision", choices=["auto", "float32", "bfloat16"], default="auto",
                        help="of matrix products; the solver stays in float32 (default: auto, "
                        "which is bfloat16 on CUDA and float32 on a CPU)")  # fmt: skip


def sample(options: argparse.Namespace) -> None:
    """``dimr sample``: a folder of images for the workflow, or a picture for a person."""
    names = (*ASKED, "setting")
    asked = {key: value for key in names if (value := getattr(options, key)) is not None}
    if options.config is None and (options.part or options.processes):
        raise DimrError("sample: --part and --processes are for a folder, which needs --config")
    if options.config is None:
        _sample_picture(options, asked)
    elif asked:
        option = "class" if "classes" in asked else next(iter(asked)).replace("_", "-")
        raise DimrError(f"sample: --{option} does not go with --config, which says it")
    else:
        _sample_folder(options)


def _kind_of_out(options: argparse.Namespace) -> str:
    return "samples" if options.config else "picture"


def _sample_picture(options: argparse.Namespace, asked: dict[str, Any]) -> None:
    if options.out.suffix.lower() != ".png":
        raise DimrError(
            f"--out {options.out}: a picture's name ends in .png (a folder needs --config)"
        )
    from dimr.runtime.device import prepare_device
    from dimr.runtime.files import save_png
    from dimr.sampling.engine import Engine, Evaluator
    from dimr.sampling.generate import load_network
    from dimr.sampling.own_settings import own_setting, said
    from dimr.sampling.request import Request, draw_grid, label_dropout, open_decoder, plan_grid

    # what was asked is checked before anything large is loaded
    sizes = load_network_config(options.model / "config.json")
    own = own_setting(options.model, asked.pop("setting", None))
    request = Request(**asked, own=own.phase if own else None)
    plan = plan_grid(request, sizes, label_dropout(options.model))
    device = prepare_device(options.device, options.threads)
    decoder = open_decoder(options.model, sizes, options.autoencoder, str(device))
    network = load_network(options.model)[0].to(device)
    drawn = plan.phase.model_copy(update={"count": len(plan.indices)})
    engine = Engine(options.compile, options.precision).resolved(sizes, drawn, device)
    batch = min(options.batch or 32, drawn.count)
    evaluator = Evaluator(network, sizes, engine, batch, drawn.guidance.passes > 1)
    picture = draw_grid(evaluator, sizes, plan, decoder, batch, device)
    save_png(picture, options.out)
    whose = f" ({_whose(own, asked)})" if own else ""
    log.info("%s: %s images: %s%s", options.out, drawn.count, said(plan.phase), whose)


def _whose(own: Any, asked: dict[str, Any]) -> str:
    """``setting guided of runs/digits/dimr-xs-2r/0, but for --steps``."""
    changed = [f"--{key.replace('_', '-')}" for key in asked if key not in ("classes", "per_class")]
    return f"setting {own.name} of {own.run}{', but for ' if changed else ''}{', '.join(changed)}"


def _sample_folder(options: argparse.Namespace) -> None:
    """In pieces: this process makes what is missing, or its part, and completes the folder."""
    phase = load_section(SampleConfig, options.config)
    _check_phase(phase, load_network_config(options.model / "config.json"), options.config)
    from dimr.data.shards import checksums
    from dimr.runtime.code import SAMPLING, code_fingerprint
    from dimr.runtime.device import prepare_device
    from dimr.sampling import folder as samples
    from dimr.sampling.generate import labels_in_order

    code = code_fingerprint(*SAMPLING)  # before the work, as it may change meanwhile
    device = prepare_device(options.device, options.threads)
    record, made_by = Record(device), read_record(options.model)
    key = section_key(phase, made_by["key"], *_autoencoder_key(options.autoencoder))
    sampler, engine, work_key = _open_sampler(options, phase, device, key, code)
    sizes = sampler.sizes
    side = sizes.input_size * sampler.decode.factor
    work = samples.plan(options.out, work_key, (side, side), phase.count)
    if samples.is_complete(work) and (options.out / RECORD).is_file():
        log.info("%s: is there, with all of its images: nothing to do", options.out)
        return
    if options.part is None:
        work.require_space(work.nbytes)  # for the .npz too, before parts begin
        run_parts(processes_for(options, device), options.device, options.threads)

    def add(folder: Path) -> None:
        refuse_if_changed(options.config, phase)
        config = phase.model_dump(mode="json")
        record.write(
            folder, "samples", key, checksums(folder), config=config, model=made_by, engine=engine
        )

    with work.claimed(options.part):
        _fill(work, sampler, _batch(options, phase), options.part)
        if options.part is None:
            labels = labels_in_order(phase.count, sizes.num_classes)
            names = _class_names(sizes.num_classes)
            named = phase.guidance.kind != "unconditional"
            samples.complete(work, labels, names, named=named, add=add)


def _autoencoder_key(autoencoder: Path | None) -> list[str]:
    """The key of the dataset's autoencoder; of another that was named, its name."""
    if autoencoder is None:
        return []
    return [recorded_key(autoencoder) if (autoencoder / RECORD).is_file() else str(autoencoder)]


def _batch(options: argparse.Namespace, phase: SampleConfig) -> int:
    """Images at a time, no more than there are in a shard."""
    from dimr.sampling.folder import SHARD_SIZE

    return min(options.batch or BATCH, SHARD_SIZE, phase.count)


def _open_sampler(
    options: argparse.Namespace, phase: SampleConfig, device: Any, key: str, code: str
) -> tuple[Any, dict[str, Any], str]:
    """What draws the images, the engine's options, and the key of everything that decides them."""
    from dimr.sampling.engine import Engine, Evaluator
    from dimr.sampling.fingerprint import work_key
    from dimr.sampling.generate import Sampler, load_network
    from dimr.sampling.request import open_decoder

    network, sizes = load_network(options.model)
    decoder = open_decoder(options.model, sizes, options.autoencoder, str(device))
    engine = Engine(options.compile, options.precision).resolved(sizes, phase, device)
    decided_by = work_key(key, network, sizes, decoder, code, engine.facts())
    evaluator = Evaluator(
        network.to(device), sizes, engine, _batch(options, phase), phase.guidance.passes > 1
    )
    return Sampler(evaluator, sizes, phase, decoder, device), engine.facts(), decided_by


def _fill(work: Any, sampler: Any, batch: int, part: Any) -> None:
    import torch

    from dimr.sampling.folder import fill

    try:
        fill(work, sampler.draw, batch, part)
    except torch.OutOfMemoryError:
        raise DimrError(
            f"{sampler.device}: too little memory for {batch} images at a time: "
            "the same command with a smaller --batch goes on"
        ) from None


def _check_phase(phase: SampleConfig, sizes: NetworkConfig, config: Path) -> None:
    """The network must be able to draw what the configuration asks for."""
    if (problem := sampling_problem(phase, phase.count, sizes)) is not None:
        raise DimrError(f"{config}: {problem}")


def baseline(options: argparse.Namespace) -> None:
    """``dimr baseline``."""
    import numpy as np

    from dimr.data.autoencoder import is_identity, load_autoencoder, reconstruct
    from dimr.data.digits import load_images
    from dimr.data.shards import checksums
    from dimr.runtime.device import prepare_device
    from dimr.sampling.folder import write_samples

    phase = load_section(BaselineConfig, options.config)
    device = prepare_device(options.device, options.threads)
    record = Record(device)
    images, labels = load_images(options.images, "train")
    if phase.count > len(images):
        raise DimrError(
            f"{options.config}: count {phase.count} is more than the {len(images)} training images"
        )
    chosen = np.array(images[: phase.count])
    keys = [recorded_key(options.images)]
    if phase.source == "reconstruction":
        if options.autoencoder is None:
            raise DimrError("baseline: reconstructions need --autoencoder")
        if not is_identity(options.autoencoder):
            chosen = reconstruct(load_autoencoder(options.autoencoder, str(device)), chosen)
        keys.append(recorded_key(options.autoencoder))
    key = section_key(phase, *keys)
    names = _class_names(int(labels.max()) + 1)

    def add(folder: Path) -> None:
        refuse_if_changed(options.config, phase)
        config = phase.model_dump(mode="json")
        record.write(folder, "samples", key, checksums(folder), config=config)

    write_samples(options.out, chosen, np.array(labels[: phase.count]), names, key, add)


def _class_names(classes: int) -> list[str]:
    from dimr.data.classes import class_names, short_name

    return [short_name(name) for name in class_names(classes)]
